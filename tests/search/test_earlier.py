"""A sweep that starts with the trials of an earlier one."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import optuna
import pytest
import toy_pipeline as toy
from processes import wait_for
from test_tuner import HERE, search

from hoyer_search import results
from hoyer_search.errors import ConfigError, StorageError
from hoyer_search.results import Outlook, TrialSpec
from hoyer_search.search.earlier import check_agreement, read_earlier
from hoyer_search.search.journal import open_journal
from hoyer_search.search.objectives import CURVE, OUTLOOK, outcome
from hoyer_search.search.retraining import Retrainings
from hoyer_search.search.study import Study
from hoyer_search.status import trial_counts
from hoyer_search.store import SweepFolder

DECAYS = (1e-4, 1e-3, 1e-2, 5e-2)


@pytest.fixture
def config(toy_config):
    return toy_config(sampler="random", budget__trials=2, warm_start_from="first")


@pytest.fixture
def first(toy_config, make_sweep):
    """A sweep of four trials, the last of which failed; its winners are being retrained."""
    config = toy_config(
        sampler="random",
        confirm=1,
        budget__trials=4,
        presets=[{"decay": decay} for decay in DECAYS],
    )
    folder = make_sweep(config, "first")
    (folder.pretrained("toy")).mkdir()
    results.save(folder.pretrained("toy") / "dense.json", toy.DENSE)
    study = Study.open(folder, config)
    for number in range(4):
        spec = study.ask()
        result = toy.result(spec)
        if number == 3:
            result = replace(result, state="failed", points=[], error="ValueError: no luck")
        results.save(folder.trial(spec.uid) / "result.json", result)
    while spec := (retrainings := Retrainings(folder, config)).ask():
        results.save(folder.trial(spec.uid) / "result.json", toy.result(spec))
        assert retrainings.num_ended < 9
    return folder


def new_sweep(config, first: SweepFolder, name: str = "second") -> SweepFolder:
    storage = first.path.parent
    earlier = read_earlier(config, storage)
    return SweepFolder.create(storage, name, config=config, provenance={}, earlier=earlier)


def optuna_trials(folder) -> list[optuna.trial.FrozenTrial]:
    storage = open_journal(folder.study_journal)
    return optuna.load_study(study_name=folder.name, storage=storage).trials


def finish(folder, spec: TrialSpec) -> results.TrialResult:
    result = toy.result(spec)
    results.save(folder.trial(spec.uid) / "result.json", result)
    return result


def test_all_ended_trials_of_the_search_are_read(first, config):
    earlier = read_earlier(config, first.path.parent)
    assert (earlier.sweep, earlier.left_out) == ("first", 0)
    assert [t.params["decay"] for t in earlier.trials] == list(DECAYS)
    assert earlier.trials == first.results()
    by_path = config.model_copy(update={"warm_start_from": str(first.path)})
    assert read_earlier(by_path, first.path / "elsewhere") == earlier


def test_trials_outside_of_the_new_ranges_are_left_out_and_counted(first, toy_config):
    ranges = {"low": 5e-4, "high": 2e-2, "log": True}
    earlier = read_earlier(
        toy_config(search__decay=ranges, warm_start_from="first"), first.path.parent
    )
    assert [t.params["decay"] for t in earlier.trials] == [1e-3, 1e-2]
    assert earlier.left_out == 2
    ranges = {"low": 0.06, "high": 0.07}
    with pytest.raises(ConfigError, match="none of its 4 is"):
        read_earlier(toy_config(search__decay=ranges, warm_start_from="first"), first.path.parent)


def test_a_sweep_that_is_not_there_is_named_with_those_that_are(first, config):
    config = config.model_copy(update={"warm_start_from": "frist"})
    with pytest.raises(StorageError, match="did you mean 'first'"):
        read_earlier(config, first.path.parent)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model__factory": "toys:cnn"}, r"model\.factory: 'toys:mlp' there, 'toys:cnn' here"),
        ({"model__arguments": {"width": 8}}, r"model\.arguments\.width: None there, 8 here"),
        ({"data__validation": 100}, r"data\.validation: 200 there, 100 here"),
        ({"regularizer__name": "l1"}, r"regularizer\.name: 'hoyer_square' there, 'l1' here"),
        ({"pruning__rule": "absolute"}, r"pruning\.rule: 'std_ratio' there"),
        ({"pipeline__finetune__epochs": 3}, r"pipeline\.finetune\.epochs: 2 there, 3 here"),
        ({"warm_start": "path"}, r"warm_start: 'dense' there, 'path' here"),
        ({"objective__sparsity": "macs"}, r"objective\.sparsity: 'nonzeros' there, 'macs' here"),
        ({"objective__points": {"A": 0.0}}, r"objective\.points\.B: 0\.05 there, None here"),
        ({"protocol": "paper"}, r"protocol: 'honest' there, 'paper' here"),
        (
            {"search__pipeline.regularize.lr": {"low": 1e-3, "high": 1e-1}},
            r"the searched parameters: {'decay': 'range'} there",
        ),
    ],
)
def test_the_first_thing_that_does_not_agree_is_named(toy_config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        check_agreement(toy_config(**overrides), toy_config(), "first")


def test_latencies_of_other_resources_do_not_agree(toy_config):
    latency = {"objective__sparsity": "latency_ms"}
    check_agreement(toy_config(resources__workers=9, **latency), toy_config(**latency), "first")
    with pytest.raises(ConfigError, match=r"resources\.cpus: 1\.0 there, 2\.0 here"):
        check_agreement(toy_config(resources__cpus=2.0, **latency), toy_config(**latency), "first")


@pytest.mark.parametrize(
    "overrides",
    [
        {"search__decay": {"low": 1e-5, "high": 1.0}},
        {"regularizer__decay": 0.5},
        {"budget__trials": 9, "sampler": "tpe", "seed": 7, "resources__workers": 5, "confirm": 3},
        {"pipeline__checkpoint_minutes": 1.0, "presets": [{"decay": 0.01}]},
    ],
)
def test_what_no_result_depends_on_may_differ(toy_config, overrides):
    check_agreement(toy_config(**overrides), toy_config(), "first")


def test_the_study_knows_them_and_nothing_else_counts_them(first, config):
    folder = new_sweep(config, first)
    study = Study.open(folder, config)
    assert (study.num_left, study.num_ended, study.num_open) == (2, 0, 0)
    specs = [study.ask(), study.ask()]
    assert [s.number for s in specs] == [0, 1]
    assert [s.uid[:4] for s in specs] == ["000-", "001-"]
    assert study.ask() is None
    for spec in reversed(specs):
        study.tell(finish(folder, spec))
    assert study.ended() == [1, 0]
    assert folder.specs() == specs
    assert {p.uid for p in folder.points()} == {s.uid for s in specs}

    known, own = (trials := optuna_trials(folder))[:4], trials[4:]
    assert [t.params["decay"] for t in known] == list(DECAYS)
    for trial, result in zip(known, first.results(), strict=True):
        told = outcome(result, config.objective)
        assert trial.values == told.values
        assert trial.constraints == {"floor": told.violation}
        assert trial.user_attrs["hoyer_search:earlier"] == result.uid
    assert [t.user_attrs.get("uid") for t in own] == [s.uid for s in specs]


def test_outcomes_are_against_each_sweeps_own_dense_network(first, config):
    """The same points are worth less where the dense network, and so each floor, is better."""
    folder = new_sweep(config, first)
    better = replace(toy.DENSE, val_accuracy=1.0)
    (folder.pretrained("toy")).mkdir()
    results.save(folder.pretrained("toy") / "dense.json", better)
    study = Study.open(folder, config)
    spec = study.ask()
    study.tell(replace(finish(folder, spec), dense=better, params=spec.params))
    trials = optuna_trials(folder)
    for trial, result in zip(trials[:4], first.results(), strict=True):
        assert trial.values == outcome(result, config.objective).values
    strict = {r.uid: outcome(replace(r, dense=better), config.objective) for r in first.results()}
    assert trials[0].values != strict[first.results()[0].uid].values


def test_they_are_told_once_however_often_the_driver_dies(first, config):
    folder = new_sweep(config, first)
    before = Study.open(folder, config).ask()
    # As if the driver had died after the second of four writes.
    lines = folder.study_journal.read_text().splitlines(keepends=True)
    second = [i for i, line in enumerate(lines) if "hoyer_search:earlier" in line][1]
    folder.study_journal.write_text("".join(lines[: second + 1]))
    (folder.trial(before.uid) / "spec.json").unlink()
    for _ in range(3):
        study = Study.open(folder, config)
    assert study.ask().number == 0
    trials = optuna_trials(folder)
    told = [t.user_attrs["hoyer_search:earlier"] for t in trials if t.state.is_finished()]
    assert told == [r.uid for r in first.results()]
    assert len(trials) == 5


def test_a_sweep_outlives_the_one_it_started_from(first, config):
    folder = new_sweep(config, first)
    first.path.rename(first.path.with_name("gone"))
    assert Study.open(folder, config).ask().number == 0


def test_a_third_sweep_knows_what_the_second_knew(first, config):
    second = new_sweep(config, first)
    finish(second, Study.open(second, config).ask())
    third = config.model_copy(update={"warm_start_from": "second"})
    earlier = read_earlier(third, first.path.parent)
    assert [t.uid for t in earlier.trials] == [
        *(r.uid for r in first.results()),
        *(r.uid for r in second.results()),
    ]


def test_settings_tried_earlier_are_not_tried_again(first, toy_config):
    config = toy_config(
        sampler="random",
        budget__trials=2,
        warm_start_from="first",
        presets=[{"decay": 1e-3}, {"decay": 2e-3}],
    )
    study = Study.open(new_sweep(config, first), config)
    decays = [study.ask().params["decay"] for _ in range(2)]
    assert decays[0] == 2e-3
    assert not set(decays) & set(DECAYS)


def test_what_is_left_of_a_finite_space_caps_the_budget(toy_config, make_sweep):
    search = {"regularizer.name": {"choices": ["hoyer", "hoyer_square", "l1"]}}
    config = toy_config(sampler="random", budget__trials=1, search=search)
    first = make_sweep(config, "first")
    spec = Study.open(first, config).ask()
    finish(first, spec)
    config = toy_config(sampler="random", search=search, warm_start_from="first")
    second = new_sweep(config, first)
    study = Study.open(second, config)
    assert (study.num_trials, study.stopped_by) == (2, "settings")
    assert trial_counts(second, "running")["left"] == 2
    rest = [study.ask() for _ in range(2)]
    names = {spec.params["regularizer.name"] for spec in rest}
    assert names == {"hoyer", "hoyer_square", "l1"} - {spec.params["regularizer.name"]}

    for spec in rest:
        finish(second, spec)
    with pytest.raises(ConfigError, match="'second' must leave a setting to try"):
        new_sweep(config.model_copy(update={"warm_start_from": "second"}), first, "third")


def test_what_was_expected_of_stopped_trials_is_known_too(first, config):
    result = first.results()[1]
    expected = Outlook(compression=[0.0, 4.0], drop=[0.1, 2.0], deviation=0.3)
    stopped = replace(
        result,
        state="stopped",
        points=[],
        forecast={"A": 1.0, "B": 2.0, "C": 3.0},
        outlook=expected,
    )
    results.save(first.trial(result.uid) / "result.json", stopped)
    folder = new_sweep(config, first)
    Study.open(folder, config)
    known = optuna_trials(folder)[1]
    assert Outlook(**known.user_attrs[OUTLOOK]) == expected
    assert CURVE not in known.user_attrs


@pytest.mark.parametrize("sampler", ["curve-ei", "gp", "tpe"])
def test_models_start_with_what_is_known(first, config, sampler):
    """With four trials known, the first suggestion is the model's, not the startup's."""
    config = config.model_copy(update={"sampler": sampler})
    study = Study.open(new_sweep(config, first), config)
    startup = Study.open(
        SweepFolder.create(first.path.parent, "alone", config=config, provenance={}), config
    )
    assert study.ask().params != startup.ask().params


@pytest.mark.slow
@pytest.mark.chaos
def test_a_killed_driver_goes_on_and_tells_nothing_twice(first, config, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    config = config.model_copy(update={"budget": config.budget.model_copy(update={"trials": 4})})
    folder = new_sweep(config, first)
    driver = subprocess.Popen(
        [sys.executable, str(HERE / "toy_driver.py"), str(folder.path)],
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    wait_for(lambda: len(folder.results()) >= 2, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    search(folder)
    assert [s.number for s in folder.specs()] == [0, 1, 2, 3]
    assert [r.state for r in folder.results()] == ["complete"] * 4
    assert folder.finished().trials == 4
    trials = optuna_trials(folder)
    assert len(trials) == 8
    assert [t.user_attrs.get("hoyer_search:earlier") for t in trials] == [
        *(r.uid for r in first.results()),
        *[None] * 4,
    ]
