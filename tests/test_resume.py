"""Going on with a sweep that ended: more budget, and what may change."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import toys
from test_sweep import call

import hoyer_search as hs
from hoyer_search.errors import ConfigError
from hoyer_search.results import Finished
from hoyer_search.store import SweepFolder
from hoyer_search.sweep import changed_config

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def ended(tmp_path_factory, empty_store):
    """A sweep that stopped after one trial, since its hours were spent."""
    space, storage = tmp_path_factory.mktemp("space") / "toy.yaml", tmp_path_factory.mktemp("runs")
    shutil.copy(empty_store, storage / "mlflow.db")
    space.write_text(toys.SPACE)
    overrides = {"budget.hours": 1e-6, "budget.trials": 2, "resources.workers": 1}
    overrides["objective.points"] = {"A": 0.0, "B": 0.05, "C": 0.3, "D": 0.9}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
        yield hs.run(space, name="ended", storage=storage, overrides=overrides)


def test_show_says_why_a_sweep_stopped_and_how_it_goes_on(ended, monkeypatch, capsys):
    storage = ended.folder.parent
    code, out, _ = call(monkeypatch, capsys, "show", "ended", "--storage", storage)
    assert code == 0
    assert "stopped: 0 of 2 trials ended; " in out
    assert "of 1e-06 hours are spent" in out
    more = re.search(r"resume ended --set budget.hours=(\S+) --storage", out)
    assert float(more[1]) > SweepFolder(ended.folder).usage().wall_seconds / 3600
    _, out, _ = call(monkeypatch, capsys, "show", "ended", "--json", "--storage", storage)
    shown = json.loads(out)
    assert (shown["state"], shown["stopped_by"]) == ("finished", "hours")
    assert shown["used"]["hours"] > 1e-6
    assert shown["used"]["core_hours"] == shown["used"]["gpu_hours"] == 0.0


def test_more_budget_lets_a_sweep_go_on_and_is_kept(ended, monkeypatch, capsys, caplog):
    storage = ended.folder.parent
    code, out, error = call(
        monkeypatch, capsys, "resume", "ended", "--set", "budget={trials: 2}",
        "--set", "confirm=1",
        "--storage", storage,
    )  # fmt: skip
    assert code == 0, error
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "hoyer_search.sweep"]
    assert warning.startswith("a network that only guesses among 4 outputs is right on 25.00%")
    assert re.search(r"keeps the floor of operating points D \(-?\d+\.\d\d%\); the dense", warning)
    assert "stopped: 2 of 2 trials ended; the budget of trials is spent" in out
    assert "resume ended --set budget.trials=4" in out
    again = hs.open_sweep("ended", storage=storage)
    described = again.describe()
    assert [t["state"] for t in described["trials"]] == ["complete"] * 2
    assert described["stopped_by"] == "trials"
    budget = SweepFolder(again.folder).config().budget
    assert (budget.trials, budget.hours) == (2, None)

    # The winners were trained again, once, and the front says what became of them.
    assert "winners trained again, 1 time each" in out
    retrained = described["retrainings"]
    winners = {p["uid"] for p in described["points"].values() if p is not None}
    assert {t["uid"] for t in retrained} == {f"{uid}-r1" for uid in winners}
    assert {t["state"] for t in retrained} == {"complete"}
    for point in filter(None, described["points"].values()):
        confirmation = point["confirmation"]
        assert (confirmation["retrained"], confirmation["failed"]) == (1, 0)
        kept = confirmation["val_accuracy"]["mean"] >= point["floor"] - 1e-9
        assert confirmation["confirmed"] == kept
        assert confirmation["nonzeros"]["std"] is None
    front = again.front().to_pydict()
    assert [p["confirmed"] for p in described["front"]] == front["confirmed"]
    assert {t["number"] for t in described["trials"]} == {0, 1}


def test_a_sweep_does_not_go_on_with_other_data(ended, monkeypatch, capsys):
    data, storage = toys.blobs(), ended.folder.parent
    train = (data.train[0].flip(0), data.train[1].flip(0))
    monkeypatch.setattr("toys.blobs", lambda: replace(data, train=train))
    command = ["resume", "ended", "--set", "budget.trials=9", "--storage", storage]
    code, _, error = call(monkeypatch, capsys, *command)
    assert code == 2
    assert "'toys:blobs' gives other examples than those that the sweep began with" in error
    assert SweepFolder(ended.folder).config().budget.trials == 2


def test_a_sweep_starts_with_the_trials_of_an_earlier_one(ended):
    space, storage = ended.folder / "sweep.yaml", ended.folder.parent
    changes = {"warm_start_from": "ended", "budget.trials": 1, "confirm": 0, "seed": 1}
    with pytest.raises(ConfigError, match=r"data\.validation: 200 there, 100 here"):
        hs.run(space, name="no", storage=storage, overrides=changes | {"data.validation": 100})
    assert not (storage / "no").exists()
    second = hs.run(space, name="second", storage=storage, overrides=changes)
    described = second.describe()
    assert described["warm_start_from"] == {"sweep": "ended", "trials": 2, "left_out": 0}
    (trial,) = described["trials"]
    assert (trial["number"], trial["state"]) == (0, "complete")
    known = {t["params"]["decay"] for t in ended.describe()["trials"]}
    assert trial["params"]["decay"] not in known


@pytest.mark.parametrize("path", ["search.decay.high", "pipeline.finetune.epochs", "sampler"])
def test_nothing_else_may_change(ended, monkeypatch, capsys, path):
    before = (ended.folder / "sweep.yaml").read_bytes()
    code, _, error = call(
        monkeypatch, capsys, "resume", "ended", "--set", f"{path}=1",
        "--storage", ended.folder.parent,
    )  # fmt: skip
    assert code == 2
    assert f"--set {path}: " in error
    assert "only budget.*, resources.*, confirm may change" in error
    assert (ended.folder / "sweep.yaml").read_bytes() == before


def test_a_wrong_value_is_refused_before_anything_is_written(ended, monkeypatch, capsys):
    before = (ended.folder / "sweep.yaml").read_bytes()
    code, _, error = call(
        monkeypatch, capsys, "resume", "ended", "--set", "budget.trials=0",
        "--storage", ended.folder.parent,
    )  # fmt: skip
    assert code == 2
    assert "greater than or equal to 1, got 0" in error
    assert (ended.folder / "sweep.yaml").read_bytes() == before


def test_a_sweep_for_latency_keeps_the_resources_it_measures_on(toy_config, make_sweep):
    folder = make_sweep(toy_config(objective__sparsity="latency_ms"))
    with pytest.raises(ConfigError, match=r"1 CPUs and 0 GPUs; got 2 and 0"):
        changed_config(folder, {"resources.cpus": 2.0})
    assert changed_config(folder, {"resources.workers": 7}).resources.workers == 7


def test_a_sweep_whose_limit_went_shows_no_end_by_it(
    make_sweep, toy_config, empty_store, monkeypatch, capsys
):
    folder = make_sweep(toy_config(budget__hours=1.0), "limited")
    shutil.copy(empty_store, folder.path.parent / "mlflow.db")
    folder.save_finished(Finished(trials=1, budget=3, stopped_by="hours"))

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("hoyer_search.search.tuner.run_search", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hs.resume("limited", storage=folder.path.parent, overrides={"budget.hours": None})
    code, out, _ = call(monkeypatch, capsys, "show", "limited", "--storage", folder.path.parent)
    assert code == 0
    assert "sweep limited: interrupted" in out
