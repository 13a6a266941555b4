"""Curves of different trainings brought to the same places, so that they can be averaged.

Two curves that collapse at different sizes have a mean that collapses nowhere. So each curve is
read at knots that mean the same on all of them: parts of its flat stretch, shares of the accuracy
it loses, and parts of what is left.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from scipy.special import expit, logit

from hoyer_search.results import CurvePoint
from hoyer_search.search.simulate.recording import Finetuned

Floats = npt.NDArray[np.float64]

LOST = np.array([0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 0.8, 0.95])
"""Shares of all accuracy above chance that are lost at the knots of a curve's fall."""

FLAT, TAIL = 8, 3
"""Knots before the fall and after it."""

KNOTS = FLAT + len(LOST) + TAIL

CLIP = 1e-3
"""Distance kept from accuracies of 0 and 1, where the logit is infinite."""


class Knots(NamedTuple):
    """A curve at its knots, by rising threshold; each of shape (KNOTS,).

    ``log_size`` and ``log_macs`` count a network of nothing as one weight.
    """

    log_threshold: Floats
    log_size: Floats
    log_macs: Floats
    raw: Floats


class FinetunedKnots(NamedTuple):
    """Logits of the accuracies reached by finetuning at the knots; each of shape (KNOTS,)."""

    val: Floats
    test: Floats


def places(curve: Sequence[CurvePoint], *, chance: float) -> Floats:
    """Returns the knots of a curve as fractional indices into it, rising, shape (KNOTS,).

    Args:
        curve: By rising threshold, at least two points.
        chance: Accuracy of a network that has lost everything.
    """
    accuracy = np.array([point.val_accuracy for point in curve])
    falling = np.maximum.accumulate(accuracy[::-1])[::-1]
    lost = (falling[0] - falling) / max(falling[0] - chance, CLIP)
    fall = np.interp(LOST, lost, np.arange(len(curve), dtype=np.float64))
    flat = np.linspace(0.0, fall[0], FLAT, endpoint=False)
    tail = np.linspace(fall[-1], len(curve) - 1, TAIL + 1)[1:]
    return np.concatenate([flat, fall, tail])


def read_curve(curve: Sequence[CurvePoint], at: Floats) -> Knots:
    """Returns a curve at fractional indices."""
    index = np.arange(len(curve))
    return Knots(
        log_threshold=np.interp(at, index, np.log([point.threshold for point in curve])),
        log_size=np.interp(at, index, np.log([max(point.nonzeros, 1) for point in curve])),
        log_macs=np.interp(at, index, np.log([max(point.macs, 1) for point in curve])),
        raw=np.interp(at, index, [point.val_accuracy for point in curve]),
    )


def read_finetuned(
    curve: Sequence[CurvePoint], finetuned: Sequence[Finetuned], at: Floats
) -> FinetunedKnots:
    """Returns what finetuning reached at fractional indices, from the few thresholds it was done.

    Between them logits are interpolated without overshoot. Denser networks reach what the densest
    did; sparser ones go on falling as between the last two.

    Args:
        curve: By rising threshold.
        finetuned: At thresholds of the curve, rising; at least one.
        at: Fractional indices into the curve.
    """
    thresholds = np.array([point.threshold for point in curve])
    index = np.searchsorted(thresholds, [one.threshold for one in finetuned]).astype(np.float64)
    return FinetunedKnots(
        val=_interpolate(at, index, to_logit([one.val_accuracy for one in finetuned])),
        test=_interpolate(at, index, to_logit([one.test_accuracy for one in finetuned])),
    )


def to_logit(accuracy: npt.ArrayLike) -> Floats:
    """Returns logits of accuracies, finite also for 0 and 1."""
    return np.asarray(logit(np.clip(accuracy, CLIP, 1 - CLIP)))


def to_accuracy(logits: Floats) -> Floats:
    """Returns accuracies of logits."""
    return np.asarray(expit(logits))


def _interpolate(at: Floats, index: Floats, values: Floats) -> Floats:
    if len(index) == 1:
        return np.full(len(at), values[0])
    interpolate = PchipInterpolator(index, values)  # type: ignore[no-untyped-call]
    inside = interpolate(np.clip(at, index[0], index[-1]))
    slope = min(0.0, (values[-1] - values[-2]) / (index[-1] - index[-2]))
    return np.asarray(inside + slope * np.maximum(at - index[-1], 0.0))
