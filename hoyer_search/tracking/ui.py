"""MLflow's own pages, served for a local database while somebody looks at them."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from hoyer_search.errors import ConnectionFailed
from hoyer_search.tracking.address import SQLITE
from hoyer_search.tracking.client import settings
from hoyer_search.tracking.links import UI_PORT

START_SECONDS = 60.0
HOST = "127.0.0.1"


def serve_ui(uri: str, *, port: int = UI_PORT) -> None:
    """Serves MLflow's pages on this machine's loopback until they are stopped, e.g. by Ctrl-C.

    Args and errors are those of ``start_ui``.
    """
    process = start_ui(uri, port=port)
    try:
        process.wait()
    finally:
        process.terminate()
        process.wait()


def start_ui(uri: str, *, port: int = UI_PORT) -> subprocess.Popen[bytes]:
    """Starts MLflow's pages on this machine's loopback and returns the process once they answer.

    The caller ends the process by ``terminate()``.

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
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    if uri.startswith(SQLITE):  # else what is logged through the pages lands in the working folder
        command += ["--artifacts-destination", str(database.absolute().parent / "mlartifacts")]
    # Without its job queue the server is two processes instead of ten.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _wait(process, port)
    return process


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    process.terminate()
    raise ConnectionFailed(
        f"MLflow's pages did not start on port {port}: see what "
        f"`{sys.executable} -m mlflow server --port {port}` says"
    )
