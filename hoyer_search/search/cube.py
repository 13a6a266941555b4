"""Settings of a search space as points of a cube, as a Gaussian process sees them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Floats = npt.NDArray[np.float64]


class Cube:
    """A space of d parameters: numbers scaled to [0, 1] over their range, choices by index.

    A log range is scaled by its logarithm. A number with steps has a cell of its own, as wide as
    its neighbours'.

    Attributes:
        categorical: Which parameters are choices, shape (d,).
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._space = dict(space)
        self._axes = [_Axis(d) for d in space.values()]
        self.categorical = np.array([axis.num_choices > 0 for axis in self._axes], dtype=np.bool_)

    def points(self, settings: Sequence[Mapping[str, Any]]) -> Floats:
        """Returns settings as points, shape (num_settings, d)."""
        return np.array(
            [
                [
                    axis.position(d.to_internal_repr(setting[name]))
                    for axis, (name, d) in zip(self._axes, self._space.items(), strict=True)
                ]
                for setting in settings
            ],
            dtype=np.float64,
        ).reshape(-1, len(self._axes))

    def setting(self, point: Floats) -> dict[str, Any]:
        """Returns the setting of a point, in the types of its distributions."""
        return {
            name: d.to_external_repr(axis.value(float(x)))
            for axis, (name, d), x in zip(self._axes, self._space.items(), point, strict=True)
        }

    def snap(self, uniform: Floats) -> Floats:
        """Returns the points of settings at coordinates in [0, 1], shape (m, d)."""
        columns = [axis.snap(u) for axis, u in zip(self._axes, uniform.T, strict=True)]
        return np.stack(columns, axis=1)

    def uniform(self, points: Floats) -> Floats:
        """Returns coordinates in [0, 1] that ``snap`` turns into the given points."""
        columns = [axis.uniform(x) for axis, x in zip(self._axes, points.T, strict=True)]
        return np.stack(columns, axis=1)


class _Axis:
    """One parameter, by the numbers Optuna keeps it as."""

    def __init__(self, distribution: BaseDistribution) -> None:
        self.num_choices = 0
        if isinstance(distribution, CategoricalDistribution):
            self.num_choices = len(distribution.choices)
            return
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        self._log, self._step = distribution.log, distribution.step or 0.0
        self._low, self._high = distribution.low, distribution.high
        self._start = self._scale(self._low - self._step / 2)
        self._width = self._scale(self._high + self._step / 2) - self._start

    def position(self, value: float) -> float:
        if self.num_choices:
            return value
        return (self._scale(value) - self._start) / self._width

    def value(self, position: float) -> float:
        if self.num_choices:
            return position
        scaled = self._start + position * self._width
        value = math.exp(scaled) if self._log else scaled
        if self._step:
            value = self._low + round((value - self._low) / self._step) * self._step
        return min(max(value, self._low), self._high)

    def snap(self, uniform: Floats) -> Floats:
        if self.num_choices:
            return np.minimum(np.floor(uniform * self.num_choices), self.num_choices - 1)
        if not self._step:
            return uniform
        return np.array([self.position(self.value(float(u))) for u in uniform])

    def uniform(self, positions: Floats) -> Floats:
        return (positions + 0.5) / self.num_choices if self.num_choices else positions

    def _scale(self, value: float) -> float:
        return math.log(value) if self._log else value
