"""Ray Jobs: how a sweep's driver gets onto a cluster, and what is known of it there."""

import asyncio
import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
from ray.exceptions import RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient
from ray.runtime_env import RuntimeEnv
from ray.util.state import list_nodes
from ray.util.state.exception import RayStateApiException

from hoyer_search.errors import ConfigError, ConnectionFailed, InputError
from hoyer_search.search.cluster import check_reachable, environment, read_authentication

ANSWER_SECONDS = 10.0
STOP_SECONDS = 3600
"""How long Ray waits for trials to end their epoch before it kills a job that is to stop."""

_SWEEP, _STORAGE = "hoyer-search.sweep", "hoyer-search.storage"

JobState = Literal["pending", "running", "stopped", "succeeded", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job of a sweep, as Ray knows it.

    Attributes:
        id: Its submission id: the sweep's name, and from the second job on ``NAME:2``.
        sweep: The sweep's name.
        storage: The folder that holds the sweep, as the cluster sees it.
        state: Where it stands.
        message: Ray's words for that; of a failed one, the end of its log.
        submitted: Unix time in seconds.
        ended: Unix time in seconds, None while it has not.
    """

    id: str
    sweep: str
    storage: str
    state: JobState
    message: str
    submitted: float
    ended: float | None

    @property
    def active(self) -> bool:
        """Returns whether it runs, or will."""
        return self.state in ("pending", "running")


class Jobs:
    """The sweeps' jobs of one cluster, by the HTTP address of its head."""

    def __init__(self, address: str) -> None:
        """Connects.

        Raises:
            ConnectionFailed: The address is none, nothing answers there, or it wants a token.
        """
        _check_address(address)
        self.address = address.rstrip("/")
        # The variable goes before the argument, and may name another cluster.
        with environment({"RAY_API_SERVER_ADDRESS": self.address}), self._asking():
            read_authentication()
            self._client = JobSubmissionClient(self.address)

    def check_closed(self) -> None:
        """Checks that not everybody who reaches the cluster can run code on it.

        Raises:
            ConnectionFailed: It asks for no token, and listens beyond the loopback address.
        """
        if self._wants_token():
            return
        with environment({"RAY_API_SERVER_ADDRESS": self.address}), self._asking():
            nodes = [node.node_ip for node in list_nodes(self.address)]
        hosts = {str(urlsplit(self.address).hostname), *nodes}
        if not all(map(is_loopback, hosts)):
            raise ConnectionFailed(
                f"the cluster at {self.address} asks for no token, so whoever reaches "
                f"{', '.join(sorted(h for h in hosts if not is_loopback(h)))} can run code on it: "
                "start every node with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH, or say "
                "--insecure if only people you trust reach it"
            )

    def all(self) -> list[JobRecord]:
        """Returns the jobs of all sweeps, oldest first."""
        with self._asking():
            found = self._client.list_jobs()
        records = [_record(job) for job in found if _SWEEP in (job.metadata or {})]
        return sorted(records, key=lambda job: (job.submitted, job.id))

    def of(self, sweep: str) -> list[JobRecord]:
        """Returns the jobs of a sweep, oldest first."""
        return [job for job in self.all() if job.sweep == sweep]

    def submit(
        self, *, sweep: str, storage: str, entrypoint: str, runtime_env: Mapping[str, Any]
    ) -> JobRecord:
        """Submits the next job of a sweep and returns it.

        Args:
            sweep: The sweep's name.
            storage: The folder that holds it.
            entrypoint: Shell command that is the job.
            runtime_env: Its runtime environment; a local ``working_dir`` is uploaded.

        Raises:
            InputError: A job of the sweep runs already, or the working folder cannot be uploaded.
            ConnectionFailed: The cluster refuses.
        """
        earlier = self.of(sweep)
        if earlier and earlier[-1].active:
            raise InputError(
                f"sweep {sweep} has a job that is {earlier[-1].state} on {self.address}: wait for "
                f"it, or stop it by `hoyer-search stop {sweep} --address {self.address}`"
            )
        number = len(earlier) + 1
        variables = dict(runtime_env.get("env_vars") or {})
        variables.setdefault("RAY_JOB_STOP_WAIT_TIME_S", str(STOP_SECONDS))
        with self._asking(), environment({"RAY_API_SERVER_ADDRESS": self.address}):
            try:
                self._client.submit_job(
                    entrypoint=entrypoint,
                    submission_id=sweep if number == 1 else f"{sweep}:{number}",
                    metadata={_SWEEP: sweep, _STORAGE: storage},
                    runtime_env={**runtime_env, "env_vars": variables},
                )
            except ValueError as error:  # e.g. a working folder that is too large
                raise ConfigError(f"the job cannot be submitted: {error}") from error
        return self.of(sweep)[-1]

    def stop(self, job: JobRecord) -> None:
        """Asks a job to stop; it ends when its trials have saved their work."""
        with self._asking():
            self._client.stop_job(job.id)

    def log(self, job: JobRecord) -> str:
        """Returns what a job has printed."""
        with self._asking():
            text: str = self._client.get_job_logs(job.id)
        return text

    def follow(self, job: JobRecord) -> Iterator[str]:
        """Yields what a job prints, in pieces, from the start to its end."""
        pieces = self._client.tail_job_logs(job.id)

        async def next_piece() -> str | None:
            return await anext(pieces, None)

        with self._asking(), asyncio.Runner() as runner:
            while (piece := runner.run(next_piece())) is not None:
                yield piece

    def _wants_token(self) -> bool:
        try:
            url = f"{self.address}/api/authentication_mode"
            with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
                mode: str = json.load(answer)["authentication_mode"]
        except urllib.error.HTTPError as error:
            return error.code in (401, 403)  # a proxy before it; 404 is a Ray without tokens
        except (OSError, ValueError, KeyError) as error:
            raise ConnectionFailed(f"{self.address} is no Ray cluster: {error}") from error
        return mode != "disabled"

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Turns what Ray and its HTTP client raise into one error that names the remedy."""
        try:
            yield
        except (
            RayError,
            RayStateApiException,
            RuntimeError,
            ConnectionError,
            requests.RequestException,
        ) as error:
            raise ConnectionFailed(
                f"the Ray cluster at {self.address} refuses or does not answer: {error}. Give the "
                "address of its dashboard and, where it asks for one, its RAY_AUTH_TOKEN or "
                "RAY_AUTH_TOKEN_PATH with RAY_AUTH_MODE=token"
            ) from error


def check_runtime_env(runtime_env: Mapping[str, Any]) -> None:
    """Checks a runtime environment as Ray does.

    Raises:
        ConfigError: A field is unknown or of the wrong type.
    """
    unknown = set(runtime_env) - RuntimeEnv.known_fields
    if unknown:
        raise ConfigError(
            f"runtime environment: unknown fields {', '.join(sorted(unknown))}; Ray knows "
            f"{', '.join(sorted(f for f in RuntimeEnv.known_fields if not f.startswith('_')))}"
        )
    try:
        RuntimeEnv(**{k: v for k, v in runtime_env.items() if k != "working_dir"})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"runtime environment: {error}") from error


def is_loopback(host: str) -> bool:
    """Returns whether a host, by name or number, can be reached from its own machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_address(address: str) -> None:
    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if parts.scheme not in ("http", "https") or not host or parts.path.strip("/"):
        raise ConnectionFailed(
            "--address takes the HTTP address of a Ray cluster's dashboard, e.g. "
            f"http://head:8265; got {address!r}"
        )
    default = 443 if parts.scheme == "https" else 80
    remedy = "Give the address of its dashboard, as `ray start --head` prints it on the head"
    check_reachable(host, port or default, address, remedy=remedy)


_STATES: Mapping[JobStatus, JobState] = {
    JobStatus.PENDING: "pending",
    JobStatus.RUNNING: "running",
    JobStatus.STOPPED: "stopped",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
}


def _record(job: JobDetails) -> JobRecord:
    metadata = job.metadata or {}
    return JobRecord(
        id=job.submission_id or "",
        sweep=metadata[_SWEEP],
        storage=metadata.get(_STORAGE, ""),
        state=_STATES[job.status],
        message=job.message or "",
        submitted=(job.start_time or 0) / 1000,
        ended=job.end_time / 1000 if job.end_time else None,
    )
