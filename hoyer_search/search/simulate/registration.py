"""Curves of different trainings brought to the same places, so that they can be averaged.

Two curves that collapse at different sizes have a mean that collapses nowhere. So each curve is
read at knots that mean the same on all of them: parts of its flat stretch, shares of the accuracy
it loses, and parts of what is left.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hoyer_search.results import CurvePoint

Floats = npt.NDArray[np.float64]

LOST = np.array([0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 0.8, 0.95])
"""Shares of all accuracy above chance that are lost at the knots of a curve's fall."""

FLAT, TAIL = 8, 3
"""Knots before the fall and after it."""

KNOTS = FLAT + len(LOST) + TAIL


class Knots(NamedTuple):
    """A curve at its knots, by rising threshold; each of shape (KNOTS,).

    ``log_size`` and ``log_macs`` count a network of nothing as one weight.
    """

    log_threshold: Floats
    log_size: Floats
    log_macs: Floats
    raw: Floats


def places(curve: Sequence[CurvePoint], *, chance: float) -> Floats:
    """Returns the knots of a curve as fractional indices into it, rising, shape (KNOTS,).

    Args:
        curve: By rising threshold, at least two points.
        chance: Accuracy of a network that has lost everything.
    """
    accuracy = np.array([point.val_accuracy for point in curve])
    falling = np.maximum.accumulate(accuracy[::-1])[::-1]
    lost = (falling[0] - falling) / max(falling[0] - chance, 1e-3)
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
