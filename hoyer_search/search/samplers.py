"""How trials are suggested."""

import importlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial

from hoyer_search.config import SamplerName
from hoyer_search.results import Value
from hoyer_search.search.curve_ei import CurveEISampler
from hoyer_search.search.grid import GridSampler
from hoyer_search.search.parameters import (
    Space,
    is_among,
    num_settings,
    preset,
    settings,
    tried,
)

MODEL_LIMIT = 200
"""Most trials for which ``auto`` is ``curve-ei``; its cost grows with the cube of their number."""

DRAWS = 20
"""Draws from the filler before a setting that was tried already is taken again."""


def make_sampler(
    name: SamplerName, *, space: Space, seed: int, num_trials: int, num_existing: int = 0
) -> BaseSampler:
    """Returns a sampler for a study of a fixed space; it never suggests a setting twice.

    - ``curve-ei``: Gaussian processes of what whole curves come to, expected improvement of the
      front. It starts after d + 1 trials of d parameters, from 2 to 4.
    - ``gp``: a Gaussian process per objective and constraint, expected hypervolume improvement.
      It starts after 2 d + 1 trials of d parameters, or a third of a small budget.
    - ``tpe``: tree-structured Parzen estimator, over all parameters jointly. It starts after 10
      trials, or a third of a small budget.
    - ``nsga2``: a genetic algorithm with populations of a fifth of the budget, from 4 to 50.
    - ``random``: independent draws.
    - ``grid``: a regular grid of at least as many settings as the budget, in random order.
    - ``auto``: ``curve-ei`` up to 200 trials, ``tpe`` beyond.

    What comes before a model can say anything is a scrambled Sobol sequence.

    Args:
        name: Which one.
        space: The searched parameters.
        seed: Seed of the sweep.
        num_trials: Trials the study shall have in all.
        num_existing: Trials the study has already. A sampler made after a restart draws other
            numbers for it, so that it does not suggest the same points again, and goes on with
            the same Sobol sequence.
    """
    if name == "auto":
        name = "curve-ei" if num_trials <= MODEL_LIMIT else "tpe"
    fresh = int(np.random.SeedSequence((seed, num_existing)).generate_state(1)[0])
    third = max(2, num_trials // 3)
    if name == "random":
        return DistinctSampler(RandomSampler(fresh), space=space, filler=RandomSampler(fresh + 1))
    model: BaseSampler
    if name == "curve-ei":
        model = CurveEISampler(seed=fresh, n_startup_trials=min(4, len(space) + 1))
    elif name == "gp":
        # The sampler loads torch on its first suggestion, in the thread of the study. Half-loaded
        # there, it would be seen by Ray, which looks for it in sys.modules in another thread.
        importlib.import_module("torch")
        model = GPSampler(seed=fresh, n_startup_trials=min(2 * len(space) + 1, third))
    elif name == "tpe":
        model = TPESampler(seed=fresh, n_startup_trials=min(10, third), multivariate=True)
    elif name == "grid":
        model = GridSampler(space, size=num_trials, seed=seed)
    else:
        model = NSGAIISampler(seed=fresh, population_size=min(50, max(4, num_trials // 5)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sobol = QMCSampler(scramble=True, seed=seed)
    return DistinctSampler(model, space=space, filler=sobol)


class DistinctSampler(BaseSampler):
    """Suggests whole settings of a fixed space by another sampler, and none that was tried.

    What the other sampler leaves open (while it knows too little, or to mutate) is taken from a
    filler. So is everything when its suggestion was tried already: a model that wants the same
    point again has nothing to learn there.
    """

    def __init__(self, model: BaseSampler, *, space: Space, filler: BaseSampler) -> None:
        self._model = model
        self._space = space
        self._filler = filler

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the whole space."""
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns a value of every parameter, those that a preset fixes included.

        The setting differs from every other trial's unless all of a finite space was tried, or
        20 draws did not find one.
        """
        others = tried(self._space, study, trial)
        setting: dict[str, Value] = {}
        for candidate in self._candidates(study, trial):
            setting = candidate | preset(trial)
            if not is_among(self._space, setting, others):
                break
        return setting

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Returns a value that ``sample_relative`` gave none for; none is, in a fixed space."""
        return self._filler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Passes the start of a trial on to the model."""
        self._model.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: optuna.trial.TrialState,
        values: Any,
    ) -> None:
        """Passes the end of a trial on to the model."""
        self._model.after_trial(study, trial, state, values)

    def _candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[dict[str, Value]]:
        open_space = self._model.infer_relative_search_space(study, trial)
        suggested = self._model.sample_relative(study, trial, open_space)
        if suggested.keys() >= self._space.keys():
            yield self._plain(suggested)
        for _ in range(DRAWS):
            yield self._plain(self._fill(study, trial) | suggested)
            suggested = {}
        if num_settings(self._space) < float("inf"):
            yield from settings(self._space)

    def _fill(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        several = {name: d for name, d in self._space.items() if not d.single()}
        filled = self._filler.sample_relative(study, trial, several)
        for name, distribution in self._space.items():
            if name not in filled:
                filled[name] = self._filler.sample_independent(study, trial, name, distribution)
        return filled

    def _plain(self, setting: dict[str, Any]) -> dict[str, Value]:
        """Returns a setting in the types of its distributions, free of numpy scalars."""
        return {
            name: distribution.to_external_repr(distribution.to_internal_repr(setting[name]))
            for name, distribution in self._space.items()
        }
