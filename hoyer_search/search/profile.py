"""What a trial's curve comes to, in a few numbers that vary smoothly over the searched parameters.

What a network reaches at a floor does not: it breaks off where every threshold loses more accuracy
than the floor allows. So a curve is taken apart into the least accuracy it loses, and how far it
can be compressed while it loses little more than that. Every trial has both, feasible or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np
import numpy.typing as npt

from hoyer_search.results import Outlook
from hoyer_search.trial.prediction import Offset, TrialCurve, accuracies, doublings

Floats = npt.NDArray[np.float64]

EXCESS = np.array([0.0002, 0.001, 0.003, 0.007, 0.015, 0.03])
"""Losses of accuracy beyond the least at which the compression is read, rising."""

MOST_LOSS = 0.1
"""Least loss from which a network counts as collapsed: how it could be compressed means nothing."""

UNKNOWN = 2.0
"""Standard deviation of the compressions of a collapsed network, in doublings."""

QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 5) for i in range(5)])
"""Equally likely standard normal deviations, over which a reading is averaged."""


@dataclass(frozen=True, slots=True)
class Profiles:
    """Profiles of n trials and how well they are known.

    Attributes:
        loss: Least accuracy that finetuned networks lose, in doublings (see ``prediction``), at
            most that of ``MOST_LOSS``, shape (n, 1).
        loss_variance: Of it, shape (n, 1).
        reach: log2 compression while no more than that and each of ``EXCESS`` is lost, shape
            (n, len(EXCESS)).
        reach_variance: Of it, likewise.
    """

    loss: Floats
    loss_variance: Floats
    reach: Floats
    reach_variance: Floats

    @classmethod
    def of(cls, curves: Sequence[TrialCurve | Outlook | None]) -> Self:
        """Returns the profiles of trials; one without a curve counts as collapsed.

        The map from raw to finetuned accuracy is learned from all curves first.

        Args:
            curves: One for each trial, of a stopped one what was expected; at least one is known.
        """
        offset = Offset.learn([curve for curve in curves if isinstance(curve, TrialCurve)])
        rows = [_profile(curve, offset) for curve in curves]
        means, variances = np.stack(rows, axis=1)
        most = float(doublings(MOST_LOSS))
        collapsed = ~(means[:, 0] < most)
        means[collapsed, 0], variances[collapsed, 0] = most, 0.0
        alive = means[~collapsed, 1:]
        means[collapsed, 1:] = alive.mean(axis=0) if len(alive) else 0.0
        variances[collapsed, 1:] = UNKNOWN**2
        return cls(means[:, :1], variances[:, :1], means[:, 1:], variances[:, 1:])


def _profile(curve: TrialCurve | Outlook | None, offset: Offset) -> Floats:
    """Returns means and variances of the least loss and the compressions beyond it, or NaN."""
    if curve is None:
        return np.full((2, 1 + len(EXCESS)), np.nan)
    if isinstance(curve, Outlook):
        return _read(np.array(curve.compression), np.array(curve.drop), np.array(curve.deviation))
    return _read(curve.grid, *offset.predict(curve))


def _read(grid: Floats, mean: Floats, std: Floats) -> Floats:
    """Returns what ``_profile`` does, of drops in doublings over rising log2 compressions."""
    drops = accuracies(mean + QUANTILES[:, None] * std)
    # At a compression no more is lost than at any higher one; strictly rising, to be inverted.
    lowest = np.minimum.accumulate(drops[:, ::-1], axis=1)[:, ::-1]
    lowest = lowest + 1e-9 * np.arange(lowest.shape[1])
    read = [[doublings(row[0]), *np.interp(row[0] + EXCESS, row, grid)] for row in lowest]
    readings = np.array(read, dtype=np.float64)
    return np.stack([readings.mean(axis=0), readings.var(axis=0)])
