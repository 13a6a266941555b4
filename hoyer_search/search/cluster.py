"""The Ray cluster a sweep runs on: one of its own on this machine, or one that exists."""

import contextlib
import logging
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import ray
from ray import _raylet

from hoyer_search.config import Resources
from hoyer_search.errors import ConfigError, ConnectionFailed
from hoyer_search.garbage import no_collection

log = logging.getLogger(__name__)

CONNECT_SECONDS = 3.0
START_ATTEMPTS = 3
COUNT_SECONDS = 2.0
"""How old the count of nodes may be."""

# Tune prints no tables (verbose=0 alone leaves some), writes no log files a trial, checks no metric
# (no searcher of ours names one), leaves Ctrl-C alone (it would save its own state and return as if
# all was well), and keeps no copies of its state. Trials run in the driver's working folder, from
# which plugins are imported.
_TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def check_cluster(resources: Resources, *, address: str | None) -> None:
    """Checks, before anything is created, that a sweep can run where it is meant to.

    Args:
        resources: What one trial gets.
        address: ``HOST:PORT`` of a Ray cluster, None for this machine.

    Raises:
        ConnectionFailed: The address is not of that form, or nothing answers there within 3 s.
        ConfigError: A trial wants more cores or GPUs than this machine has.
    """
    if address is None:
        if resources.cpus > num_cores():
            raise ConfigError(
                f"a trial must fit the machine: resources.cpus is {resources.cpus:g} and there "
                f"are {num_cores()} cores; lower it, or give a cluster with --address"
            )
        if resources.gpus > num_gpus():
            raise ConfigError(
                f"a trial must fit the machine: resources.gpus is {resources.gpus:g} and there "
                f"are {num_gpus()} GPUs that torch can use; lower it, or give a cluster with "
                "--address"
            )
        if resources.custom:
            raise ConfigError(
                f"resources.custom asks for {', '.join(resources.custom)}, which only nodes of a "
                "cluster offer: give one with --address, or leave it out"
            )
        return
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or "/" in host:
        raise ConnectionFailed(
            f"--address takes HOST:PORT of a Ray cluster, e.g. head:6379; got {address!r}. "
            "Submit to a dashboard, http://HOST:PORT, by `hoyer-search submit`"
        )
    remedy = "Start one by `ray start --head`, or leave out --address to run on this machine"
    check_reachable(host.strip("[]"), int(port), address, remedy=remedy)


def check_reachable(host: str, port: int, address: str, *, remedy: str) -> None:
    """Checks that something listens where a cluster should.

    Raises:
        ConnectionFailed: Nothing answers within 3 s; ``address`` and ``remedy`` are named.
    """
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionFailed(f"no Ray cluster answers at {address}: {error}. {remedy}") from error


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[Path]:
    """Connects this process to a Ray cluster while the block runs; yields a temporary folder.

    Without an address Ray is started on this machine with all its cores, its files in the
    temporary folder and a token of its own: others on the machine or network cannot use it. It
    ends with the block. Should the process be killed, all that works ends with it; two idle
    agents of Ray's take a minute more, and the temporary folder stays. The variables set for Ray
    are as before afterwards.

    Raises:
        ConnectionFailed: The cluster refuses the connection, or Ray did not start here.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f"hs-{os.getpid()}-", dir="/tmp"))
    variables = dict(_TUNE)
    if address is None:
        variables |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Ray would wait for a worker a core, none of which Tune's actors can use.
            "RAY_prestart_worker_first_driver": "0",
            # After 25 s without an answer Ray would take its only node for dead, and with it the
            # sweep. It may have been asleep, or busy.
            "RAY_health_check_failure_threshold": "1000000",
        }
    try:
        with environment(variables):
            read_authentication()
            try:
                _start(temporary) if address is None else _connect(address)
                yield temporary
            finally:
                _shut_down()
    finally:
        read_authentication()
        shutil.rmtree(temporary, ignore_errors=True)


class Slots:
    """How many trials run at once: as many as were asked for, or as the nodes have room for now.

    On a cluster whose nodes come and go, one trial more than there is room for waits, up to
    ``resources.workers``: an autoscaler adds a node for it.
    """

    def __init__(self, resources: Resources, *, elastic: bool) -> None:
        """Counts for the first time; this process is connected to Ray.

        Args:
            resources: What one trial gets, and the most trials at once.
            elastic: Whether nodes may still join.

        Raises:
            ConfigError: No node has room for a trial, and none is to be waited for.
        """
        self._resources, self._elastic = resources, elastic
        self._count()
        if self() == 0:
            raise ConfigError(_no_room(resources))

    def __call__(self) -> int:
        """Returns how many trials run at once, counted within the last few seconds."""
        room, workers = self.room(), self._resources.workers
        return room if workers is None else min(workers, room + self._elastic)

    def room(self) -> int:
        """Returns how many trials the nodes have room for, counted likewise."""
        if time.monotonic() - self._counted > COUNT_SECONDS:
            self._count()
        return self._room

    def _count(self) -> None:
        self._room = sum(room(node, self._resources) for node in _nodes())
        self._counted = time.monotonic()


def num_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def num_gpus() -> int:
    """Returns how many CUDA devices this process may use."""
    import torch

    return torch.cuda.device_count()


def _nodes() -> list[dict[str, float]]:
    """Returns the resources of each node that lives."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]


