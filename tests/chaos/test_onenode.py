"""What can befall a sweep on one machine, done to real processes through the command line.

Figures are printed: `make chaos`, or `pytest -m chaos -s tests/chaos/test_onenode.py`.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import faulty
import mlflow
import optuna
import pytest
from machines import Machine, machines
from processes import wait_for

import hoyer_search as hs
from hoyer_search import files
from hoyer_search.results import TrialResult
from hoyer_search.search.journal import open_journal
from hoyer_search.store import SweepFolder

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1500)]

HERE = Path(__file__).parent
PATH = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])

MEMORY = 7 << 30
"""Bytes that a machine has on which Ray runs low on memory."""
MEMORY_MONITOR = {"RAY_memory_usage_threshold": "0.85", "RAY_memory_monitor_refresh_ms": "100"}


class Sweep:
    """A sweep of trials with faults, and its storage."""

    def __init__(
        self, root: Path, storage: Path, trials: Sequence[int], *, machine: Machine | None = None
    ) -> None:
        self.faults = root / "faults"
        self.faults.mkdir()
        self.space = root / "faulty.yaml"
        presets = [
            {"decay": 0.001 * (number + 1), "pipeline.regularize.batch_size": size}
            for number, size in enumerate(trials)
        ]
        self.space.write_text(f"{faulty.SPACE}presets: {json.dumps(presets)}\n")
        self.storage, self.trials = storage, trials
        self._machine = machine
        self.folder = SweepFolder(storage / "sweep")

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Starts the sweep, or goes on with it: ``resume``."""
        words = arguments or ("run", str(self.space), "--name", "sweep")
        command = [sys.executable, "-m", "hoyer_search", *words, "--storage", str(self.storage)]
        environment = os.environ | {"PYTHONPATH": PATH, faulty.FOLDER: str(self.faults)}
        if self._machine is not None:
            command = self._machine.command(*command)
            environment |= {"HOME": str(self._machine.home), **MEMORY_MONITOR}
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        driver = self.start(*arguments)
        out, _ = driver.communicate(timeout=1200)
        return driver.returncode, out

    def results(self) -> dict[int, TrialResult]:
        """Returns how the trials ended, by batch size."""
        key = "pipeline.regularize.batch_size"
        return {int(result.params[key]): result for result in self.folder.results()}

    def failures(self, size: int) -> list[str]:
        """Returns the errors of a trial's failed attempts."""
        path = self.folder.trial(self.results()[size].uid) / "failures.jsonl"
        return [line["error"] for line in files.read_lines(path)]

    def epochs_begun(self, size: int) -> int:
        return sum(one.event == "epoch" for one in faulty.notes(self.faults, size))

    def seconds_to_recover(self, size: int) -> float:
        return faulty.seconds_to_recover(self.faults, size)

    def check_accounts(self) -> None:
        """Checks that each trial is there once, has ended, and that all its numbers are finite."""
        numbers = list(range(len(self.trials)))
        specs = self.folder.specs()
        assert [spec.number for spec in specs] == numbers
        assert len({json.dumps(spec.params) for spec in specs}) == len(numbers)
        assert [result.number for result in self.folder.results()] == numbers
        study = optuna.load_study(
            study_name="sweep", storage=open_journal(self.folder.study_journal)
        )
        assert [trial.number for trial in study.trials] == numbers
        for trial in study.trials:
            assert trial.state == optuna.trial.TrialState.COMPLETE, "nobody runs it any more"
            assert all(map(math.isfinite, [*trial.values, *trial.constraints.values()]))
        for spec in specs:
            steps = [(m["stage"], m["point"], m["epoch"]) for m in self.folder.metrics(spec.uid)]
            assert len(steps) == len(set(steps)), "a step is in the journal twice"
        assert unfinished(self.storage) == []
        assert hs.open_sweep("sweep", storage=self.storage).state == "finished"


def unfinished(storage: Path) -> list[Path]:
    """Returns what was written in part only: temporary files, JSON that is none, torn lines."""
    found = [path for path in storage.rglob(".*") if path.name != ".trash"]
    for path in storage.rglob("*.json"):
        try:
            json.loads(path.read_text())
        except ValueError:
            found.append(path)
    for path in [*storage.rglob("*.jsonl"), *storage.rglob("*.journal")]:
        text = path.read_text()
        if text and not text.endswith("\n"):
            found.append(path)
    return found


def logged(storage: Path) -> Iterator[float]:
    """Yields every value that MLflow has of a sweep."""
    client = mlflow.MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            for name in run.data.metrics:
                for metric in client.get_metric_history(run.info.run_id, name):
                    yield metric.value


