"""Smoothing splines over any number of parameters."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.interpolate import RBFInterpolator

Floats = npt.NDArray[np.float64]

SMOOTHING = np.logspace(-4, 2, 13)
"""Strengths of smoothing to choose from."""


@dataclass(frozen=True, slots=True)
class Spline:
    """A smoothing thin-plate spline of several outputs, and what it leaves unexplained.

    Attributes:
        interpolator: The spline.
        low: Least observed value of each output, shape (k,).
        high: Largest observed value, likewise.
        residuals: Of each observation, with the variance of the noise, shape (n, k).
    """

    interpolator: RBFInterpolator
    low: Floats
    high: Floats
    residuals: Floats

    @classmethod
    def fit(cls, points: Floats, values: Floats) -> Self:
        """Returns the spline whose smoothing has the least generalized cross-validation error.

        Source: Wahba, Spline Models for Observational Data, 1990, chapter 4.

        Args:
            points: Where it was observed, shape (n, d), n > d + 1, all different.
            values: What was observed, shape (n, k).
        """
        scale = np.maximum(values.std(axis=0), 1e-12)
        identity = np.eye(len(points))
        best = (math.inf, 0.0, identity)
        for smoothing in SMOOTHING:
            hat = _thin_plate(points, identity, smoothing)(points)
            error = float(np.sum(((identity - hat) @ (values / scale)) ** 2))
            error /= (1 - np.trace(hat) / len(points)) ** 2
            if error < best[0]:
                best = (error, float(smoothing), hat)
        _, smoothing, hat = best
        off = identity - hat
        return cls(
            interpolator=_thin_plate(points, values, smoothing),
            low=values.min(axis=0),
            high=values.max(axis=0),
            residuals=off @ values / np.sqrt(np.sum(off**2, axis=1, keepdims=True)),
        )

    def __call__(self, points: Floats) -> Floats:
        """Returns the spline at points, shape (m, k), within what was observed."""
        return np.asarray(np.clip(self.interpolator(points), self.low, self.high))


def _thin_plate(points: Floats, values: Floats, smoothing: float) -> RBFInterpolator:
    return RBFInterpolator(points, values, smoothing=smoothing)  # type: ignore[no-untyped-call]
