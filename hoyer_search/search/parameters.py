"""The searched parameters as Optuna distributions."""

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from hoyer_search import spaces
from hoyer_search.config import Choices, Range, SweepConfig
from hoyer_search.results import Value

Space = dict[str, BaseDistribution]

TOLERANCE = 1e-4
"""Settings nearer than this, as a part of every float's range, count as the same."""


def search_space(config: SweepConfig) -> Space:
    """Returns the distribution of every searched parameter, by name, in the order of the file.

    A range is a float, or an integer where the field it stands for takes whole numbers; both of
    its ends belong to it.
    """
    integers = spaces.integer_parameters(config)
    return {
        name: _distribution(dimension, integer=name in integers)
        for name, dimension in config.search.dimensions.items()
    }


def suggest(trial: Trial, space: Space) -> None:
    """Gives a running trial a value of every parameter; those it has already stay as they are."""
    for name, distribution in space.items():
        match distribution:
            case FloatDistribution(low=low, high=high, log=log):
                trial.suggest_float(name, low, high, log=log)
            case IntDistribution(low=low, high=high, log=log):
                trial.suggest_int(name, low, high, log=log)
            case CategoricalDistribution(choices=choices):
                trial.suggest_categorical(name, choices)


def coordinates(space: Space, params: Mapping[str, Value]) -> npt.NDArray[np.float64]:
    """Returns a setting as a point, shape (num_parameters,).

    A float is scaled to [0, 1] over its range (of logarithms, for a log range), an integer is
    itself, and a choice is its index: so that equal settings are close, and others are not.
    """
    return np.array([_coordinate(d, params[name]) for name, d in space.items()], dtype=np.float64)


def tried(space: Space, study: Study, trial: FrozenTrial) -> npt.NDArray[np.float64]:
    """Returns the coordinates of a study's other trials, shape (num_trials, num_parameters).

    Presets that are still to be tried are among them, if they leave nothing open.
    """
    others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
    known = [preset(other) | other.params for other in others]
    return np.array(
        [coordinates(space, params) for params in known if params.keys() >= space.keys()]
    ).reshape(-1, len(space))


def preset(trial: FrozenTrial) -> dict[str, Value]:
    """Returns the parameters that a trial was enqueued with, under Optuna's own attribute."""
    fixed: dict[str, Value] = trial.system_attrs.get("fixed_params", {})
    return fixed


def is_among(space: Space, params: Mapping[str, Value], points: npt.NDArray[np.float64]) -> bool:
    """Returns whether a setting is the same as one of some points, within ``TOLERANCE``."""
    near = np.abs(points - coordinates(space, params)) < TOLERANCE
    return bool(near.all(axis=1).any())


def num_settings(space: Space) -> float:
    """Returns how many different settings there are: infinity when any parameter is a float."""
    return math.prod(
        math.inf if (values := _values(d)) is None else len(values) for d in space.values()
    )


def settings(space: Space) -> Iterator[dict[str, Value]]:
    """Yields every setting of a space that has no float, the last parameter fastest.

    Raises:
        ValueError: A parameter is a float.
    """
    values = [_values(distribution) for distribution in space.values()]
    if any(v is None for v in values):
        raise ValueError("settings of a float cannot be listed")
    for setting in itertools.product(*(v for v in values if v is not None)):
        yield dict(zip(space, setting, strict=True))


def _distribution(dimension: Range | Choices, *, integer: bool) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.choices)
    if integer:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _coordinate(distribution: BaseDistribution, value: Value) -> float:
    position = distribution.to_internal_repr(value)
    if not isinstance(distribution, FloatDistribution):
        return position
    low, high = distribution.low, distribution.high
    if distribution.log:
        low, high, position = math.log(low), math.log(high), math.log(position)
    return (position - low) / (high - low)


def _values(distribution: BaseDistribution) -> list[Value] | None:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return [choice for choice in choices if choice is not None]
        case IntDistribution(low=low, high=high):
            return list(range(low, high + 1))
        case _:
            return None
