import curve_family
import numpy as np
import pytest

from hoyer_search.results import Outlook
from hoyer_search.search.cube import Cube
from hoyer_search.search.curve_model import CurveModel, FrontImprovement
from hoyer_search.search.profile import EXCESS
from hoyer_search.trial.prediction import TrialCurve, accuracies

FAMILY = curve_family.Family(2, 0)
NONE = np.empty((0, 2))
ALONE = np.zeros(2, dtype=np.bool_)


def trials(number):
    """Returns points and curves of random trials."""
    rng = np.random.default_rng(0)
    cube = Cube(FAMILY.space)
    points = rng.random((number, 2))
    results = [FAMILY.run(i, cube.setting(point)) for i, point in enumerate(points)]
    return points, [TrialCurve.of(r, curve_family.OBJECTIVE) for r in results]


def test_the_improvement_is_that_of_simulated_trials():
    points, curves = trials(8)
    model = CurveModel.fit(points, curves, categorical=ALONE)
    allowed, best = np.array([0.0, 0.005, 0.027]), np.array([1.0, 4.0, 5.5])
    candidates = np.random.default_rng(1).random((5, 2))
    found = model.improvement(candidates, allowed=allowed, best=best)

    rng = np.random.default_rng(2)
    loss, loss_std = model.loss.predictive(candidates)
    reach, reach_std = model.reach.predictive(candidates)
    for i in range(len(candidates)):
        lost = accuracies(loss[i] + loss_std[i] * rng.standard_normal(20_000))
        curves = reach[i] + reach_std[i] * rng.standard_normal((20_000, 1))
        for k, (limit, known) in enumerate(zip(allowed, best, strict=True)):
            room = limit - lost
            reached = [
                np.interp(np.sqrt(r), np.sqrt(EXCESS), c) if r >= 0 else 0.0
                for r, c in zip(room, curves, strict=True)
            ]
            gained = np.maximum(np.array(reached) - known, 0.0).mean()
            assert found[i, k] == pytest.approx(gained, abs=0.05, rel=0.05)


def test_where_every_trial_failed_nothing_is_expected():
    points, curves = trials(12)
    for i in np.flatnonzero(points[:, 0] > 0.5):
        curves[i] = None
    improvement = FrontImprovement.after(points, curves, pending=NONE, categorical=ALONE)
    left, right = improvement(np.array([[0.25, 0.5], [0.95, 0.5]]))
    assert right < 0.2 * left


def test_running_trials_are_worth_less_again():
    points, curves = trials(10)
    spot = np.array([[0.3, 0.4]])
    free, taken = (
        FrontImprovement.after(points, curves, pending=pending, categorical=ALONE)
        for pending in (NONE, spot)
    )
    assert taken(spot) < 0.8 * free(spot)
    assert (taken.best >= free.best).all()
    assert (np.diff(free.best) >= 0).all()  # looser floors, more compression


def test_a_stopped_trial_teaches_what_was_expected_of_it_but_reached_nothing():
    points, curves = trials(10)
    spot = np.array([[0.3, 0.4]])
    well, badly = (
        Outlook(compression=[0.0, 4.0, 8.0], drop=[lost, lost + 0.5, lost + 3], deviation=0.3)
        for lost in (-1.0, 2.0)
    )
    free, promising, hopeless = (
        FrontImprovement.after(
            np.concatenate([points, spot[: len(more)]]),
            [*curves, *more],
            pending=NONE,
            categorical=ALONE,
        )
        for more in ([], [well], [badly])
    )
    assert hopeless(spot) < 0.5 * free(spot) < 0.5 * promising(spot)
    assert (promising.best == free.best).all()
    assert (hopeless.best == free.best).all()
