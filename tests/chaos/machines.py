"""Several machines on one: each with its own network, mounts, host name and processes.

A machine is a set of Linux namespaces, kept by a process that is number 1 there. Killing that one
is a power cut: nothing of the machine says goodbye. All machines hang on a switch, and so does this
process. Everything ends with this process, however it ends: number 1 of each machine reads a pipe.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ATTEMPTS = 3
"""Ray gives up starting a node after 30 s, too soon for a busy machine."""

HEALTH = dict(
    re.findall(r"(RAY_health_check_\w+)=(\d+)", (ROOT / "cluster" / "Dockerfile").read_text())
)
"""How soon a node that says nothing counts as lost."""

_PROGRAMS = ("ip", "unshare", "nsenter", "taskset")
_ALL = ("--net", "--mount", "--uts", "--pid")

_MEMORY = Path("/sys/fs/cgroup/memory")
"""Where Ray looks for the memory that its machine has, and what of it is used."""


def why_not() -> str | None:
    """Returns why there can be no machines here, None when there can."""
    if not sys.platform.startswith("linux"):
        return "machines of their own are Linux namespaces"
    if os.geteuid() != 0:
        return "machines of their own need root"
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        return f"no {', '.join(missing)} here (Debian: iproute2, util-linux)"
    tried = subprocess.run(
        ["unshare", *_ALL, "--fork", "ip", "link", "add", "x", "type", "bridge"],
        capture_output=True, text=True,
    )  # fmt: skip
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else None


def why_no_limit() -> str | None:
    """Returns why no machine can have little memory here, None when one can."""
    if not (_MEMORY / "memory.limit_in_bytes").is_file():
        return (
            "a machine's memory is limited by a control group of version 1, of which there are none"
        )
    return None


class Machine:
    """One machine, switched on by ``start``; it may be cut off, and started again.

    Attributes:
        name: Its host name, which the others know too.
        address: Its IP address.
        folder: A folder of its own, with its home.
    """

    def __init__(
        self, network: "Machines", name: str, address: str, *, cores: str, memory: int | None
    ) -> None:
        self.name, self.address = name, address
        self._group = None if memory is None else _memory_group(network.link, name, memory)
        self.folder = network.folder / name
        self.home = self.folder / "home"
        self.home.mkdir(parents=True)
        self._network, self._cores = network, cores
        self._port = f"port-{name}"
        self.ray: subprocess.Popen[bytes] | None = None
        self._launched: list[subprocess.Popen[Any]] = []

    def start(self) -> None:
        """Switches the machine on."""
        # No name server can be reached from there: who asks one would wait for it.
        set_up = (
            f"hostname {self.name}; mount --bind {self._network.hosts} /etc/hosts; "
            "mount --bind /dev/null /etc/resolv.conf; ip link set lo up; "
        )
        if self._group is not None:
            set_up += f"mount --bind {self._group} {_MEMORY}; "
        set_up += "echo on; read"
        self._power = _hold([*_ALL, "--mount-proc"], set_up, log=self.folder / "power.log")
        self._root = _first_child(self._power.pid)
        switch = self._network.switch
        switch("ip", "link", "add", self._port, "type", "veth",
               "peer", "name", "eth0", "netns", str(self._root))  # fmt: skip
        switch("ip", "link", "set", self._port, "master", "switch", "up")
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "route", "add", "default", "via", self._network.gateway)

    def launch(self, *command: str, **options: Any) -> "subprocess.Popen[Any]":
        """Starts a program on the machine."""
        options.setdefault("env", self.environment)
        program = subprocess.Popen(self.command(*command), **options)
        self._launched.append(program)
        return program

    def run(self, *command: str, check: bool = True) -> str:
        """Runs a program on the machine and returns what it said."""
        done = subprocess.run(
            self.command(*command),
            env=self.environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout + done.stderr

    @property
    def environment(self) -> dict[str, str]:
        """Returns the environment of the machine's programs."""
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_"))}
        return ours | {
            "HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
            "RAY_TMPDIR": str(self.folder),
            "RAY_memory_monitor_refresh_ms": "0",
            **self._network.variables,
        }

    def power_cut(self) -> None:
        """Ends everything on the machine at once; its link is gone too."""
        os.kill(self._root, signal.SIGKILL)
        self._power.communicate()
        while self._launched:
            self._launched.pop().wait()
        # The kernel may take its time, and the machine may be started again before.
        self._network.switch("ip", "link", "delete", self._port, check=False)

    def cut_link(self) -> None:
        """Lets nothing through to or from the machine, which lives on."""
        self._network.switch("ip", "link", "set", self._port, "down")

    def heal_link(self) -> None:
        """Undoes ``cut_link``."""
        self._network.switch("ip", "link", "set", self._port, "up")

    def processes(self, text: str) -> list[int]:
        """Returns the ids, as seen from here, of the machine's processes whose command has a text.

        Ray's agents, which have all settings in their command, do not count.
        """
        ours = os.readlink(f"/proc/{self._root}/ns/pid")
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if text in command and os.readlink(entry / "ns/pid") == ours:
                    found.append(int(entry.name))
        return [pid for pid in found if not _is_shell(pid)]

    def start_ray(self, *options: str, cpus: int) -> None:
        """Starts a Ray node and waits for it."""
        command = ["ray", "start", "--block", *options, f"--num-cpus={cpus}"]
        command += ["--object-store-memory=500000000", "--disable-usage-stats"]
        for _ in range(ATTEMPTS):
            log = self.folder / "ray-start.log"
            with log.open("wb") as file:
                self.ray = self.launch(*command, stdout=file, stderr=file)
            while self.ray.poll() is None:
                if "Ray runtime started" in log.read_text():
                    return
                time.sleep(0.2)
        raise RuntimeError(f"{self.name}: the Ray node did not start:\n{log.read_text()}")

    def stop_ray(self) -> None:
        """Ends the machine's Ray node, as ``ray stop`` does."""
        assert self.ray is not None
        for pid in self.processes("ray start --block"):
            os.kill(pid, signal.SIGTERM)
        self.ray.wait(60)

    def close(self) -> None:
        """Switches the machine off."""
        if self._power.poll() is None:
            self.power_cut()
        if self._group is not None:
            wait_until(self._has_no_process, seconds=30)
            self._group.rmdir()

    def command(self, *words: str) -> list[str]:
        """Returns the command that runs another on the machine."""
        enter = ["nsenter", "--target", str(self._root), *_ALL]
        if self._group is not None:
            join = 'echo $$ > "$0/cgroup.procs"; exec "$@"'
            enter = ["sh", "-ec", join, str(self._group), *enter]
        return [*enter, "taskset", "--cpu-list", self._cores, *words]

    def _has_no_process(self) -> bool:
        assert self._group is not None
        return not (self._group / "cgroup.procs").read_text()


