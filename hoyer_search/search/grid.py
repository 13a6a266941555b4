"""Grid search over a space of any kind, its grid as fine as the budget pays for."""

import itertools
import math
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from hoyer_search.results import Value
from hoyer_search.search.cube import Cube
from hoyer_search.search.parameters import (
    Space,
    is_among,
    num_settings,
    settings,
    tried,
)


def grid(space: Space, size: int) -> list[dict[str, Value]]:
    """Returns the coarsest regular grid of at least so many settings, the last parameter fastest.

    Every choice of a parameter is in it. A number's range is cut into equal cells (of its
    logarithm, for a log range) with a setting in the middle of each; parameters have as many cells
    as each other, or one more. A space of whole numbers and choices that has fewer settings is
    listed completely.

    Args:
        space: The searched parameters.
        size: Least number of settings, at least 1.
    """
    most = [num_settings({name: d}) for name, d in space.items()]
    levels = [
        int(m) if isinstance(d, CategoricalDistribution) else 1
        for m, d in zip(most, space.values(), strict=True)
    ]
    axes = [_axis(space, name, level) for name, level in zip(space, levels, strict=True)]
    while math.prod(map(len, axes)) < size:
        coarse = [i for i, m in enumerate(most) if levels[i] < m]
        if not coarse:
            break
        i = min(coarse, key=lambda i: levels[i])
        levels[i] += 1
        axes[i] = _axis(space, list(space)[i], levels[i])
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*axes)]


class GridSampler(BaseSampler):
    """Suggests the settings of a grid, each once, in an order drawn from the seed.

    Which ones were tried it reads from the study, so that it goes on after a restart. When all
    were, and what is not in the grid, is left open. Optuna's own stops the study at its end, which
    fails when trials are asked for one by one, and skips settings when others were enqueued.
    """

    def __init__(self, space: Space, *, size: int, seed: int) -> None:
        """Lays the grid.

        Args:
            space: The searched parameters.
            size: Least number of settings.
            seed: Seed of the order.
        """
        self._space = space
        laid = grid(space, size)
        order = np.random.default_rng(seed).permutation(len(laid))
        self._settings = [laid[i] for i in order]
        self._independent = RandomSampler(seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the whole space."""
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the first setting that no other trial has, an empty one when all were tried."""
        others = tried(self._space, study, trial)
        return next((s for s in self._settings if not is_among(self._space, s, others)), {})

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Returns a random value."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)


def _axis(space: Space, name: str, level: int) -> list[Value]:
    """Returns a parameter's values in the middle of so many cells, rising; each value once.

    As many cells as there are values are one for each, though on a log range some hold none.
    """
    alone = {name: space[name]}
    if level == num_settings(alone):
        return [setting[name] for setting in settings(alone)]
    cube = Cube(alone)
    middles = cube.snap((np.arange(level)[:, None] + 0.5) / level)
    return [cube.setting(point)[name] for point in np.unique(middles, axis=0)]