def room(node: Mapping[str, float], resources: Resources) -> int:
    """Returns how many trials a node has room for."""
    wanted = {"CPU": resources.cpus, "GPU": resources.gpus, **resources.custom}
    room = min(node.get(kind, 0.0) / amount for kind, amount in wanted.items() if amount)
    return int(room + 1e-9)


def _no_room(resources: Resources) -> str:
    nodes = _nodes()
    wanted = {"CPUs": ("CPU", resources.cpus), "GPUs": ("GPU", resources.gpus)}
    wanted |= {name: (name, amount) for name, amount in resources.custom.items()}
    asked = ", ".join(f"{amount:g} {name}" for name, (_, amount) in wanted.items())
    most = ", ".join(
        f"{max((node.get(kind, 0) for node in nodes), default=0):g} {name}"
        for name, (kind, _) in wanted.items()
    )
    return (
        f"a trial must fit a node: resources asks for {asked}; the most a node has are {most}. "
        "Lower it, or set resources.workers to wait until larger nodes join"
    )


def _start(folder: Path) -> None:
    """Starts Ray; it gives up after 15 s to 30 s by itself, too soon for a busy machine."""
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            ray.init(
                num_cpus=num_cores(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                _temp_dir=str(folder),
                _node_ip_address="127.0.0.1",
            )
            return
        except Exception as error:  # it has no type of its own; what was started ends with us
            if "timed out during startup" not in str(error):
                raise
            log.warning(
                "Ray did not start in time (attempt %d of %d): the machine is busy",
                *(attempt, START_ATTEMPTS),
            )
    raise ConnectionFailed(
        f"Ray did not start in {START_ATTEMPTS} attempts of 30 s: end what else keeps this machine "
        f"busy, or give a cluster that runs with --address"
    )


def _connect(address: str) -> None:
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env={"env_vars": {"RAY_CHDIR_TO_TRIAL_DIR": "0"}},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConnectionFailed(
            f"the Ray cluster at {address} refuses the connection: {error}. Run on one of its "
            f"nodes, with its Ray version and, where it asks for one, its RAY_AUTH_TOKEN"
        ) from error


def _shut_down() -> None:
    """Ends Ray, or the connection to it, while no thread collects garbage.

    A reference of Ray's that another thread, that of tracking, collects between the end of Ray's
    core and that of the handle on it, ends the process at once and without a word.
    """
    with no_collection():
        ray.shutdown()


def read_authentication() -> None:
    """Makes Ray see this process's environment: it reads mode and token once, when imported."""
    _raylet.Config.initialize("")  # type: ignore[attr-defined]
    _raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables while the block runs."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