class Machines:
    """A network of machines, with one token for all their Ray nodes.

    Attributes:
        folder: What all of them share.
        gateway: The address of this process among them.
        token: Ray's.
        link: This process's own network interface to them.
    """

    def __init__(self, *names: str, pinned: bool = False, memory: int | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hs-m-", dir="/tmp"))
        self.shared = self.folder / "shared"
        self.shared.mkdir()
        self.token = secrets.token_hex(32)
        self.variables: dict[str, str] = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "OMP_NUM_THREADS": "1",
            **HEALTH,
        }
        self.link = f"hs{os.getpid()}"
        subnet = f"10.213.{os.getpid() % 256}"
        self.gateway = f"{subnet}.254"
        cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
        if not pinned:
            cores = [",".join(cores)]
        self._machines = {
            name: Machine(
                self, name, f"{subnet}.{i + 1}", cores=cores[i % len(cores)], memory=memory
            )
            for i, name in enumerate(names)
        }
        self.hosts = self.folder / "hosts"
        lines = [f"{m.address} {m.name}\n" for m in self._machines.values()]
        self.hosts.write_text("127.0.0.1 localhost\n" + "".join(lines))
        self._power = _hold(
            ["--net", "--pid"], "ip link set lo up; echo on; read", log=self.folder / "power.log"
        )
        try:
            self._connect()
            for machine in self._machines.values():
                machine.start()
        except BaseException:
            self.close()
            raise

    def __getitem__(self, name: str) -> Machine:
        return self._machines[name]

    def switch(self, *command: str, check: bool = True) -> None:
        """Runs a program on the switch."""
        root = str(_first_child(self._power.pid))
        subprocess.run(
            ["nsenter", "--target", root, "--net", *command], check=check, capture_output=not check
        )

    def close(self) -> None:
        """Switches everything off."""
        for machine in self._machines.values():
            with contextlib.suppress(AttributeError):  # it was never on
                machine.close()
        self._power.communicate()
        subprocess.run(["ip", "link", "delete", self.link], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _connect(self) -> None:
        """Makes the switch, and this process's own link to it."""
        self.switch("ip", "link", "add", "switch", "type", "bridge")
        self.switch("ip", "link", "set", "switch", "up")
        switch = str(_first_child(self._power.pid))
        for command in (
            f"ip link add {self.link} type veth peer name port-client netns {switch}",
            f"ip address add {self.gateway}/24 dev {self.link}",
            f"ip link set {self.link} up",
        ):
            subprocess.run(command.split(), check=True)
        self.switch("ip", "link", "set", "port-client", "master", "switch", "up")


@contextlib.contextmanager
def machines(*names: str, pinned: bool = False, memory: int | None = None) -> Iterator[Machines]:
    """Yields machines that are on; skips the test where there can be none.

    Args:
        names: Their host names.
        pinned: Whether each has one core, in turn, or they share all.
        memory: Bytes that each has; who asks for more is killed by the kernel. None for all.
    """
    reason = why_not() or (why_no_limit() if memory is not None else None)
    if reason is not None:
        pytest.skip(reason)
    network = Machines(*names, pinned=pinned, memory=memory)
    try:
        yield network
    finally:
        network.close()


def wait_until(
    condition: Callable[[], Any], *, seconds: float = 120, say: Callable[[], object] = lambda: ""
) -> Any:
    """Waits until a condition has a true value, and returns it."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain; {say()}"
        time.sleep(0.05)
    return value


def _memory_group(link: str, name: str, limit: int) -> Path:
    """Makes a control group with a limit of memory, under this process's own."""
    groups = Path("/proc/self/cgroup").read_text().splitlines()
    own = next(line.split(":", 2)[2] for line in groups if line.split(":")[1] == "memory")
    group = _MEMORY / own.lstrip("/") / f"{link}-{name}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(limit))
    return group


def _hold(namespaces: Sequence[str], set_up: str, *, log: Path) -> "subprocess.Popen[str]":
    """Starts number 1 of new namespaces, which lives as long as this process wants it to."""
    with log.open("wb") as file:
        holder = subprocess.Popen(
            ["unshare", *namespaces, "--fork", "--kill-child=KILL", "bash", "-ec", set_up],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True,
        )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "on\n", log.read_text()
    return holder


def _first_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _is_shell(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() in ("sh", "bash", "nsenter")
