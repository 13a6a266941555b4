"""MLflow's own pages, served for a local database while somebody looks at them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hoyer_search.errors import ConnectionFailed, HoyerSearchError
from hoyer_search.tracking.address import SQLITE
from hoyer_search.tracking.edge import settings
from hoyer_search.tracking.links import UI_PORT

START_SECONDS = 60.0
STOP_SECONDS = 10.0
HOST = "127.0.0.1"


def serve_ui(uri: str, *, port: int = UI_PORT, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serves MLflow's pages on this machine's loopback until they are stopped, e.g. by Ctrl-C.

    SIGTERM and the end of the terminal stop them as well; no process is left then. For the main
    thread, which alone may handle signals. Errors are those of ``start_ui``.

    Args:
        uri: Tracking URI of the database to show.
        port: Port to listen on.
        on_ready: Called once they answer.

    Raises:
        HoyerSearchError: They ended by themselves.
        KeyboardInterrupt: Ctrl-C.
        SystemExit: Another signal, with 128 and its number as the exit code.
    """
    with _signals_end_the_block():
        process = start_ui(uri, port=port)
        try:
            on_ready()
            code = process.wait()
        finally:
            stop_ui(process)
    if code:
        raise HoyerSearchError(f"MLflow's pages ended by themselves, with exit code {code}")


def start_ui(uri: str, *, port: int = UI_PORT) -> subprocess.Popen[bytes]:
    """Starts MLflow's pages on this machine's loopback and returns the process once they answer.

    The caller ends it by ``stop_ui``.

    Args:
        uri: Tracking URI of the database to show.
        port: Port to listen on.

    Raises:
        ConnectionFailed: The port is taken, the database does not exist, or it does not start.
    """
    database = Path(uri.removeprefix(SQLITE))
    if uri.startswith(SQLITE) and not database.is_file():
        raise ConnectionFailed(
            f"there is no {database} yet: run a sweep, or give its folder with --storage"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConnectionFailed(
                f"port {port} is taken: stop what listens there, or give another with --port"
            ) from error
    settings()
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    if uri.startswith(SQLITE):  # else what is logged through the pages lands in the working folder
        command += ["--artifacts-destination", str(database.absolute().parent / "mlartifacts")]
    environment = os.environ | {
        # May hold a password, and everybody on the machine sees command lines.
        "MLFLOW_BACKEND_STORE_URI": uri,
        # Without its job queue the server is two processes instead of ten.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a group of its own, which ends as one
    )
    try:
        _wait(process, port)
    except BaseException:
        stop_ui(process)
        raise
    return process


def stop_ui(process: subprocess.Popen[bytes]) -> None:
    """Ends what ``start_ui`` started, with every process under it; 10 s later by force."""
    _signal_group(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of it has ended
        os.killpg(process.pid, number)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise ConnectionFailed(
        f"MLflow's pages did not start on port {port}: see what "
        f"`{sys.executable} -m mlflow server --port {port}` says"
    )


@contextlib.contextmanager
def _signals_end_the_block() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end a block as Ctrl-C does, through its ``finally``."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as nohup asks for
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
