"""Verdicts on trials by formula, in memory and from a sweep's folder."""

import dataclasses
from types import SimpleNamespace

import pytest
import toy_pipeline as toy
from ray.tune.schedulers import TrialScheduler
from toy_pipeline import curve

from hoyer_search import results
from hoyer_search.results import Progress, TrialResult, TrialSpec
from hoyer_search.search.early_stopping import EarlyStopping
from hoyer_search.search.scheduler import StoppingScheduler
from hoyer_search.search.study import Study
from hoyer_search.search.trainable import from_report, to_report
from hoyer_search.trial.journal import Journal

EPOCHS = 8


def finished(spec: TrialSpec, edge: float) -> TrialResult:
    points = [
        toy.point(spec, index=i, val_accuracy=accuracy, nonzeros=round(100_000 / 2**compression))
        for i, (accuracy, compression) in enumerate(((0.984, edge - 1.5), (0.972, edge - 0.5)))
    ]
    return dataclasses.replace(toy.result(spec), curve=curve(edge), points=points)


def make_spec(number: int) -> TrialSpec:
    params = {"decay": 10.0 ** (-4 + number / 10)}
    return TrialSpec(number=number, uid=f"{number:03d}-aaaaaa", params=params, config={})


POINTS = {"A": 0.0, "B": 0.01, "C": 0.03}


@pytest.fixture
def config(toy_config):
    return toy_config(early_stopping="curve", budget__trials=9, objective__points=POINTS)


def taught(config, *edges: float) -> EarlyStopping:
    stopping = EarlyStopping(config, toy.DENSE)
    for number, edge in enumerate(edges):
        spec = make_spec(number)
        for quarter in (1, 2, 3):
            stopping.remember(spec.uid, quarter, curve(edge))
        stopping.learn(finished(spec, edge))
    return stopping


def test_a_trial_far_behind_is_stopped_and_one_ahead_goes_on(config):
    stopping = taught(config, 4.0, 5.0, 6.0)
    assert stopping.verdict("new", 1, curve(7.0)) is None
    expected = stopping.verdict("worse", 1, curve(3.0)).forecast
    assert list(expected) == ["A", "B", "C"]
    best = {"A": 4.5, "B": 5.5, "C": 5.5}  # of the best finished trial
    assert all(expected[name] <= best[name] + 1e-9 for name in best)
    assert 1 < expected["A"] < 3.5


def test_nobody_is_stopped_before_enough_is_known(config):
    assert taught(config, 5.0, 6.0).verdict("new", 1, curve(1.0)) is None
    failed = [dataclasses.replace(toy.result(make_spec(n)), state="failed") for n in (5, 6, 7)]
    stopping = taught(config, 5.0, 6.0)
    for result in failed:
        stopping.learn(result)
    assert stopping.verdict("new", 1, curve(1.0)) is None


def test_the_only_feasible_trial_is_not_stopped(config):
    stopping = EarlyStopping(config, toy.DENSE)
    for number in range(5):
        spec = make_spec(number)
        stopping.remember(spec.uid, 1, curve(4.0))
        far = [toy.point(spec, index=0, val_accuracy=0.3, nonzeros=1000)]
        stopping.learn(dataclasses.replace(finished(spec, 4.0), points=far))
    assert stopping.verdict("new", 1, curve(1.0)) is None


def test_the_same_twice_changes_nothing(config):
    once, twice = taught(config, 4.0, 5.0, 6.0), taught(config, 4.0, 5.0, 6.0)
    for number, edge in enumerate((4.0, 5.0, 6.0)):
        twice.remember(make_spec(number).uid, 1, curve(edge))
        twice.learn(finished(make_spec(number), edge))
    first = once.verdict("new", 1, curve(3.0))
    assert first == twice.verdict("new", 1, curve(3.0)) == twice.verdict("new", 1, curve(3.0))


def test_a_network_without_a_weight_left_goes_on(config):
    assert taught(config, 4.0, 5.0, 6.0).verdict("empty", 1, []) is None


def test_halving_needs_no_finished_trial(toy_config):
    stopping = EarlyStopping(toy_config(early_stopping="asha", objective__points=POINTS), toy.DENSE)
    verdicts = [
        stopping.verdict(str(i), 1, curve(edge)) for i, edge in enumerate((6.0, 5.0, 4.0, 7.0))
    ]
    assert [v is not None for v in verdicts] == [False, False, True, False]
    assert stopping.verdict("0", 2, curve(6.0)) is None, "each milestone counts for itself"


