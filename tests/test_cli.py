"""The parts of the command line that need no sweep."""

import json
import subprocess
import sys

import pytest
import toys
from test_front import DENSE, make_point
from test_sweep import call

from hoyer_search import planning, results, spaces
from hoyer_search.__main__ import LEFT_BEHIND
from hoyer_search.cli import cli, sweeps
from hoyer_search.errors import ConfigError, HoyerSearchError
from hoyer_search.planning import plan_sweep
from hoyer_search.results import TrialResult, TrialSpec
from hoyer_search.tracking import Tracker, default_uri, tables
from hoyer_search.tracking.cursor import Cursor
from hoyer_search.tracking.note import sweep_note
from hoyer_search.tracking.snapshot import Snapshot


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_command_has_help_with_an_example(monkeypatch, capsys, command):
    code, out, _ = call(monkeypatch, capsys, command, "--help")
    assert code == 0
    assert f"  hoyer-search {command}" in out


def test_version(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "--version")
    assert code == 0
    assert out.startswith("hoyer-search, version")


def test_spaces_lists_the_built_in_ones(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "spaces", "--json")
    assert code == 0
    assert list(json.loads(out)) == sorted(spaces.builtin())
    _, out, _ = call(monkeypatch, capsys, "spaces")
    assert all(name in out for name in spaces.builtin())


def test_plan_counts_and_times(monkeypatch, capsys, toy_file):
    code, out, _ = call(monkeypatch, capsys, "plan", toy_file, "--json")
    planned = json.loads(out)
    assert code == 0
    assert planned["weights"] == planned["macs"] == 736
    assert [layer["shape"] for layer in planned["layers"]] == [[16, 36], [8, 16], [4, 8]]
    assert planned["trials"] == 3
    assert planned["sweep_hours"] > planned["trial_hours"] > 0
    _, out, _ = call(monkeypatch, capsys, "plan", toy_file)
    assert "prunable layers" in out


def test_what_a_users_code_prints_stays_out_of_the_json(monkeypatch, capsys, toy_file):
    data = toys.blobs()

    def chatty():
        print("reading ...")
        return data

    monkeypatch.setattr(toys, "blobs", chatty)
    code, out, error = call(monkeypatch, capsys, "plan", toy_file, "--json")
    assert code == 0
    assert json.loads(out)["trials"] == 3
    assert error == "reading ...\n"


def test_plan_counts_the_shorter_trials_of_a_path(toy_config):
    config = toy_config(warm_start="path", pipeline__regularize__epochs=400, resources__workers=1)
    planned = plan_sweep(config)
    longest = planned["pretrain_hours"] + 3 * planned["trial_hours"]
    assert planned["sweep_hours"] == pytest.approx(longest * 2 / 3, rel=0.2)


@pytest.mark.parametrize("batch_size", [400, 200, 150])
def test_plan_times_epochs_of_a_few_steps(toy_config, batch_size):
    planned = plan_sweep(toy_config(pipeline__regularize__batch_size=batch_size))
    assert planned["trial_hours"] > 0


def test_plan_counts_the_settings_of_a_finite_space(toy_config):
    names = {"choices": ["hoyer", "hoyer_square"]}
    planned = plan_sweep(toy_config(search={"regularizer.name": names}, resources__workers=8))
    assert (planned["trials"], planned["workers"]) == (2, 2)


def test_plan_for_gpus_needs_one(toy_config, monkeypatch):
    config = toy_config(resources__gpus=0.5, resources__workers=None)
    monkeypatch.setattr(planning, "num_gpus", lambda: 0)
    with pytest.raises(ConfigError, match=r"resources\.gpus is 0\.5, and torch can use no GPU"):
        plan_sweep(config)


def test_a_sweep_without_a_trial_that_succeeded_has_failed(make_sweep, toy_config):
    folder = make_sweep(toy_config())
    spec = {"number": 0, "uid": "000-abcdef", "params": {"decay": 1e-4}}
    folder.add_trial(TrialSpec(**spec, config={}))
    failed = TrialResult(**spec, state="failed", error="ValueError: no")
    results.save(folder.trial("000-abcdef") / "result.json", failed)

    def follow():
        sweeps._follow(lambda **_: None, folder.name, folder.path.parent, 1, tracking_uri=None)

    with pytest.raises(
        HoyerSearchError, match=r"every trial of sweep sweep failed.*--trial 0 --st"
    ):
        follow()
    spec = {"number": 1, "uid": "001-abcdef", "params": {"decay": 1e-4}}
    folder.add_trial(TrialSpec(**spec, config={}))
    stopped = TrialResult(**spec, state="stopped")
    results.save(folder.trial("001-abcdef") / "result.json", stopped)
    follow()


