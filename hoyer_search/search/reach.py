"""How far each trial's network can be compressed at each floor, with the error of that estimate.

A trial finetunes a few thresholds only, so its best point at a floor is chance in part: one that
misses the floor by a hair leaves the next denser one. Its raw curve tells more. The drop of
accuracy after finetuning is predicted for the whole curve (see ``trial.prediction``) and read off
at the floor.
"""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from hoyer_search.trial.prediction import ACCURACY_UNIT, Offset, TrialCurve, doublings

Floats = npt.NDArray[np.float64]

CURVE = "hoyer_search:curve"
"""User attribute of a trial in the study: its ``TrialCurve`` as JSON."""

QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 9) for i in range(9)])
"""Equally likely standard normal deviations, over which a reading is averaged."""


def reach(curve: TrialCurve, offset: Offset) -> tuple[Floats, Floats]:
    """Returns the log2 compression that a trial reaches at each floor, and its variance.

    Where the whole curve stays under a floor it is minus the missing accuracy in doublings, as in
    ``objectives``. Averaged over the error of the prediction, so that both join smoothly.

    Args:
        curve: The trial.
        offset: What finetuning does in this sweep.

    Returns:
        Means and variances, shape (k,) each.
    """
    mean, std = offset.predict(curve)
    drops = mean + QUANTILES[:, None] * std
    allowed = (curve.dense - curve.floors).tolist()
    readings = np.array([[_read(curve.grid, drop, a) for a in allowed] for drop in drops])
    return readings.mean(axis=0), readings.var(axis=0)


def _read(grid: Floats, drops: Floats, allowed: float) -> float:
    limit = float(doublings(allowed))
    kept = np.flatnonzero(drops <= limit)
    if not len(kept):
        least = float(drops.min())
        missing = math.copysign(ACCURACY_UNIT * (2 ** abs(least) - 1), least) - allowed
        return -float(doublings(missing))
    last = int(kept[-1])
    if last == len(grid) - 1:
        return float(grid[last])
    part = (limit - drops[last]) / (drops[last + 1] - drops[last])
    return float(grid[last] + part * (grid[last + 1] - grid[last]))
