"""The main job, end to end: a real sweep on Ray, its front, its MLflow runs, its networks."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import canaries
import mlflow
import pytest
import torch
from processes import kill_driver, wait_for

import hoyer_search as hs
from hoyer_search import cli
from hoyer_search.errors import InputError, StorageError

TESTS = Path(__file__).parent
PATH = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
ENVIRONMENT = os.environ | {"PYTHONPATH": PATH}


@pytest.fixture(scope="module")
def toy_space(tmp_path_factory):
    import toys

    path = tmp_path_factory.mktemp("space") / "toy.yaml"
    path.write_text(toys.SPACE)
    return path


@pytest.fixture(scope="module")
def sweep(toy_space, tmp_path_factory):
    """One finished sweep of three trials, the third of which failed."""
    storage = tmp_path_factory.mktemp("runs")
    events = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PATH)
        canaries.plant(patch)
        finished = hs.run(
            toy_space,
            name="done",
            storage=storage,
            on_event=events.append,
            overrides={
                "search.pipeline.regularize.lr": {"choices": [0.01, 1e30]},
                "presets": [
                    {"decay": 0.0003, "pipeline.regularize.lr": 0.01},
                    {"decay": 0.0002, "pipeline.regularize.lr": 1e30},
                    {"decay": 0.0001, "pipeline.regularize.lr": 0.01},
                ],
            },
        )
    finished.events = events
    return finished


def call(monkeypatch, capsys, *arguments):
    """Runs the command line in this process; returns exit code, standard output and error."""
    monkeypatch.setattr(sys, "argv", ["hoyer-search", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as error:
        code = error.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_sweep_ends_with_a_front_and_records_failures(sweep):
    assert sweep.state == "finished"
    described = sweep.describe()
    assert [t["state"] for t in described["trials"]] == ["complete", "failed", "complete"]
    assert "TrialDiverged" in described["trials"][1]["error"]
    assert len({json.dumps(t["params"]) for t in described["trials"]}) == 3
    front = sweep.front().to_pydict()
    assert front["val_accuracy"] == sorted(front["val_accuracy"], reverse=True)
    assert front["nonzeros"] == sorted(front["nonzeros"], reverse=True)
    assert sweep.trials().column_names[:3] == ["number", "uid", "state"]
    assert "3 trials ended" in repr(sweep)


def test_events_tell_the_whole_story(sweep):
    pretraining = [e.progress.epoch for e in sweep.events if e.spec is None]
    assert pretraining == [1, 2, 3]
    ended = [e.result.number for e in sweep.events if e.result is not None]
    assert sorted(ended) == [0, 1, 2]


def test_points_by_name_by_accuracy_and_pulled(sweep, tmp_path):
    point = sweep.point("C")
    best = sweep.best(min_accuracy=point.record.val_accuracy)
    assert best.record.nonzeros <= point.record.nonzeros
    assert sweep.point("knee").artifact.is_dir()
    folder = point.pull(tmp_path / "best")
    pulled = hs.load_artifact(folder, factory="toys:mlp")
    x = torch.randn(5, 1, 6, 6)
    with torch.inference_mode():
        assert torch.equal(pulled(x), point.load_model()(x))
    with pytest.raises(StorageError, match="not empty"):
        point.pull(folder)
    with pytest.raises(InputError, match="did you mean"):
        sweep.point("kneee")
    with pytest.raises(InputError, match=r"no network .* is within min_accuracy 1\.1"):
        sweep.best(min_accuracy=1.1)


def test_mlflow_holds_what_the_folder_holds(sweep):
    client = mlflow.MlflowClient(f"sqlite:///{sweep.folder.parent / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name.startswith("hoyer/")]
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 4, "a parent and three trials"
    described = sweep.describe()
    by_uid = {r.data.tags.get("hoyer.uid"): r for r in runs}
    for trial in described["trials"]:
        run = by_uid[trial["uid"]]
        assert run.info.status == ("FAILED" if trial["state"] == "failed" else "FINISHED")
    (registered,) = client.search_registered_models()
    assert {"best", "knee"} <= set(registered.aliases)


def test_secrets_of_the_environment_are_stored_nowhere(sweep):
    assert canaries.in_folder(sweep.folder.parent) == []


def test_show_prints_the_documented_keys(sweep, monkeypatch, capsys):
    storage = ("--storage", sweep.folder.parent)
    code, out, _ = call(monkeypatch, capsys, "show", "done", "--json", *storage)
    shown = json.loads(out)
    assert code == 0
    assert set(shown) >= {"sweep", "state", "trials", "front", "points"}
    assert set(shown["points"]) == {"A", "B", "C"}
    assert set(shown["front"][0]) >= {
        "trial", "params", "threshold", "val_accuracy", "test_accuracy", "nonzeros", "macs",
        "physical_macs", "parameters", "structure",
    }  # fmt: skip
    code, out, _ = call(monkeypatch, capsys, "show", "done", *storage)
    assert code == 0
    assert "Pareto front" in out
    assert "trial 1 failed: " in out


def test_pull_and_evaluate_agree_with_the_record(sweep, monkeypatch, capsys, tmp_path):
    point = sweep.point("C").record
    output = tmp_path / "best"
    code, out, _ = call(
        monkeypatch, capsys, "pull", "done", "--point", "C", "-o", output, "--json",
        "--storage", sweep.folder.parent,
    )  # fmt: skip
    assert code == 0
    pulled = json.loads(out)
    assert (pulled["folder"], pulled["point"]) == (str(output), point.name)
    given = ("--factory", "toys:mlp", "--data", "toys:blobs")
    code, out, _ = call(monkeypatch, capsys, "evaluate", output, *given, "--json")
    measured = json.loads(out)
    metrics = json.loads((output / "metrics.json").read_text())
    assert code == 0
    for key in ("nonzeros", "macs", "physical_macs", "parameters", "structure", "params", "trial"):
        assert measured[key] == metrics[key] == pulled[key] == getattr(point, key)
    assert measured["test_accuracy"] == pytest.approx(point.test_accuracy)
    assert measured["val_accuracy"] == pytest.approx(point.val_accuracy)
    assert measured["exactness"] <= 1e-10
    assert set(measured["latency_ms"]) == {"dense", "shrunk"}
    code, out, _ = call(monkeypatch, capsys, "evaluate", output, *given)
    assert f"{measured['nonzeros']:,}" in out


def test_the_command_that_pull_prints_can_be_pasted(sweep, monkeypatch, capsys, tmp_path):
    output, storage = tmp_path / "the best", sweep.folder.parent
    pull = ("pull", "done", "--point", "C", "-o", output, "--storage", storage)
    _, out, _ = call(monkeypatch, capsys, *pull)
    name, *command = shlex.split(out.partition("measure it again: ")[2])
    assert name == "hoyer-search"
    code, _, error = call(monkeypatch, capsys, *command)
    assert code == 0, error


def test_code_named_by_a_file_is_not_run_unless_the_user_says_so(
    sweep, monkeypatch, capsys, tmp_path
):
    sweep.point("C").pull(tmp_path / "best")
    code, _, error = call(monkeypatch, capsys, "evaluate", tmp_path / "best")
    assert code == 2
    assert "may not say what code to run" in error
    factory = ("--factory", "toys:mlp")
    code, _, error = call(monkeypatch, capsys, "evaluate", tmp_path / "best", *factory)
    assert code == 2
    assert "--data toys:blobs" in error


def test_a_finished_sweep_is_not_run_again(sweep):
    before = {p: p.stat().st_mtime_ns for p in sweep.folder.rglob("result.json")}
    again = hs.resume("done", storage=sweep.folder.parent)
    assert again.state == "finished"
    assert {p: p.stat().st_mtime_ns for p in sweep.folder.rglob("result.json")} == before


def start_driver(*arguments, storage):
    command = [sys.executable, "-c", "from hoyer_search.cli import main; main()", *arguments]
    return subprocess.Popen(
        [*command, "--storage", str(storage)],
        cwd=TESTS,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background job ignores Ctrl-C, and so would everything it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.fixture
def slow_space(toy_space, tmp_path):
    """Trials of a few seconds, so that there is a middle to kill them in."""
    text = toy_space.read_text().replace("regularize: {epochs: 4", "regularize: {epochs: 60")
    path = tmp_path / "slow.yaml"
    text = text.replace("max_points: 2", "max_points: 1").replace("trials: 3", "trials: 4")
    path.write_text(text)
    return path


@pytest.fixture
def storage(tmp_path, empty_store):
    """A storage folder with an empty MLflow database in it."""
    path = tmp_path / "runs"
    path.mkdir()
    shutil.copy(empty_store, path / "mlflow.db")
    return path


@pytest.mark.slow
def test_kill_9_of_the_driver_loses_and_repeats_nothing(slow_space, storage):
    folder = storage / "killed"
    driver = start_driver("run", str(slow_space), "--name", "killed", storage=storage)
    wait_for(lambda: len(list(folder.glob("trials/*/result.json"))) >= 1, driver)
    wait_for(lambda: len(list(folder.glob("trials/*/spec.json"))) >= 3, driver)
    # The workers end with the driver; what they finish until then counts.
    kill_driver(driver)
    driver.stdout.close()
    stages = [*folder.glob("pretrained/*"), *folder.glob("trials/*/regularize-*")]
    done = {p: p.stat().st_mtime_ns for p in stages if (p / "manifest.json").is_file()}
    done |= {p: p.stat().st_mtime_ns for p in folder.glob("trials/*/result.json")}
    before = {p.parent.name for p in folder.glob("trials/*/spec.json")}
    assert hs.open_sweep("killed", storage=storage).state == "interrupted"

    resumed = start_driver("resume", "killed", storage=storage)
    out, _ = resumed.communicate(timeout=400)
    assert resumed.returncode == 0, out
    sweep = hs.open_sweep("killed", storage=storage)
    trials = sweep.describe()["trials"]
    assert sweep.state == "finished"
    assert [t["number"] for t in trials] == list(range(4))
    assert {t["state"] for t in trials} == {"complete"}
    assert len({t["params"]["decay"] for t in trials}) == 4
    assert before <= {t["uid"] for t in trials}, "started trials went on under their uid"
    assert {p: p.stat().st_mtime_ns for p in done} == done, "no finished stage was run again"
    client = mlflow.MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name.startswith("hoyer/")]
    assert len(client.search_runs([experiment.experiment_id])) == 5, "each run is there once"


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_says_how_to_resume(slow_space, storage):
    driver = start_driver("run", str(slow_space), "--name", "stopped", storage=storage)
    wait_for(lambda: list((storage / "stopped").glob("trials/*/metrics.jsonl")), driver)
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=120)
    assert driver.returncode == 130, out
    assert f"hoyer-search resume stopped --storage {storage}" in out
    assert "Traceback" not in out
    assert hs.open_sweep("stopped", storage=storage).state == "interrupted"


def test_sigterm_lets_trials_save_where_they_stand(toy_space, tmp_path, storage):
    # No checkpoint is due before an hour.
    space = tmp_path / "long.yaml"
    text = toy_space.read_text().replace("regularize: {epochs: 4", "regularize: {epochs: 400")
    space.write_text(text.replace("checkpoint_minutes: 1.0e-9", "checkpoint_minutes: 60.0"))
    driver = start_driver("run", str(space), "--name", "ended", storage=storage)
    wait_for(lambda: list(storage.glob("ended/trials/*/metrics.jsonl")), driver, seconds=300)
    driver.terminate()
    out, _ = driver.communicate(timeout=120)
    assert driver.returncode == 130, out
    assert "hoyer-search resume ended" in out
    saved = {}
    for trial in (storage / "ended" / "trials").iterdir():
        lines = (trial / "metrics.jsonl").read_text().splitlines() if list(trial.glob("*l")) else []
        manifests = sorted(trial.glob("*.partial/epoch-*/manifest.json"))
        if lines:
            saved[trial.name] = [json.loads(m.read_text())["epoch"] for m in manifests[-1:]]
            assert saved[trial.name] == [json.loads(lines[-1])["epoch"]]
    assert saved
