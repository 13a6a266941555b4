"""Whether sweeps can run on a machine or a cluster, and what to mend before they do."""

import platform
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from hoyer_search import tracking
from hoyer_search.errors import ConnectionFailed
from hoyer_search.store import check_is_folder
from hoyer_search.tracking.address import without_password

NODE_SECONDS = 60.0
"""How long a node may take to answer; the first task on it starts a process."""

FREE_BYTES = 2 * 2**30
"""Less free space than this is a finding: checkpoints and artefacts would soon fill it."""

_DISTRIBUTIONS = ("hoyer-search", "ray", "torch")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    """What was looked at, e.g. ``versions``."""
    found: str
    """What is there, and where."""
    remedy: str | None = None
    """What to do about it; None when nothing is to be mended."""


def examine(
    *, address: str | None = None, storage: Path | None = None, tracking_uri: str | None = None
) -> list[Finding]:
    """Returns what every check found: versions, token, storage, disk, GPUs and tracking.

    On a cluster every node is looked at, by a task of its own that takes no CPU. In the storage
    folder each node writes an empty file, which is removed again.

    Args:
        address: ``HOST:PORT`` of a Ray cluster; None looks at this machine alone.
        storage: Folder of sweeps; None leaves storage out.
        tracking_uri: MLflow store or server; None leaves tracking out.

    Raises:
        StorageError: The storage is a URL.
    """
    if storage is not None:
        check_is_folder(storage)
    mark = _Mark(storage)
    with mark:
        if address is None:
            findings = _judge({"this machine": look(*mark.task("local"))}, mark)
        else:
            findings = _examine_cluster(address, mark)
    return findings if tracking_uri is None else [*findings, _tracking(tracking_uri)]


def look(storage: str | None, mark: str, name: str) -> dict[str, Any]:
    """Returns what the machine is like that this runs on; writes its file into the storage folder.

    Args:
        storage: The storage folder, None for none.
        mark: Name of the file that whoever asks has put there.
        name: Ending of the file to write beside it.
    """
    seen: dict[str, Any] = {
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in _DISTRIBUTIONS},
        "devices": len(list(Path("/dev").glob("nvidia[0-9]*"))),
        "free": {"/tmp": shutil.disk_usage("/tmp").free},
        "storage": None,
    }
    if storage is not None:
        try:
            if not (Path(storage) / mark).exists():
                raise FileNotFoundError(f"{storage} is another folder there, or none")
            (Path(storage) / f"{mark}.{name}").touch()
            seen["free"][storage] = shutil.disk_usage(storage).free
        except OSError as error:
            seen["storage"] = str(error)
    return seen


def look_as_node(storage: str | None, mark: str, name: str) -> dict[str, Any]:
    """Returns what ``look`` does, and whether the Ray node that it runs on asks for a token.

    Whoever asks may have a token that the cluster does not want.
    """
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    return look(storage, mark, name) | {"token": is_token_auth_enabled()}


class _Mark:
    """A file in the storage folder by which nodes see that they have the same one."""

    def __init__(self, storage: Path | None) -> None:
        self.storage = None if storage is None else storage.absolute()
        self.error: str | None = None
        self._name = f".doctor-{secrets.token_hex(8)}"

    def __enter__(self) -> None:
        if self.storage is not None:
            try:
                (self.storage / self._name).touch()
            except OSError as error:
                self.error = str(error)

    def __exit__(self, *exception: object) -> None:
        if self.storage is not None and self.error is None:
            for path in self.storage.glob(f"{self._name}*"):
                path.unlink(missing_ok=True)

    def task(self, name: str) -> tuple[str | None, str, str]:
        """Returns the arguments of ``look`` for a node."""
        usable = self.storage is not None and self.error is None
        return (str(self.storage) if usable else None), self._name, name

    def written(self, name: str, *, seconds: float = 5.0) -> bool:
        """Returns whether the file of a node arrived; a network's cache may be seconds behind."""
        assert self.storage is not None
        deadline = time.monotonic() + seconds
        while not (self.storage / f"{self._name}.{name}").exists():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True


def _examine_cluster(address: str, mark: _Mark) -> list[Finding]:
    from hoyer_search.config import Resources
    from hoyer_search.search.cluster import check_cluster, cluster

    try:
        check_cluster(Resources(), address=address)
        with cluster(address):
            return _look_at_nodes(mark)
    except ConnectionFailed as error:
        return [Finding("cluster", str(error), "start it, correct --address, or give its token")]


