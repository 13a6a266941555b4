"""Sweeps as jobs of a Ray cluster, which go on when whoever submitted them leaves.

A sweep's results are in its folder (``open_sweep``); Ray Jobs knows of its driver's state and log.
"""

import json
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hoyer_search import client
from hoyer_search.client import StoredSweep
from hoyer_search.config import SweepConfig
from hoyer_search.driving import SPACE_VARIABLE
from hoyer_search.errors import InputError, StorageError
from hoyer_search.store import SweepFolder, check_is_folder, check_name, check_new, dump_yaml
from hoyer_search.user_code import check_model, job_environment

if TYPE_CHECKING:
    from hoyer_search.search.jobs import JobRecord, Jobs

POLL_SECONDS = 2.0
RETRIES = 3

End = Literal["finished", "failed", "stopped"]

_ENDS: Mapping[str, End] = {"succeeded": "finished", "failed": "failed", "stopped": "stopped"}


@dataclass(frozen=True, slots=True)
class Job:
    """A sweep that was submitted to a cluster.

    Attributes:
        name: The sweep's name.
        storage: The folder that holds it, as the cluster sees it.
        address: HTTP address of the cluster's dashboard.
    """

    name: str
    storage: Path
    address: str

    def record(self) -> "JobRecord":
        """Returns what Ray knows of the sweep's latest job: ``state``, ``message``, ``id``.

        Raises:
            InputError: The cluster knows no job of the sweep.
            ConnectionFailed: It does not answer.
        """
        from hoyer_search.search.jobs import Jobs

        return _latest(Jobs(self.address), self.name)

    def sweep(self) -> StoredSweep:
        """Returns the sweep, where its storage can be seen and its driver has begun.

        Raises:
            StorageError: It cannot be seen, or has not begun.
        """
        return client.open_sweep(self.name, storage=self.storage)

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """Yields what the latest job has printed, in pieces; with ``follow`` until it ends."""
        from hoyer_search.search.jobs import Jobs

        jobs = Jobs(self.address)
        job = _latest(jobs, self.name)
        yield from jobs.follow(job) if follow else [jobs.log(job)]

    def stop(self) -> None:
        """Asks the sweep to stop: trials end their epoch and save it first. It can be resumed.

        Raises:
            InputError: It does not run.
        """
        from hoyer_search.search.jobs import Jobs

        jobs = Jobs(self.address)
        job = _latest(jobs, self.name)
        if not job.active:
            raise InputError(
                f"sweep {self.name} does not run on {self.address}: its job has {job.state}"
            )
        jobs.stop(job)

    def wait(self) -> End:
        """Waits until the latest job has ended, and returns how.

        ``failed`` says that the driver could not go on; trials that failed are part of a sweep.
        """
        from hoyer_search.search.jobs import Jobs

        jobs = Jobs(self.address)
        while (job := _latest(jobs, self.name)).active:
            time.sleep(POLL_SECONDS)
        return _ENDS[job.state]

    def resume(
        self,
        *,
        tracking_uri: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        working_dir: str | os.PathLike[str] | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        retries: int = RETRIES,
        insecure: bool = False,
    ) -> None:
        """Goes on with the sweep: by a further job of the cluster, which need not know the sweep.

        Args:
            tracking_uri: MLflow store; by default the one the sweep was started with.
            overrides: As for ``hoyer_search.resume``.
            working_dir: As for ``submit``; give it again.
            runtime_env: Likewise.
            retries: As for ``submit``.
            insecure: As for ``submit``.

        Raises:
            InputError: Something given is wrong, or the sweep runs; nothing was submitted.
        """
        from hoyer_search.sweep import changed_config, check_public

        check_name(self.name)
        check_public(overrides or {})  # also where the storage cannot be seen
        if self.storage.is_dir():
            folder = SweepFolder.open(self.storage, self.name)
            changed_config(folder, overrides or {})
            folder.check_idle()
        _submit(
            self,
            job_environment(working_dir, runtime_env),
            tracking_uri=tracking_uri,
            settings=overrides or {},
            retries=retries,
            insecure=insecure,
        )


