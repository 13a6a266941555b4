"""Real MLflow servers for tests, and a way to them that can be made bad."""

import contextlib
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hoyer_search.tracking import default_uri

HOST = "127.0.0.1"
USER, PASSWORD = "admin", "canary-of-the-password"

_AUTH = """\
[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/auth.db
admin_username = {user}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 600
"""


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        port: int = unused.getsockname()[1]
        return port


@dataclass
class Server:
    """An MLflow server: its own process group, its files in one folder."""

    folder: Path
    backend: str = ""
    artifacts: str = ""
    auth: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    @property
    def uri(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", HOST]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", self.backend or default_uri(self.folder)]
        command += ["--artifacts-destination", self.artifacts or str(self.folder / "stored")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment |= {"MLFLOW_DISABLE_TELEMETRY": "true"} | dict(self.environment)
        if self.auth:
            config = self.folder / "auth.ini"
            config.write_text(_AUTH.format(folder=self.folder, user=USER, password=PASSWORD))
            environment["MLFLOW_AUTH_CONFIG_PATH"] = str(config)
            environment["MLFLOW_FLASK_SERVER_SECRET_KEY"] = secrets.token_hex()
            command += ["--app-name", "basic-auth"]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 400
        while not self._answers():
            log_text = (self.folder / "server.log").read_text()[-3000:]
            assert self._process.poll() is None, log_text
            assert time.monotonic() < deadline, log_text
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return True
        except OSError:
            return False

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends every process of the server."""
        for each in (how, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, each)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
                return


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.end()


class Link:
    """A way to a server that can be bad in all the ways that a network and a server can.

    Attributes:
        mode: ``good``; ``delay``: each request arrives ``seconds`` late; ``hang``: no answer ever;
            ``reset``: the server does its work and its answer is lost; ``500``: answers that;
            ``cut``: an answer ends after ``most`` bytes.
        received: Bytes of answers passed on.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.mode, self.seconds, self.most = "good", 1.5, 100_000
        self.received = 0
        self._target = target
        self._sockets: list[socket.socket] = []
        self.mend()

    @property
    def uri(self) -> str:
        return f"http://{HOST}:{self.port}"

    def mend(self) -> None:
        """Lets connections in (again), and all of them through."""
        self.mode = "good"
        self._drop()
        listener = socket.create_server((HOST, self.port))
        self._sockets = [listener]
        threading.Thread(target=self._accept, args=[listener], daemon=True).start()

    def cut(self) -> None:
        """Ends all connections and takes no new ones."""
        self._drop()

    def _drop(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets = []

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                try:
                    far = socket.create_connection((HOST, self._target))
                except OSError:  # the server is gone: so is the connection
                    near.close()
                    continue
                self._sockets += [near, far]
                for pump in (self._ask, self._answer):
                    threading.Thread(target=pump, args=(near, far), daemon=True).start()

    def _ask(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                if self.mode == "hang":
                    continue
                if self.mode == "500":
                    near.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n")
                    near.sendall(b"Connection: close\r\n\r\noops")
                    near.shutdown(socket.SHUT_RDWR)
                    return
                if self.mode == "delay":
                    time.sleep(self.seconds)
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)

    def _answer(self, near: socket.socket, far: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                if self.mode == "reset":
                    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    near.close()
                    return
                if self.mode == "cut":
                    data = data[: max(self.most - passed, 0)]
                near.sendall(data)
                passed += len(data)
                self.received += len(data)
                if self.mode == "cut" and passed >= self.most:
                    near.shutdown(socket.SHUT_RDWR)
                    return
            near.shutdown(socket.SHUT_WR)
