"""What processes there are, by /proc; nothing where there is none."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SESSION = "HOYER_SEARCH_TEST_SESSION"
"""Environment variable that every process started by a session of tests inherits."""

# They end with the process that tests run in, or, once their driver was killed, in a minute.
_HELPERS = (
    "multiprocessing.",
    "compile_worker",
    "Agent",
    "dashboard/agent.py",
    "runtime_env/agent/main.py",
)


def descendants(pid: int) -> Iterator[int]:
    """Yields the ids of all processes below one."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            child = int(stat.parent.name)
            yield child
            yield from descendants(child)


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if (state := read(pid, "stat")) and ") Z" not in state]


def read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def left_by(session: str) -> dict[int, str]:
    """Returns what still runs of a session by process id: its command and the test it is from."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        environment = dict(
            pair.split("=", 1) for pair in read(pid, "environ").split("\0") if "=" in pair
        )
        command = read(pid, "cmdline").replace("\0", " ").strip()
        if (
            environment.get(SESSION) == session
            and pid != os.getpid()
            and alive([pid])
            and not any(name in command for name in _HELPERS)
        ):
            test = environment.get("PYTEST_CURRENT_TEST", "a fixture of the session")
            found[pid] = f"{command} (started by {test})"
    return found


def kill_driver(driver: subprocess.Popen[Any]) -> None:
    """Kills the driver of a sweep as ``kill -9`` does, and waits until its Ray has ended too."""
    # Two idle agents of Ray's linger for a minute, to report the loss to no one.
    below = [pid for pid in descendants(driver.pid) if "Agent" not in read(pid, "cmdline")]
    driver.kill()
    driver.wait()
    wait_for_end(below)
    for logs in Path("/tmp").glob(f"hs-{driver.pid}-*"):  # which only a killed driver leaves
        shutil.rmtree(logs, ignore_errors=True)


def wait_for(
    condition: Callable[[], object], driver: subprocess.Popen[Any], *, seconds: float = 500.0
) -> None:
    """Waits until the driver of a sweep has come that far; one that never does is killed."""
    deadline = time.monotonic() + seconds
    while not condition():
        ended = driver.poll() is not None
        if ended and condition():
            return
        if ended or time.monotonic() > deadline:
            driver.kill()
            said = [pipe.read() for pipe in (driver.stdout, driver.stderr) if pipe is not None]
            what = "the driver ended early" if ended else f"nothing happened for {seconds:g} s"
            pytest.fail(f"{what}: {said}")
        time.sleep(0.05)


def wait_for_end(pids: list[int], *, seconds: float = 60.0) -> None:
    """Waits until processes have ended that were told to, or whose parent was."""
    deadline = time.monotonic() + seconds
    while left := alive(pids):
        assert time.monotonic() < deadline, [read(pid, "cmdline") for pid in left]
        time.sleep(0.05)