def test_show_counts_the_settings_of_a_finite_space(monkeypatch, capsys, toy_config, make_sweep):
    names = {"choices": ["hoyer", "hoyer_square"]}
    folder = make_sweep(toy_config(search={"regularizer.name": names}))
    code, out, _ = call(monkeypatch, capsys, "show", "sweep", "--storage", folder.path.parent)
    assert (code, "0 of 2 trials ended" in out) == (0, True)
    snapshot = Snapshot.of(folder)
    page = "".join(tables.header(snapshot))
    note = sweep_note(snapshot, links={}, trials={}, picture="")
    assert "0 of 2 trials ended" in page
    assert "0 of 2 trials ended" in note


def test_a_damaged_sweep_is_listed_among_the_others(monkeypatch, capsys, toy_config, make_sweep):
    for name in ("good", "bad"):
        folder = make_sweep(toy_config(), name)
    (folder.path / "sweep.yaml").write_text("name: [")
    code, out, error = call(monkeypatch, capsys, "list", "--storage", folder.path.parent, "--json")
    assert (code, error.startswith("error: bad: ")) == (0, True)
    assert {row["sweep"]: row["state"] for row in json.loads(out)} == {
        "good": "interrupted",
        "bad": "damaged",
    }


def test_the_command_that_opens_mlflow_names_its_database(
    monkeypatch, capsys, toy_config, make_sweep, tmp_path
):
    folder = make_sweep(toy_config())
    for uri, shown in (
        (f"sqlite:///{tmp_path}/own.db", f"--tracking-uri sqlite:///{tmp_path}/own.db "),
        (default_uri(folder.path.parent), ""),
    ):
        cursor = Cursor.new(uri)
        cursor.experiment = "1"
        cursor.save(folder.tracking / "cursor.json")
        sweeps._follow(lambda **_: None, folder.name, folder.path.parent, 1, tracking_uri=uri)
        command = f"while this runs: hoyer-search ui {shown}--storage {folder.path.parent}"
        assert command in " ".join(capsys.readouterr().out.split())


def test_show_says_where_a_trial_started(monkeypatch, capsys, toy_config, make_sweep):
    folder = make_sweep(toy_config(warm_start="path"))
    folder.pretrained("x").mkdir()
    results.save(folder.pretrained("x") / "dense.json", DENSE)
    first, child = "000-abcdef", "001-abcdef"
    for number, (parent, found) in enumerate([(None, None), (first, first), (child, None)]):
        point = make_point(number, 0.98 - number / 100, 400 - number)
        spec = {"number": number, "uid": point.uid, "params": {"decay": 1e-4}}
        folder.add_trial(TrialSpec(**spec, config={}, parent=parent))
        result = TrialResult(**spec, state="complete", points=[point], parent=found)
        results.save(folder.trial(point.uid) / "result.json", result)
    where = ("--storage", folder.path.parent)
    _, out, _ = call(monkeypatch, capsys, "show", "sweep", *where)
    assert "1 from 0" in out
    assert f"trial 2 started from the dense network: the regularized network of trial {child}" in (
        " ".join(out.split())
    )
    _, out, _ = call(monkeypatch, capsys, "show", "sweep", "--json", *where)
    document = json.loads(out)
    assert [t["parent"] for t in document["trials"]] == [None, first, None]
    assert document["budget"]["trials"] == 3
    assert document["floors"] == pytest.approx({"A": 0.98, "B": 0.93, "C": 0.68})


def test_plan_refuses_what_run_would_refuse(monkeypatch, capsys, toy_file):
    code, _, error = call(monkeypatch, capsys, "plan", toy_file, "--set", "budget.trails=1")
    assert code == 2
    assert "did you mean 'trials'" in error


def test_a_thread_that_waits_for_mlflow_is_left_behind(toy_config, make_sweep):
    folder = make_sweep(toy_config())
    assert Tracker(folder)._thread.name == LEFT_BEHIND
    code = (
        "import atexit, sys, threading, time\n"
        "from hoyer_search.__main__ import LEFT_BEHIND, start\n"
        "atexit.register(print, 'taken down')\n"
        "if sys.argv.pop() == 'waits':\n"
        "    waiting = {'target': time.sleep, 'args': (60,), 'name': LEFT_BEHIND, 'daemon': True}\n"
        "    threading.Thread(**waiting).start()\n"
        "start()"
    )
    for words, waits, expected in (
        (["spaces"], "waits", 0),
        (["spaces"], "ends", 0),
        (["plan", "nowhere.yaml"], "waits", 2),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *words, waits], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == expected, done.stderr
        assert ("taken down" in done.stdout) == (waits == "ends")
        assert "quickstart" in done.stdout or "error: " in done.stderr