@pytest.mark.parametrize(("rule", "sparsity"), [("none", "nonzeros"), ("curve", "latency_ms")])
def test_sweeps_that_stop_nothing(toy_config, rule, sparsity):
    config = toy_config(early_stopping=rule, objective__sparsity=sparsity)
    assert not config.stops_early


def step(epoch: int, edge: float | None) -> Progress:
    return Progress(
        stage="regularize",
        epoch=epoch,
        epochs=EPOCHS,
        metrics={"loss": 0.5},
        time=1.0,
        wall_seconds=3.0,
        curve=[] if edge is None else curve(edge),
    )


def test_a_milestone_survives_its_way_through_tune():
    for progress in (step(2, 5.0), step(3, None)):
        report = to_report(progress)
        assert all(isinstance(value, float | int | str) for value in report.values())
        assert from_report(report) == progress
    assert len(str(to_report(step(2, 5.0)))) < 2000


@pytest.fixture
def folder(config, make_sweep):
    """Returns a sweep of three finished trials, with their milestones in their journals."""
    folder = make_sweep(config)
    for number, edge in enumerate((4.0, 5.0, 6.0)):
        spec = make_spec(number)
        folder.add_trial(spec)
        journal = Journal(folder.trial(spec.uid) / "metrics.jsonl")
        for epoch in range(1, EPOCHS):
            journal.add(step(epoch, edge if epoch in (2, 4, 6) else None))
        results.save(folder.trial(spec.uid) / "result.json", finished(spec, edge))
    folder.add_trial(make_spec(3))
    return folder


def decide(scheduler: StoppingScheduler, progress: Progress) -> str:
    trial = SimpleNamespace(config={"uid": make_spec(3).uid})
    return scheduler.on_trial_result(None, trial, to_report(progress))


def test_after_a_restart_the_rule_knows_what_it_knew(folder, config):
    scheduler = StoppingScheduler(folder, config, toy.DENSE, room=lambda: 1)
    assert decide(scheduler, step(1, None)) == TrialScheduler.CONTINUE
    assert decide(scheduler, step(2, 7.0)) == TrialScheduler.CONTINUE
    assert folder.result(make_spec(3).uid) is None
    assert decide(scheduler, step(4, 3.0)) == TrialScheduler.STOP
    stopped = folder.result(make_spec(3).uid)
    in_memory = taught(config, 4.0, 5.0, 6.0).verdict("new", 2, curve(3.0))
    assert stopped.forecast == pytest.approx(in_memory.forecast)
    assert stopped.outlook == in_memory.outlook
    assert (stopped.state, stopped.points, stopped.curve) == ("stopped", [], curve(3.0))
    assert stopped.wall_seconds == {"regularize": 3.0}
    # A driver that is killed now finds the trial ended, whoever looks first.
    again = StoppingScheduler(folder, config, toy.DENSE, room=lambda: 1)
    again.on_trial_complete(None, SimpleNamespace(config={"uid": make_spec(3).uid}), {})
    assert folder.result(make_spec(3).uid) == stopped


def test_a_torn_journal_costs_only_its_milestone(folder, config):
    path = folder.trial(make_spec(0).uid) / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]) + lines[-2][:40])
    scheduler = StoppingScheduler(folder, config, toy.DENSE, room=lambda: 1)
    assert decide(scheduler, step(6, 1.0)) == TrialScheduler.CONTINUE, "two trials are too few"
    assert decide(scheduler, step(4, 1.0)) == TrialScheduler.STOP


def test_the_study_is_told_of_a_stopped_trial(toy_config, make_sweep):
    config = toy_config(sampler="random", budget__trials=2)
    folder = make_sweep(config)
    study = Study.open(folder, config)
    spec = study.ask()
    results.save(
        folder.trial(spec.uid) / "result.json",
        TrialResult(
            number=spec.number,
            uid=spec.uid,
            params=spec.params,
            state="stopped",
            dense=toy.DENSE,
            forecast={"A": -1.0, "B": 2.0, "C": 3.0},
        ),
    )
    # The driver died between the result and telling the study; the next one makes it good.
    study = Study.open(folder, config)
    assert (study.num_ended, study.num_left) == (1, 1)
    assert study.ask().number == 1
    assert study.ask() is None
