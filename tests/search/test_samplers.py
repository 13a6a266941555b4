"""What every sampler must do, whichever it is."""

import typing

import numpy as np
import optuna
import pytest
import toy_pipeline as toy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hoyer_search import results
from hoyer_search.config import SamplerName
from hoyer_search.results import TrialResult
from hoyer_search.search.parameters import TOLERANCE, coordinates, search_space, suggest
from hoyer_search.search.samplers import make_sampler
from hoyer_search.search.study import Study

SPACE = {
    "decay": FloatDistribution(1e-5, 1e-2, log=True),
    "epochs": IntDistribution(2, 6),
    "name": CategoricalDistribution(["hoyer", "l1"]),
}


@pytest.fixture(params=typing.get_args(SamplerName))
def sampler(request):
    return request.param


def ended(spec) -> TrialResult:
    """Returns how a trial ends: every third is infeasible, every fourth fails."""
    if spec.number % 4 == 3:
        return TrialResult(number=spec.number, uid=spec.uid, params=spec.params, state="failed")
    return toy.result(spec, accuracies=(0.5,) if spec.number % 3 == 2 else None)


def run(study: Study, *, trials: int) -> list[dict]:
    """Runs trials in this process, one after the other."""
    params = []
    for _ in range(trials):
        spec = study.ask()
        params.append(spec.params)
        study.tell(ended(spec))
    return params


def assert_distinct_and_within_range(space, params) -> None:
    assert all(
        d._contains(d.to_internal_repr(p[name])) for p in params for name, d in space.items()
    )
    points = np.array([coordinates(space, p) for p in params])
    gaps = np.abs(points[:, None] - points).max(axis=-1)
    assert gaps[np.triu_indices(len(params), 1)].min() > TOLERANCE


def test_suggestions_are_distinct_and_within_range(sampler, toy_config, make_sweep):
    config = toy_config(sampler=sampler, budget__trials=8)
    params = run(Study.open(make_sweep(config), config), trials=8)
    assert_distinct_and_within_range(search_space(config), params)


def test_what_presets_leave_open_makes_no_setting_twice(sampler, toy_config, make_sweep):
    optimizer = "pipeline.regularize.optimizer"
    config = toy_config(
        sampler=sampler,
        budget__trials=4,
        search={
            "regularizer.name": {"choices": ["hoyer", "l1"]},
            optimizer: {"choices": ["adam", "sgd"]},
        },
        presets=[
            {"regularizer.name": "l1"},
            {optimizer: "sgd"},
            {"regularizer.name": "l1", optimizer: "adam"},
        ],
    )
    params = run(Study.open(make_sweep(config), config), trials=4)
    assert [tuple(p.values()) for p in params[:3]] == [
        ("l1", "sgd"),
        ("hoyer", "sgd"),
        ("l1", "adam"),
    ]
    assert params[3] == {"regularizer.name": "hoyer", optimizer: "adam"}


@pytest.mark.parametrize("told", [0, 3])
def test_a_killed_search_goes_on(sampler, told, toy_config, make_sweep):
    """Killed with a trial running and one finished that the study was not told of."""
    config = toy_config(sampler=sampler, budget__trials=told + 4)
    folder = make_sweep(config)
    study = Study.open(folder, config)
    before = run(study, trials=told)
    finished, running = study.ask(), study.ask()
    results.save(folder.trial(finished.uid) / "result.json", ended(finished))

    again = Study.open(folder, config)
    assert again.num_ended == told + 1
    assert again.ask() == running
    again.tell(ended(running))
    after = run(again, trials=2)
    assert again.ask() is None
    assert (again.num_ended, again.num_left) == (told + 4, 0)
    assert_distinct_and_within_range(
        search_space(config), [*before, finished.params, running.params, *after]
    )


def test_the_same_seed_gives_the_same_suggestions(sampler, toy_config, make_sweep):
    config = toy_config(sampler=sampler, budget__trials=4, seed=5)
    folders = [make_sweep(config, name) for name in ("one", "two")]
    one, two = (run(Study.open(f, config), trials=4) for f in folders)
    assert one == two
    other = toy_config(sampler=sampler, budget__trials=4, seed=6)
    folder = make_sweep(other, "other")
    assert run(Study.open(folder, other), trials=4) != one


def test_mixed_spaces_and_running_trials_are_handled(sampler):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        directions=["maximize"] * 2,
        sampler=make_sampler(sampler, space=SPACE, seed=1, num_trials=9),
    )
    asked = []
    for number in range(9):
        trial = study.ask()
        suggest(trial, SPACE)
        asked.append(trial)
        if number >= 2:  # always two in the air
            done = asked[number - 2]
            done.set_constraint("floor", done.params["epochs"] - 4.0)
            study.tell(done, [float(done.params["epochs"]), -np.log(done.params["decay"])])
    points = np.array([coordinates(SPACE, t.params) for t in asked])
    assert len(np.unique(points, axis=0)) == 9


def test_a_finite_space_is_covered_before_anything_repeats(sampler):
    space = {"epochs": IntDistribution(1, 3), "name": CategoricalDistribution(["hoyer", "l1"])}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize", sampler=make_sampler(sampler, space=space, seed=0, num_trials=6)
    )
    for _ in range(6):
        trial = study.ask()
        suggest(trial, space)
        trial.set_constraint("floor", -1.0)
        study.tell(trial, 1.0)
    assert len({tuple(t.params.values()) for t in study.trials}) == 6


def test_a_suggestion_that_was_tried_is_replaced():
    space = {"decay": FloatDistribution(0.0, 1.0)}
    study = optuna.create_study(
        direction="maximize", sampler=make_sampler("random", space=space, seed=3, num_trials=9)
    )
    first = study.ask()
    suggest(first, space)
    # A second sampler of the same seed draws the same value and must take another.
    study.sampler = make_sampler("random", space=space, seed=3, num_trials=9)
    second = study.ask()
    suggest(second, space)
    assert abs(first.params["decay"] - second.params["decay"]) > TOLERANCE


def test_gp_learns_where_the_optimum_is(toy_config, make_sweep):
    config = toy_config(sampler="gp", budget__trials=9, seed=1, objective__points={"A": 0.02})
    folder = make_sweep(config)
    study = Study.open(folder, config)
    best = 0.0
    for _ in range(9):
        spec = study.ask()
        decade = np.log10(spec.params["decay"]) + 4  # 0 to 3; best just below 1
        accuracy = 0.96 - 0.01 * (decade - 1)
        point = toy.point(spec, index=0, val_accuracy=accuracy, nonzeros=int(50_000 / 2**decade))
        study.tell(
            TrialResult(
                number=spec.number,
                uid=spec.uid,
                params=spec.params,
                state="complete",
                dense=toy.DENSE,
                points=[point],
            )
        )
        if accuracy >= 0.96:
            best = max(best, decade)
    assert best > 0.95


def test_auto_is_curve_ei_up_to_200_trials_and_tpe_beyond():
    def model(num_trials: int) -> str:
        made = make_sampler("auto", space=SPACE, seed=0, num_trials=num_trials)
        return type(made._model).__name__

    assert model(200) == "CurveEISampler"
    assert model(201) == "TPESampler"
