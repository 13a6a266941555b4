"""The map from raw to finetuned accuracy, learned from all the finetunings of a recording.

A training has a handful of them; between these, the accuracy before finetuning and the size say
more of what it reaches than the distance to them does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from hoyer_search.search.simulate.recording import Finetuned
from hoyer_search.search.simulate.registration import Knots
from hoyer_search.search.simulate.spline import Spline

Floats = npt.NDArray[np.float64]

CLIP = 1e-3
"""Distance kept from accuracies of 0 and 1, where the logit is infinite."""


class Reached(NamedTuple):
    """Validation and test accuracies after finetuning, or their logits, each of shape (m,)."""

    val: Floats
    test: Floats


@dataclass(frozen=True, slots=True)
class FinetuningMap:
    """Logits of finetuned accuracies, over parameters, log size and logit of the raw accuracy.

    Attributes:
        spline: The map.
        low: Least log size and raw logit, shape (2,).
        width: Range of each, likewise.
    """

    spline: Spline
    low: Floats
    width: Floats

    @classmethod
    def fit(cls, points: Floats, finetuned: Sequence[Sequence[Finetuned]]) -> Self:
        """Returns the map of a recording.

        Args:
            points: The trainings' settings, shape (n, d), in [0, 1].
            finetuned: What was finetuned of each, at least one.
        """
        rows = [_measures(several) for several in finetuned]
        measures = np.concatenate(rows)
        low, width = measures.min(axis=0), np.maximum(np.ptp(measures, axis=0), 1e-9)
        settings = np.repeat(points, [len(row) for row in rows], axis=0)
        reached = np.concatenate([np.stack(_logits(several), axis=1) for several in finetuned])
        inputs = np.concatenate([settings, (measures - low) / width], axis=1)
        return cls(Spline.fit(inputs, reached), low, width)

    def along(self, knots: Knots, point: Floats, finetuned: Sequence[Finetuned]) -> Reached:
        """Returns logits along a training's curve, through what finetuning reached on it.

        What the map errs by at the finetuned sizes is interpolated over the log size.

        Args:
            knots: The curve, of m knots.
            point: The training's setting, shape (d,).
            finetuned: Its finetunings, at least one.
        """
        wanted = self._predict(point, np.stack([knots.log_size, to_logit(knots.raw)], axis=1))
        known = self._predict(point, _measures(finetuned))
        sizes = _measures(finetuned)[:, 0]
        order = np.argsort(sizes)
        errors = [(r - k)[order] for r, k in zip(_logits(finetuned), known.T, strict=True)]
        return Reached(
            *(
                column + np.interp(knots.log_size, sizes[order], error)
                for column, error in zip(wanted.T, errors, strict=True)
            )
        )

    def _predict(self, point: Floats, measures: Floats) -> Floats:
        inside = np.clip((measures - self.low) / self.width, 0.0, 1.0)
        settings = np.broadcast_to(point, (len(measures), len(point)))
        return self.spline(np.concatenate([settings, inside], axis=1))


def to_logit(accuracy: npt.ArrayLike) -> Floats:
    """Returns logits of accuracies, finite also for 0 and 1."""
    return np.asarray(logit(np.clip(accuracy, CLIP, 1 - CLIP)))


def to_accuracy(logits: Floats) -> Floats:
    """Returns accuracies of logits."""
    return np.asarray(expit(logits))


def _measures(finetuned: Sequence[Finetuned]) -> Floats:
    """Returns log size and raw logit, shape (m, 2)."""
    sizes = np.log([max(one.nonzeros, 1) for one in finetuned])
    return np.stack([sizes, to_logit([one.raw_val_accuracy for one in finetuned])], axis=1)


def _logits(finetuned: Sequence[Finetuned]) -> Reached:
    return Reached(
        val=to_logit([one.val_accuracy for one in finetuned]),
        test=to_logit([one.test_accuracy for one in finetuned]),
    )
