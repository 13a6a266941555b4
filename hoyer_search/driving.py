"""A sweep's driver on a cluster: started as a process, and started again when that dies.

Ray runs the command of a job once; whoever submitted it may be gone when it dies. So the command is
this loop, which holds nothing: the sweep's folder says where to go on.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

log = logging.getLogger(__name__)

SPACE_VARIABLE = "HOYER_SEARCH_SPACE"
"""Environment variable with the YAML of the space that a new sweep is started from."""

LONGEST_PAUSE_SECONDS = 60.0

_DONE, _FAILED, _REFUSED, _STOPPED = 0, 1, 2, 130


def drive(name: str, *, storage: Path, options: Sequence[str], retries: int) -> int:
    """Runs a sweep to its end and returns the exit code of its last driver.

    Args:
        name: The sweep's name; one that exists is resumed.
        storage: Folder that holds it.
        options: Further arguments of ``hoyer-search run`` and ``resume``.
        retries: How often a driver that dies is started again without a trial's end in between.
    """
    supervisor, parent = _Supervisor(), os.getppid()
    deaths, known = 0, 0
    with supervisor.listening(), tempfile.TemporaryDirectory() as temporary:
        space = Path(temporary) / "space.yaml"
        space.write_text(os.environ.get(SPACE_VARIABLE, ""), encoding="utf-8")
        while True:
            code = supervisor.run([*_command(name, storage, space), *options])
            if code in (_DONE, _STOPPED) or supervisor.stopped:
                return code
            if code == _REFUSED and not _begun(storage, name):
                return code  # what was given is wrong; later it may be a server that is down
            if code == _FAILED and _over(storage, name):
                return code  # every trial failed: again would find the same
            if os.getppid() != parent:
                return code  # the job's node has left the cluster: another job goes on
            ended = _num_ended(storage, name)
            deaths, known = (1 if ended > known else deaths + 1), ended
            if deaths > retries:
                return code
            pause = min(2.0**deaths, LONGEST_PAUSE_SECONDS)
            log.warning(
                "the driver ended with %d; started again in %g s (%d of %d)",
                *(code, pause, deaths, retries),
            )
            if supervisor.wait(pause):
                return code


class _Supervisor:
    """Runs one process at a time, and passes SIGTERM on to it."""

    def __init__(self) -> None:
        self._stop_asked = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def stopped(self) -> bool:
        return self._stop_asked.is_set()

    def wait(self, seconds: float) -> bool:
        return self._stop_asked.wait(seconds)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        before = signal.signal(signal.SIGTERM, self._stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def run(self, command: Sequence[str]) -> int:
        self._process = subprocess.Popen(command)
        if self.stopped:  # asked while it was started
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_asked.set()
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)


def _command(name: str, storage: Path, space: Path) -> list[str]:
    """Returns the command that starts the sweep, or goes on with it."""
    start = [sys.executable, "-m", "hoyer_search"]
    if _begun(storage, name) or not space.stat().st_size:
        start += ["resume", name]
    else:
        start += ["run", str(space), "--name", name]
    return [*start, "--storage", str(storage), "--address", os.environ["RAY_ADDRESS"]]


def _begun(storage: Path, name: str) -> bool:
    return (storage / name / "sweep.yaml").is_file()


def _over(storage: Path, name: str) -> bool:
    return (storage / name / "finished.json").is_file()


def _num_ended(storage: Path, name: str) -> int:
    return sum(1 for _ in (storage / name / "trials").glob("*/result.json"))