def test_trials_that_raise_diverge_die_or_hang(tmp_path: Path) -> None:
    faults = [faulty.HANGS, faulty.ALWAYS, faulty.ONCE, faulty.NAN, faulty.INFINITE, faulty.KILLED]
    sweep = Sweep(tmp_path, tmp_path / "runs", [*faults, faulty.HEALTHY])
    run = ("run", str(sweep.space), "--name", "sweep")
    limits = ("--set", "resources.hang_minutes=1.5", "--set", "budget.trials=7")
    code, out = sweep.run(*run, *limits)
    assert code == 0, out

    ended = sweep.results()
    states = {size: ended[size].state for size in sorted(ended)}
    failed = {faulty.ALWAYS, faulty.NAN, faulty.INFINITE}
    assert states == {size: "failed" if size in failed else "complete" for size in sorted(ended)}
    sweep.check_accounts()

    failures = sweep.failures(faulty.ALWAYS)
    assert len(failures) == 3
    assert all("this trial always fails" in error for error in failures)
    assert f"trial {ended[faulty.ALWAYS].number} failed: " in out
    assert "this trial always fails" in out
    assert "the loss became nan in epoch 1 of 4" in ended[faulty.NAN].error
    assert "the loss became inf in epoch 1 of 4" in ended[faulty.INFINITE].error
    for size in (faulty.NAN, faulty.INFINITE):
        assert len(sweep.failures(size)) == 1, "the same again would diverge again"
    assert len(sweep.failures(faulty.ONCE)) == 1
    (hung,) = sweep.failures(faulty.HANGS)
    assert "no step for 9" in hung
    assert "resources.hang_minutes" in hung

    front = hs.open_sweep("sweep", storage=sweep.storage).front().to_pydict()
    assert front["val_accuracy"]
    assert all(map(math.isfinite, front["val_accuracy"] + front["nonzeros"]))
    values = list(logged(sweep.storage))
    assert len(values) > 50
    assert all(math.isfinite(v) and abs(v) < 1e300 for v in values)

    for size in (faulty.ONCE, faulty.KILLED, faulty.HANGS):
        # Two of four epochs were saved; the third was cut off, and is all that is begun again.
        assert sweep.epochs_begun(size) == 5
    for name, size in (("raised", faulty.ONCE), ("kill -9", faulty.KILLED)):
        print(f"{name}: goes on after {sweep.seconds_to_recover(size):.1f} s, 1 epoch repeated")
    print(
        f"hang: goes on {sweep.seconds_to_recover(faulty.HANGS) - 90:.1f} s after the limit of 90"
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def fill(disk: Path) -> Path:
    """Takes all that is left of a file system, which is small; returns what takes it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            for _ in range(1 << 16):
                try:
                    file.write(b"x" * size)
                except OSError:
                    break
    return filler


def test_a_full_disk_that_is_freed_and_a_second_driver(tmp_path: Path, small_disk: Path) -> None:
    sizes = [faulty.HEALTHY, faulty.ONCE, faulty.KILLED]
    sweep = Sweep(tmp_path, small_disk, sizes)
    for size in sizes:
        (sweep.faults / f"done-{size}").touch()  # nothing befalls these trials by themselves
    trials = sweep.folder.path / "trials"

    def num_ended() -> int:
        return len(list(trials.glob("*/result.json")))

    changes = {"budget.trials": 3, "resources.workers": 1, "pipeline.regularize.epochs": 300}
    settings = [f"--set={path}={value}" for path, value in changes.items()]
    driver = sweep.start("run", str(sweep.space), "--name", "sweep", *settings)
    wait_for(lambda: list(trials.glob("*/metrics.jsonl")), driver)

    # Somebody else goes on with what still runs.
    code, out = sweep.run("resume", "sweep")
    assert code == 2, out
    assert f"is being run by process {driver.pid} on " in out
    print(f"second driver: {out.strip()}")

    wait_for(lambda: num_ended() >= 1 and list(trials.glob("*/*.partial/epoch-*")), driver)
    filler, start = fill(small_disk), time.monotonic()
    out, _ = driver.communicate(timeout=300)
    print(f"full disk: the driver ended after {time.monotonic() - start:.1f} s")
    assert driver.returncode == 1, out
    assert f"no space is left for {sweep.folder.path}" in " ".join(out.split())
    assert f"hoyer-search resume sweep --storage {small_disk}" in " ".join(out.split())
    assert "Traceback" not in out
    assert unfinished(small_disk) == []
    assert not list(trials.glob("*/failures.jsonl")), "no trial is to blame"
    assert num_ended() < len(sizes)
    stages = [*sweep.folder.path.glob("pretrained/*"), *trials.glob("*/regularize-*")]
    done = [path for path in stages if (path / "manifest.json").is_file()]
    before = {p: p.stat().st_mtime_ns for p in (*done, *trials.glob("*/result.json"))}

    filler.unlink()
    code, out = sweep.run("resume", "sweep")
    assert code == 0, out
    sweep.check_accounts()
    assert {result.state for result in sweep.folder.results()} == {"complete"}
    assert {path: path.stat().st_mtime_ns for path in before} == before, "a stage was run again"
    repeated = {size: sweep.epochs_begun(size) - 300 for size in sizes[1:]}
    print(f"full disk: epochs repeated {repeated}")
    assert max(repeated.values()) <= 1


def test_ray_kills_for_memory(tmp_path: Path) -> None:
    with machines("small", memory=MEMORY) as network:
        trials = [faulty.HUNGRY, faulty.HEALTHY, faulty.GREEDY]
        sweep = Sweep(tmp_path, tmp_path / "runs", trials, machine=network["small"])
        run = ("run", str(sweep.space), "--name", "sweep")
        code, out = sweep.run(*run, "--set", "budget.trials=3")
    assert code == 0, out
    ended = sweep.results()
    assert ended[faulty.HUNGRY].state == ended[faulty.HEALTHY].state == "complete"
    assert ended[faulty.GREEDY].state == "failed"
    assert "Ray killed its process, which used" in ended[faulty.GREEDY].error
    sweep.check_accounts()
    # Ray kills several processes at once if it must: only the one that used most lost an attempt.
    assert len(sweep.failures(faulty.HUNGRY)) <= 1
    assert len(sweep.failures(faulty.GREEDY)) == 3
    assert sweep.failures(faulty.HEALTHY) == []
    kills = len(sweep.failures(faulty.HUNGRY)) + 3
    assert sweep.epochs_begun(faulty.HUNGRY) <= 4 + kills, "a kill costs the epoch under way"
    print(f"memory: {kills} kills; goes on after {sweep.seconds_to_recover(faulty.HUNGRY):.1f} s")
