"""Our own sampler: expected improvement of the operating points, from whole curves.

For each operating point a Gaussian process over the searched parameters models the compression
reached at its floor, which ``reach`` reads off a trial's whole curve. Reading the free threshold
off each trial integrates it out: the model has no threshold left, stays smooth where accuracy
collapses, and costs a few trials' worth of algebra instead of a few hundred curve points'.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr

from hoyer_search.search.cube import Cube
from hoyer_search.search.gaussian_process import GaussianProcess
from hoyer_search.search.reach import CURVE, reach
from hoyer_search.trial.prediction import Offset, TrialCurve

Floats = npt.NDArray[np.float64]

WINDOW = 3.0
"""Doublings under the best beyond which a trial is bad, and how bad counts logarithmically."""

CANDIDATES = 1024
"""Settings at which the acquisition is evaluated first."""

REFINEMENTS = (0.1, 0.03, 0.01)
"""Spreads of the settings drawn around the best ones then, as parts of each range."""


class CurveEISampler(BaseSampler):
    """Maximises the expected improvement, in doublings, summed over the operating points.

    Trials without a curve, and studies of anything else, count by their values. Running trials
    count as if they had reached what is expected of them, so that a batch spreads out. Constraints
    are not looked at: values carry them (see ``objectives``).
    """

    def __init__(self, *, seed: int | None = None, n_startup_trials: int = 3) -> None:
        """Creates a sampler.

        Args:
            seed: Seed of the candidates.
            n_startup_trials: Finished trials before the model is used; until then, parameters are
                left to ``sample_independent``.
        """
        self._rng = np.random.default_rng(seed)
        self._independent = RandomSampler(seed)
        self._n_startup_trials = n_startup_trials
        self._spaces = IntersectionSearchSpace()

    def reseed_rng(self) -> None:
        """Draws other numbers from now on, as Optuna's workers do."""
        self._rng = np.random.default_rng()
        self._independent.reseed_rng()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the parameters that all finished trials have and that can vary."""
        space = self._spaces.calculate(study)
        return {name: d for name, d in space.items() if not d.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the most promising setting, an empty one while too few trials have ended."""
        trials = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        complete = [t for t in trials if t.state == TrialState.COMPLETE]
        if not search_space or len(complete) < max(1, self._n_startup_trials):
            return {}
        running = [
            t
            for t in trials
            if t.state == TrialState.RUNNING and t.params.keys() >= search_space.keys()
        ]
        cube = Cube(search_space)
        outputs, variances = observations(complete, study.directions)
        model = GaussianProcess.fit(
            cube.points([t.params for t in complete]),
            outputs,
            variances,
            categorical=cube.categorical,
        )
        if running:
            model = model.believe(cube.points([t.params for t in running]))
        return cube.setting(self._best(model, cube))

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Returns a random value."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _best(self, model: GaussianProcess, cube: Cube) -> Floats:
        """Returns the candidate of the largest acquisition, refined around the best five."""
        best, _ = model.posterior(model.inputs)
        incumbent = best.max(axis=0)
        dimensions = len(cube.categorical)
        points = cube.snap(self._rng.random((CANDIDATES, dimensions)))
        values = expected_improvement(model, points, incumbent)
        for spread in REFINEMENTS:
            top = points[np.argsort(-values)[:5]]
            near = np.repeat(cube.uniform(top), 40, axis=0)
            near += spread * self._rng.standard_normal(near.shape)
            drawn = cube.snap(np.clip(near, 0.0, 1.0))
            points = np.concatenate([top, drawn])
            values = expected_improvement(model, points, incumbent)
        return np.asarray(points[int(np.argmax(values))])


def observations(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]
) -> tuple[Floats, Floats]:
    """Returns what trials reached, to maximise, and its variance, shape (num_trials, k) each.

    Values far under the best are drawn closer, so that one collapse is not all the model sees.
    """
    signs = np.array([1.0 if d == StudyDirection.MAXIMIZE else -1.0 for d in directions])
    outputs = signs * np.array([t.values for t in trials], dtype=np.float64)
    for column in outputs.T:
        finite = column[np.isfinite(column)]
        column[:] = np.clip(column, finite.min(initial=0.0), finite.max(initial=0.0))
    variances = np.zeros_like(outputs)
    curves = {
        i: TrialCurve.from_json(t.user_attrs[CURVE])
        for i, t in enumerate(trials)
        if CURVE in t.user_attrs
    }
    if not curves:
        return outputs, variances
    offset = Offset.learn(list(curves.values()))
    for i, curve in curves.items():
        outputs[i], variances[i] = reach(curve, offset)
    edge = outputs.max(axis=0) - WINDOW
    below = np.maximum(edge - outputs, 0.0)
    return np.maximum(outputs, edge) - np.log1p(below), variances / (1 + below) ** 2


def expected_improvement(model: GaussianProcess, points: Floats, incumbent: Floats) -> Floats:
    """Returns the expected improvement over the incumbents, summed over outputs, shape (m,).

    Args:
        model: The model of k outputs.
        points: Where, shape (m, d).
        incumbent: Best of each output, shape (k,).
    """
    mean, std = model.posterior(points)
    z = (mean - incumbent) / std
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return np.asarray(np.sum(std * (z * ndtr(z) + density), axis=1))
