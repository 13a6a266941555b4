"""A real Ray cluster for tests: processes of its own on one machine, with a token."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hoyer_search.search import monitoring

METRICS = {
    f"ray_{monitoring.TRIALS}",
    f"ray_{monitoring.EPOCHS}_total",
    f"ray_{monitoring.HYPERVOLUME}",
    f"ray_{monitoring.OUTBOX}",
}
"""Names of a sweep's metrics as Prometheus has them."""

ATTEMPTS = 3
"""Ray gives up starting a node after 30 s, too soon for a busy machine."""


class Head:
    """A Ray head with its dashboard on the loopback address, and nodes that join it."""

    def __init__(self, *, cpus: int, variables: dict[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hs-head-", dir="/tmp"))
        self.token = secrets.token_hex(32)
        self.environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_"))
        } | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_memory_monitor_refresh_ms": "0",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **variables,
        }
        self._nodes: list[subprocess.Popen[bytes]] = []
        try:
            self.start_node(head=True, cpus=cpus)
        except BaseException:
            self.close()
            raise

    def start_node(self, *, cpus: int, head: bool = False) -> "subprocess.Popen[bytes]":
        """Starts a node and waits for it."""
        for _ in range(ATTEMPTS):
            log = self.folder / f"node-{len(self._nodes)}.log"
            node = self._launch(self._options(head=head), cpus=cpus, log=log)
            while node.poll() is None:
                if "Ray runtime started" in log.read_text():
                    return node
                time.sleep(0.2)
        raise RuntimeError(f"the node did not start:\n{log.read_text()}")

    def processes(self, text: str) -> list[int]:
        """Returns the ids of this cluster's processes whose command line holds a text."""
        parents, commands = {}, {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                commands[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            parents[int(folder.name)] = int(stat[1])
        roots = {node.pid for node in self._nodes}

        def ours(pid: int | None) -> bool:
            return pid in roots or (pid in parents and ours(parents[pid]))

        return [pid for pid, command in commands.items() if text.encode() in command and ours(pid)]

    def close(self) -> None:
        """Ends all nodes."""
        for node in reversed(self._nodes):
            node.send_signal(signal.SIGTERM)
        for node in self._nodes:
            try:
                node.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(node.pid, signal.SIGKILL)
                node.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _options(self, *, head: bool) -> list[str]:
        if not head:
            return [f"--address=127.0.0.1:{self.port}"]
        self.port, dashboard, metrics = free_port(), free_port(), free_port()
        self.address = f"http://127.0.0.1:{dashboard}"
        self.metrics = f"http://127.0.0.1:{metrics}/metrics"
        return [
            "--head",
            f"--port={self.port}",
            f"--temp-dir={self.folder}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}",
            f"--metrics-export-port={metrics}",
            f"--ray-client-server-port={free_port()}",
        ]

    def _launch(self, options: list[str], *, cpus: int, log: Path) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options]
        command += [f"--num-cpus={cpus}", f"--dashboard-agent-listen-port={free_port()}"]
        command += ["--object-store-memory=100000000", "--disable-usage-stats"]
        with log.open("wb") as file:
            node = subprocess.Popen(
                command, env=self.environment, stdout=file, stderr=file, start_new_session=True
            )
        self._nodes.append(node)
        return node


@contextlib.contextmanager
def ray_head(*, cpus: int, **variables: str) -> Iterator[Head]:
    """Yields a cluster of one node."""
    head = Head(cpus=cpus, variables=variables)
    try:
        yield head
    finally:
        head.close()


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
