"""The map from raw to finetuned accuracy, learned from all the finetunings of a recording.

A training has a handful of them, and what these reach follows closely from three numbers: the
accuracies before and after pruning, and the size. So a simulated curve is drawn first and mapped
then, which keeps that; drawing what finetuning reaches beside the curve loosened it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from hoyer_search.search.simulate.recording import Training
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
    """Logits of finetuned accuracies, over logits of the raw ones and the log size.

    Attributes:
        spline: The map.
        low: Least logits of the accuracy before and after pruning and least log size, shape (3,).
        width: Range of each, likewise.
    """

    spline: Spline
    low: Floats
    width: Floats

    @classmethod
    def fit(cls, trainings: Sequence[Training], *, chance: float) -> Self:
        """Returns the map of recorded trainings.

        Args:
            trainings: The trainings.
            chance: Accuracy of a network of nothing, which no finetuning betters: a recording need
                not hold one, and the map would end at the least that it holds.
        """
        measures = np.concatenate([_measures(training) for training in trainings])
        none = float(to_logit(chance))
        nothing = np.array([[_top(training), none, 0.0] for training in trainings])
        measures = np.concatenate([measures, nothing])
        low, width = measures.min(axis=0), np.maximum(np.ptp(measures, axis=0), 1e-9)
        # Several thresholds may leave one network, and a spline needs its points apart.
        inputs, first = np.unique((measures - low) / width, axis=0, return_inverse=True)
        logits = np.concatenate([np.stack(_logits(t), axis=1) for t in trainings])
        logits = np.concatenate([logits, np.full((len(nothing), 2), none)])
        counts = np.bincount(first.ravel())
        sums = [np.bincount(first.ravel(), column) for column in logits.T]
        return cls(Spline.fit(inputs, np.stack(sums, axis=1) / counts[:, None]), low, width)

    def __call__(self, knots: Knots) -> Reached:
        """Returns logits along a curve, shape (m,) each.

        Args:
            knots: The curve, of m knots.
        """
        top = np.full_like(knots.raw, knots.raw.max())
        return self._predict(np.stack([to_logit(top), to_logit(knots.raw), knots.log_size], axis=1))

    def errors(self, knots: Knots, training: Training) -> Reached:
        """Returns what the map errs by along a recorded curve, in logits, shape (m,) each.

        Between finetuned sizes it is interpolated over the log size.

        Args:
            knots: The curve, of m knots.
            training: The training.
        """
        measures = _measures(training)
        order = np.argsort(measures[:, 2])
        errors = [
            (reached - expected)[order]
            for reached, expected in zip(_logits(training), self._predict(measures), strict=True)
        ]
        sizes = measures[order, 2]
        return Reached(*(np.interp(knots.log_size, sizes, error) for error in errors))

    def _predict(self, measures: Floats) -> Reached:
        inside = np.clip((measures - self.low) / self.width, 0.0, 1.0)
        return Reached(*self.spline(inside).T)


def to_logit(accuracy: npt.ArrayLike) -> Floats:
    """Returns logits of accuracies, finite also for 0 and 1."""
    return np.asarray(logit(np.clip(accuracy, CLIP, 1 - CLIP)))


def to_accuracy(logits: Floats) -> Floats:
    """Returns accuracies of logits."""
    return np.asarray(expit(logits))


def _measures(training: Training) -> Floats:
    """Returns logits of accuracies before and after pruning, and log sizes, shape (m, 3)."""
    finetuned = training.finetuned
    raw = to_logit([one.raw_val_accuracy for one in finetuned])
    sizes = np.log([max(one.nonzeros, 1) for one in finetuned])
    return np.stack([np.full_like(raw, _top(training)), raw, sizes], axis=1)


def _top(training: Training) -> float:
    """Returns the logit of a training's best accuracy at its end."""
    return float(to_logit(max(point.val_accuracy for point in training.milestones[-1].curve)))


def _logits(training: Training) -> Reached:
    return Reached(
        val=to_logit([one.val_accuracy for one in training.finetuned]),
        test=to_logit([one.test_accuracy for one in training.finetuned]),
    )
