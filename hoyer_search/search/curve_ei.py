"""Our own sampler: expected improvement of the front of accuracy and compression.

Gaussian processes model what whole curves come to (see ``profile``), and so what a new trial would
reach at any accuracy. The threshold is free: it is read off each curve, and the model has none
left, which keeps it as small as the number of trials.
"""

import math
from collections.abc import Callable, Sequence
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

from hoyer_search.results import Outlook
from hoyer_search.search.cube import Cube
from hoyer_search.search.curve_model import FrontImprovement
from hoyer_search.search.gaussian_process import GaussianProcess
from hoyer_search.search.objectives import CURVE, OUTLOOK
from hoyer_search.trial.prediction import TrialCurve

Floats = npt.NDArray[np.float64]

CANDIDATES = 512
"""Settings at which the acquisition is evaluated first."""

REFINEMENTS = (0.1, 0.03, 0.01)
"""Spreads of the settings drawn around the best ones then, as parts of each range."""


APART = 0.02
"""Least distance of a suggestion from running trials, in widths of the ranges: of two trials at one
setting the second shows its luck only, which is worth something and teaches little."""


class CurveEISampler(BaseSampler):
    """Maximises the expected improvement of the front, that is of its hypervolume.

    A study without curves is searched by its values: the improvement expected of each, summed.
    Running trials count as if they had reached what is expected of them, so that a batch spreads
    out. Constraints are not looked at: curves and values carry them (see ``objectives``).
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
        pending = cube.points([t.params for t in running])
        acquisition = _acquisition(study, complete, pending, cube)
        return cube.setting(self._best(lambda p: acquisition(p) * _apart(p, pending), cube))

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Returns a random value."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _best(self, acquisition: Callable[[Floats], Floats], cube: Cube) -> Floats:
        """Returns the candidate of the largest acquisition, refined around the best five."""
        points = cube.snap(self._rng.random((CANDIDATES, len(cube.categorical))))
        values = acquisition(points)
        for spread in REFINEMENTS:
            top = points[np.argsort(-values)[:5]]
            near = np.repeat(cube.uniform(top), 20, axis=0)
            near += spread * self._rng.standard_normal(near.shape)
            drawn = cube.snap(np.clip(near, 0.0, 1.0))
            points = np.concatenate([top, drawn])
            values = acquisition(points)
        return np.asarray(points[int(np.argmax(values))])


def _acquisition(
    study: optuna.Study, complete: Sequence[FrozenTrial], pending: Floats, cube: Cube
) -> Callable[[Floats], Floats]:
    """Returns what to maximise: a function of points, shape (m, d), to values, shape (m,)."""
    points = cube.points([t.params for t in complete])
    if any(CURVE in trial.user_attrs for trial in complete):
        curves = [_known(trial) for trial in complete]
        return FrontImprovement.after(points, curves, pending=pending, categorical=cube.categorical)
    outputs = values(complete, study.directions)
    known = np.zeros_like(outputs)
    model = GaussianProcess.fit(points, outputs, known, categorical=cube.categorical)
    model = model.believe(pending)
    incumbent = model.posterior(model.inputs)[0].max(axis=0)
    return lambda candidates: expected_improvement(model, candidates, incumbent)


def _apart(points: Floats, pending: Floats) -> Floats:
    """Returns 1 for points that are ``APART`` from all running trials, 0 for others, shape (m,)."""
    gaps = np.linalg.norm(points[:, None] - pending, axis=2)
    return np.asarray(gaps.min(axis=1, initial=np.inf) >= APART, dtype=np.float64)


def _known(trial: FrozenTrial) -> TrialCurve | Outlook | None:
    """Returns what a trial found, what was expected of a stopped one, None for a failed one."""
    if CURVE in trial.user_attrs:
        return TrialCurve.from_json(trial.user_attrs[CURVE])
    return Outlook(**trial.user_attrs[OUTLOOK]) if OUTLOOK in trial.user_attrs else None


def values(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> Floats:
    """Returns the values of trials, to maximise, shape (num_trials, k).

    Infinite ones count as the worst or the best finite one.
    """
    signs = np.array([1.0 if d == StudyDirection.MAXIMIZE else -1.0 for d in directions])
    outputs = signs * np.array([t.values for t in trials], dtype=np.float64)
    for column in outputs.T:
        finite = column[np.isfinite(column)]
        column[:] = np.clip(column, finite.min(initial=0.0), finite.max(initial=0.0))
    return np.asarray(outputs)


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