def submit(
    space: str | os.PathLike[str] | SweepConfig,
    *,
    address: str,
    storage: str | os.PathLike[str],
    name: str | None = None,
    tracking_uri: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    working_dir: str | os.PathLike[str] | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    retries: int = RETRIES,
    insecure: bool = False,
) -> Job:
    """Starts a sweep on a cluster, as a job that does not need this process.

    Space, model and cluster are checked before anything is submitted; what only the cluster sees
    (storage, data, trained weights) is checked there before anything is written.

    Args:
        space: Name of a built-in search space, path of a YAML file, or a configuration.
        address: HTTP address of the cluster's dashboard, e.g. ``http://head:8265``.
        storage: Folder for sweeps that all nodes share, as an absolute path.
        name: The sweep's name; by default the space's with date and time.
        tracking_uri: MLflow store, as the cluster reaches it; by default
            ``sqlite:///STORAGE/mlflow.db``. It may hold no password.
        overrides: Values by dotted path, e.g. ``{"budget.trials": 20}``.
        working_dir: Folder with your own code, uploaded as the working folder of driver and trials.
            What ``.gitignore`` and ``excludes`` name is left out.
        runtime_env: Further fields of Ray's runtime environment, e.g. ``env_vars``, ``pip``,
            ``excludes``. Ray shows it to all who may use the cluster: no place for secrets.
        retries: How often a driver that dies is started again without a trial's end in between.
        insecure: Submit also to a cluster that asks for no token and can be reached by others.

    Raises:
        InputError: Something given is wrong; nothing was submitted.
    """
    from hoyer_search.sweep import default_name, load_space

    config = load_space(space, overrides)
    name = name or default_name(config)
    check_name(name)
    root = Path(storage)
    check_is_folder(root)
    if root.is_dir():
        check_new(root, name)
    environment = job_environment(working_dir, runtime_env)
    check_model(config, working_dir)
    environment["env_vars"] |= {SPACE_VARIABLE: dump_yaml(config)}
    job = Job(name, root, address)
    _submit(
        job, environment, tracking_uri=tracking_uri, settings={}, retries=retries, insecure=insecure
    )
    return job


def open_job(name: str, *, address: str) -> Job:
    """Returns a sweep that was submitted to a cluster, by whomever.

    Raises:
        InputError: The cluster knows no job of the sweep.
        ConnectionFailed: It does not answer.
    """
    from hoyer_search.search.jobs import Jobs

    check_name(name)
    return Job(name, Path(_latest(Jobs(address), name).storage), address)


def jobs(address: str) -> dict[str, "JobRecord"]:
    """Returns the latest job of each sweep that was submitted to a cluster, oldest first.

    Raises:
        ConnectionFailed: The cluster does not answer.
    """
    from hoyer_search.search.jobs import Jobs

    return {job.sweep: job for job in Jobs(address).all()}


def _latest(jobs: "Jobs", name: str) -> "JobRecord":
    found = jobs.of(name)
    if not found:
        raise InputError(
            f"the cluster at {jobs.address} knows no job of sweep {name!r}: `hoyer-search list "
            f"--address {jobs.address}` lists those it knows"
        )
    return found[-1]


def _submit(
    job: Job,
    environment: dict[str, Any],
    *,
    tracking_uri: str | None,
    settings: Mapping[str, Any],
    retries: int,
    insecure: bool,
) -> None:
    from hoyer_search.search.jobs import Jobs, check_runtime_env
    from hoyer_search.tracking.address import without_password

    if tracking_uri is not None and without_password(tracking_uri) != tracking_uri:
        raise InputError(
            f"a submitted sweep's tracking URI may hold no password, which Ray would show; got "
            f"{without_password(tracking_uri)} with one. Set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD where the head is started"
        )
    if not job.storage.is_absolute():
        raise StorageError(
            "the storage of a submitted sweep must be a folder that all nodes share, given as an "
            f"absolute path, e.g. /shared/runs; got {str(job.storage)!r}"
        )
    if retries < 0:
        raise InputError(f"retries must be 0 or more, got {retries}")
    check_runtime_env(environment)
    cluster = Jobs(job.address)
    if not insecure:
        cluster.check_closed()
    command = ["python", "-m", "hoyer_search", "drive", job.name, "--storage", str(job.storage)]
    command += ["--retries", str(retries)]
    if tracking_uri is not None:
        command += ["--tracking-uri", tracking_uri]
    for path, value in settings.items():
        command += ["--set", f"{path}={json.dumps(value)}"]
    cluster.submit(
        sweep=job.name,
        storage=str(job.storage),
        entrypoint=shlex.join(command),
        runtime_env=environment,
    )
