"""How far each trial's network can be compressed at each floor, with the error of that estimate.

A trial finetunes a few thresholds only, so its best point at a floor is chance in part: one that
misses the floor by a hair leaves the next denser one. Its raw curve tells more. The drop of
accuracy after finetuning is predicted for the whole curve, by an offset from the raw one that is
learned over the sweep and corrected by the trial's own finetuned points, and read off at the floor.
Drops are in doublings (see ``objectives``), where the collapse at high compression is a line.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from hoyer_search.config import Objective
from hoyer_search.front import size
from hoyer_search.results import TrialResult
from hoyer_search.search.objectives import ACCURACY_UNIT
from hoyer_search.trial.selection import RECOVERED_GAIN, RECOVERED_SHARE

Floats = npt.NDArray[np.float64]

CURVE = "hoyer_search:curve"
"""User attribute of a trial in the study: its ``TrialCurve`` as JSON."""

ACCURACY_NOISE = 0.001
"""Standard deviation of a finetuned accuracy from one finetuning to the next."""

CORRELATION_LENGTH = 1.0
"""Doublings of compression over which a trial's deviation from the common offset persists."""

COEFFICIENT_STD = (0.7, 0.3)
"""Prior standard deviations of the offset's intercept and slope, in doublings of drop."""

LEAST_DEVIATION = 0.1
"""Least standard deviation of trials from the common offset, in doublings of drop."""

QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 9) for i in range(9)])
"""Equally likely standard normal deviations, over which a reading is averaged."""


@dataclass(frozen=True, slots=True)
class TrialCurve:
    """What a trial's curves say, as plain numbers that fit into the study.

    Attributes:
        dense: Validation accuracy of the dense network, in [0, 1].
        floors: Validation accuracy to keep, one per operating point as configured, shape (k,).
        raw: log2 compression and accuracy before finetuning, shape (n, 2); no rows when the
            curve does not know the sparsity objective, as with latency.
        finetuned: log2 compression and accuracy after finetuning, shape (m, 2), m >= 1.
    """

    dense: float
    floors: Floats
    raw: Floats
    finetuned: Floats

    @classmethod
    def of(cls, result: TrialResult, objective: Objective) -> "TrialCurve | None":
        """Returns the curves of a complete trial, None for one that has no finetuned point."""
        if result.state != "complete" or result.dense is None or not result.points:
            return None
        dense = size(result.dense, objective.sparsity)

        def rows(pairs: Sequence[tuple[float, float]]) -> Floats:
            found = [(math.log2(dense / max(s, 1e-9)), accuracy) for s, accuracy in pairs]
            return np.array(sorted(found), dtype=np.float64).reshape(-1, 2)

        known = objective.sparsity in ("nonzeros", "macs")
        return cls(
            dense=result.dense.val_accuracy,
            floors=np.array(list(objective.floors(result.dense.val_accuracy).values())),
            raw=rows(
                [
                    (max(getattr(point, objective.sparsity), 1), point.val_accuracy)
                    for point in result.curve
                    if known
                ]
            ),
            finetuned=rows([(size(p, objective.sparsity), p.val_accuracy) for p in result.points]),
        )

    @classmethod
    def from_json(cls, data: Any) -> "TrialCurve":
        """Returns the curves that ``to_json`` wrote."""
        return cls(
            dense=float(data["dense"]),
            floors=np.array(data["floors"], dtype=np.float64),
            raw=np.array(data["raw"], dtype=np.float64).reshape(-1, 2),
            finetuned=np.array(data["finetuned"], dtype=np.float64).reshape(-1, 2),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the curves as JSON-ready data, about 1 kB; a ten-thousandth doubling is kept."""
        return {
            "dense": self.dense,
            "floors": self.floors.tolist(),
            "raw": [[round(c, 4), round(a, 6)] for c, a in self.raw.tolist()],
            "finetuned": [[round(c, 4), a] for c, a in self.finetuned.tolist()],
        }

    @property
    def grid(self) -> Floats:
        """Returns the log2 compressions at which the trial is read, rising, shape (n,)."""
        return self.raw[:, 0] if len(self.raw) else self.finetuned[:, 0]

    def guess(self) -> Floats:
        """Returns the finetuned drop of accuracy to expect over ``grid``, in doublings.

        Without a raw curve it is the finetuned points' own.
        """
        if not len(self.raw):
            return doublings(self.dense - self.finetuned[:, 1])
        raw = self.raw[:, 1]
        return doublings(self.dense - (raw + RECOVERED_SHARE * (raw.max() - raw) + RECOVERED_GAIN))


@dataclass(frozen=True, slots=True)
class Offset:
    """What finetuning does beyond the guess, as learned over a sweep; all in doublings of drop.

    Attributes:
        intercept: Added to every guessed drop.
        slope: Times the guessed drop, added too.
        deviation: Standard deviation of single trials from that line.
    """

    intercept: float
    slope: float
    deviation: float

    @classmethod
    def learn(cls, curves: Sequence[TrialCurve]) -> "Offset":
        """Returns the line through the errors of the guesses: least squares with a normal prior."""
        curves = [curve for curve in curves if len(curve.raw)]
        if not curves:
            return cls(0.0, 0.0, LEAST_DEVIATION)
        guess = np.concatenate([np.interp(c.finetuned[:, 0], c.grid, c.guess()) for c in curves])
        found = np.concatenate([doublings(c.dense - c.finetuned[:, 1]) for c in curves])
        design = np.stack([np.ones_like(guess), guess], axis=1)
        scale = max(LEAST_DEVIATION, float(np.std(found - guess)))
        prior = np.diag(scale**2 / np.square(COEFFICIENT_STD))
        line = np.linalg.solve(design.T @ design + prior, design.T @ (found - guess))
        left = found - guess - design @ line
        deviation = max(LEAST_DEVIATION, float(np.sqrt(np.mean(left**2))))
        return cls(float(line[0]), float(line[1]), deviation)

    def predict(self, curve: TrialCurve) -> tuple[Floats, Floats]:
        """Returns the finetuned drop over a trial's grid and its standard deviation, in doublings.

        The trial's own points correct the line near them, as a Gaussian process over compression.
        """
        guess, at = curve.guess(), curve.finetuned[:, 0]
        line = self.intercept + (1 + self.slope) * guess if len(curve.raw) else guess
        found = doublings(curve.dense - curve.finetuned[:, 1])
        noise = ACCURACY_NOISE / (ACCURACY_UNIT * np.log(2) * 2 ** np.abs(found))
        own = self.deviation**2 * _correlation(at, at) + np.diag(noise**2)
        cross = self.deviation**2 * _correlation(curve.grid, at)
        gain = np.linalg.solve(own, cross.T).T
        mean = line + gain @ (found - np.interp(at, curve.grid, line))
        variance = self.deviation**2 - np.sum(gain * cross, axis=1)
        return mean, np.sqrt(np.maximum(variance, noise.min() ** 2))


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


def doublings(drop: npt.ArrayLike) -> Floats:
    """Returns drops of accuracy, any shape, in doublings: sign(d) * log2(1 + |d| / 0.01)."""
    d = np.asarray(drop, dtype=np.float64)
    return np.asarray(np.sign(d) * np.log2(1 + np.abs(d) / ACCURACY_UNIT))


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


def _correlation(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * ((a[:, None] - b) / CORRELATION_LENGTH) ** 2))
