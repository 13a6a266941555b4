"""A sweep's driver, started again when it dies."""

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hoyer_search import driving
from hoyer_search.driving import drive

# In place of a sweep: notes each start, ends a trial in the first, and ends as it is told.
DRIVER = """
import os, pathlib, signal, sys, time
sweep, *ends = sys.argv[1:]
sweep = pathlib.Path(sweep)
starts = sweep / "starts"
number = len(starts.read_text()) if starts.exists() else 0
starts.write_text("x" * (number + 1))
if ends[number] == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    time.sleep(60)
if ends[number].startswith("trial"):
    (sweep / "trials" / str(number)).mkdir(parents=True)
    (sweep / "trials" / str(number) / "result.json").touch()
    ends[number] = ends[number][5:]
if ends[number].startswith("over"):
    (sweep / "finished.json").touch()
    ends[number] = ends[number][4:]
if int(ends[number]) < 0:
    os.kill(os.getpid(), -int(ends[number]))
sys.exit(int(ends[number]))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Drives processes that end as given, and returns the exit code and the number of starts."""
    sweep = tmp_path / "runs" / "s"
    sweep.mkdir(parents=True)
    monkeypatch.setattr(driving, "LONGEST_PAUSE_SECONDS", 0.05)

    def run_with(*ends: object, begun: bool = True, retries: int = 2) -> tuple[int, int]:
        command = [sys.executable, "-S", "-c", DRIVER, str(sweep), *map(str, ends)]
        monkeypatch.setattr(driving, "_command", lambda *_: command)
        if begun:
            (sweep / "sweep.yaml").touch()
        code = drive("s", storage=sweep.parent, options=[], retries=retries)
        return code, len((sweep / "starts").read_text())

    return run_with


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((0,), (0, 1)),
        ((-9, 1, 0), (0, 3)),
        ((-9, -9, -9, 0), (-9, 3)),  # retries=2
        ((-9, -9, "trial-9", -9, 0), (0, 5)),  # a trial ended in between
        ((130, 0), (130, 1)),  # stopped
        ((2, 0), (0, 2)),  # a server may be down for a while
        ((1, "over1", 0), (1, 2)),  # the search has ended, every trial failed
    ],
)
def test_a_driver_that_dies_is_started_again(run, ends, expected, caplog):
    with caplog.at_level(logging.WARNING):
        assert run(*ends) == expected
    assert len(caplog.records) == expected[1] - 1


def test_refused_input_ends_a_sweep_that_has_not_begun(run):
    assert run(2, 0, begun=False) == (2, 1)


def test_sigterm_is_passed_on_and_nothing_starts_again(run, tmp_path):
    def terminate() -> None:
        while not (tmp_path / "runs" / "s" / "starts").exists():
            pass
        threading.Event().wait(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    assert run("wait", 0) == (130, 1)
    thread.join()


def test_sigterm_while_a_driver_is_started_ends_it(run, tmp_path, monkeypatch):
    start = subprocess.Popen

    def slow_start(command: list[str]) -> subprocess.Popen[bytes]:
        process = start(command)
        while not (tmp_path / "runs" / "s" / "starts").exists():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(subprocess, "Popen", slow_start)
    code, starts = run("wait", 0)
    assert starts == 1
    assert code in (130, -signal.SIGTERM)


def test_the_command_goes_on_with_what_has_begun(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    space = tmp_path / "space.yaml"
    space.write_text("name: s")

    def verb(storage: Path) -> str:
        return driving._command("s", storage, space)[3]

    assert verb(tmp_path) == "run"
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "sweep.yaml").touch()
    assert verb(tmp_path) == "resume"
    space.write_text("")
    assert verb(tmp_path / "elsewhere") == "resume"