def _look_at_nodes(mark: _Mark) -> list[Finding]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = {
        f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})": node
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    }
    tasks = {
        ray.remote(num_cpus=0, max_retries=0)(look_as_node)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
        .remote(*mark.task(node["NodeID"])): name
        for name, node in nodes.items()
    }
    ready, late = ray.wait(list(tasks), num_returns=len(tasks), timeout=NODE_SECONDS)
    findings = [_silent(tasks[task], f"no answer within {NODE_SECONDS:g} s") for task in late]
    seen: dict[str, dict[str, Any]] = {}
    for task in ready:
        name = tasks[task]
        try:
            seen[name] = ray.get(task) | {"gpus": nodes[name]["Resources"].get("GPU", 0)}
        except ray.exceptions.RayError as error:
            findings.append(_silent(name, str(error).strip().splitlines()[-1]))
    ids = {name: node["NodeID"] for name, node in nodes.items()}
    return findings + _token(seen) + _judge(seen, mark, ids=ids)


def _token(seen: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    if not seen:
        return []
    open_nodes = [name for name, each in seen.items() if not each["token"]]
    if not open_nodes:
        return [Finding("token", "Ray asks for a token")]
    finding = Finding(
        "token",
        f"{', '.join(open_nodes)}: Ray asks for no token: whoever reaches it runs code on it",
        "set RAY_AUTH_MODE=token and the same RAY_AUTH_TOKEN_PATH on every node and here, "
        "and start Ray again",
    )
    return [finding]


def _silent(name: str, reason: str) -> Finding:
    return Finding(
        "nodes",
        f"{name}: {reason}",
        "install hoyer-search there in the versions of requirements.lock, and see that the nodes "
        "reach each other on all ports",
    )


def _judge(
    seen: Mapping[str, Mapping[str, Any]], mark: _Mark, ids: Mapping[str, str] | None = None
) -> list[Finding]:
    ids = ids or dict.fromkeys(seen, "local")
    findings = _versions({name: each["versions"] for name, each in seen.items()})
    if mark.storage is not None:
        findings += _storage(seen, mark, ids)
    return [*findings, *_disk(seen), *_gpus(seen)]


def _versions(seen: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    def text(versions: Iterable[tuple[str, str]]) -> str:
        return ", ".join(f"{name} {version}" for name, version in versions)

    ours = look(None, "", "")["versions"]
    findings = [
        Finding(
            "versions",
            f"{name}: {text((k, v[k]) for k in ours if v[k] != ours[k])}, where this machine has "
            f"{text((k, ours[k]) for k in ours if v[k] != ours[k])}",
            "install requirements.lock there, with the same Python",
        )
        for name, v in seen.items()
        if v != ours
    ]
    alike = len(seen) - len(findings)
    same = Finding("versions", f"{text(ours.items())} on {_nodes(alike)}")
    return [same, *findings] if alike else findings


def _storage(
    seen: Mapping[str, Mapping[str, Any]], mark: _Mark, ids: Mapping[str, str]
) -> list[Finding]:
    if mark.error is not None:
        remedy = "make the folder, and let the user that Ray runs as write to it"
        return [Finding("storage", f"not usable from here: {mark.error}", remedy)]
    findings = []
    for name, each in seen.items():
        reason = each["storage"] or (
            None if mark.written(ids[name]) else "what it writes stays there"
        )
        if reason:
            remedy = "mount the same folder there at the same place, writable"
            findings.append(Finding("storage", f"{name}: {reason}", remedy))
    alike = len(seen) - len(findings)
    shared = Finding("storage", f"{mark.storage} is shared by {_nodes(alike)}")
    return [shared, *findings] if alike else findings


def _disk(seen: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    free = [
        (bytes_, path, name) for name, each in seen.items() for path, bytes_ in each["free"].items()
    ]
    short = [
        Finding(
            "disk", f"{name}: {_gib(bytes_)} free in {path}", f"free {_gib(FREE_BYTES)} or more"
        )
        for bytes_, path, name in free
        if bytes_ < FREE_BYTES
    ]
    if short or not free:
        return short
    least, path, name = min(free)
    return [Finding("disk", f"{_gib(least)} free or more ({path} of {name})")]


def _gpus(seen: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    findings = []
    for name, each in seen.items():
        offered = each.get("gpus", each["devices"])
        if offered != each["devices"]:
            findings.append(
                Finding(
                    "GPUs",
                    f"{name}: Ray offers {offered:g}, the machine has {each['devices']}",
                    "start Ray there with --num-gpus, and its container with the GPUs",
                )
            )
    kinds = Counter(each["devices"] for each in seen.values() if each["devices"])
    found = ", ".join(f"{n} on {_nodes(k)}" for n, k in sorted(kinds.items())) or "none"
    return [Finding("GPUs", found), *findings]


def _tracking(uri: str) -> Finding:
    try:
        tracking.check(uri)
    except ConnectionFailed as error:
        remedy = (
            "start the server, or correct --tracking-uri, MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD"
        )
        return Finding("tracking", str(error), remedy)
    return Finding("tracking", f"{without_password(uri)} answers")


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _gib(amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB"
