"""The one adapter to MLflow: plain data in, plain data out, and its exceptions stop here."""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from hoyer_search import files
from hoyer_search.errors import ConnectionFailed, HoyerSearchError
from hoyer_search.tracking.address import check_address, is_server, without_password
from hoyer_search.tracking.records import RunRecord, Sample

MAX_BATCH = 1000
"""Most metrics, parameters and tags of one request."""

_ENVIRONMENT = {
    # With MLflow's own defaults a dead server blocks for 247 seconds.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # A sweep sends nothing to anybody but the tracking server it was given.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Only the command line configures logging.
    "MLFLOW_CONFIGURE_LOGGING": "0",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class RecordGone(HoyerSearchError):
    """A run, experiment or model that was recorded is not there any more."""


def settings() -> None:
    """Sets MLflow's timeouts and switches in the environment, where the user has set none."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def check(uri: str) -> None:
    """Checks that a tracking server or database can be used, before any work starts.

    A local database is not created by this.

    Raises:
        ConnectionFailed: It cannot; within about five seconds when nothing answers.
    """
    check_address(uri)
    if not uri.startswith("sqlite:"):
        Client(uri, artifacts=Path()).ping()


Method = TypeVar("Method", bound=Callable[..., Any])


def _edge(method: Method) -> Method:
    """Lets none of MLflow's exceptions, nor of the libraries under it, out of the adapter."""

    @wraps(method)
    def wrapper(self: "Client", *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except HoyerSearchError:
            raise
        except Exception as error:  # requests, SQLAlchemy, alembic and the disk besides MLflow
            text = str(error)
            missing = getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"
            if missing or "must be in the 'active' state" in text:
                raise RecordGone(text) from error
            reason = text.strip().split("\n")[0][:500]
            raise ConnectionFailed(
                f"MLflow at {without_password(self.uri)}: {method.__name__} failed: {reason}"
            ) from error

    return cast(Method, wrapper)


class Client:
    """MLflow at one URI.

    Args:
        uri: Tracking URI.
        artifacts: Folder for artefacts, used unless the URI is a server that has its own.

    Every method raises ConnectionFailed when MLflow cannot do it, and RecordGone when what it
    refers to was deleted.
    """

    def __init__(self, uri: str, *, artifacts: Path) -> None:
        self.uri = uri
        self._artifacts = artifacts
        self._api = self._connect()

    @_edge
    def _connect(self) -> Any:
        settings()
        from mlflow import MlflowClient

        if self.uri.startswith("sqlite:"):
            check_address(self.uri)
            Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @_edge
    def ping(self) -> None:
        """Makes one cheap call."""
        self._api.search_experiments(max_results=1)

    @_edge
    def experiment(self, name: str) -> str:
        """Returns the id of an experiment; creates it, and takes it out of the bin, if need be."""
        found = self._api.get_experiment_by_name(name)
        if found is None:
            location = None
            if not is_server(self.uri):
                location = (self._artifacts / name).absolute().as_uri()
            return str(self._api.create_experiment(name, artifact_location=location))
        if found.lifecycle_stage == "deleted":
            self._api.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    @_edge
    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Sets tags of an experiment."""
        for key, value in tags.items():
            self._api.set_experiment_tag(experiment_id, key, value)

    @_edge
    def find_runs(self, experiment_id: str, *, tag: str, value: str) -> list[RunRecord]:
        """Returns all runs of an experiment that carry a tag, newest first."""
        found: list[RunRecord] = []
        token = None
        while True:
            page = self._api.search_runs(
                [experiment_id], f"tags.`{tag}` = '{value}'", max_results=1000, page_token=token
            )
            found.extend(
                RunRecord(
                    run_id=run.info.run_id,
                    name=run.info.run_name,
                    status=run.info.status,
                    tags=dict(run.data.tags),
                    params=dict(run.data.params),
                    metrics=dict(run.data.metrics),
                )
                for run in page
            )
            token = page.token
            if not token:
                return found

    @_edge
    def create_run(
        self, experiment_id: str, *, name: str, tags: Mapping[str, str], start: int
    ) -> str:
        """Creates a run that started at ``start`` (Unix milliseconds) and returns its id."""
        run = self._api.create_run(experiment_id, start_time=start, tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    @_edge
    def log(
        self,
        run_id: str,
        *,
        samples: Sequence[Sample] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        model_id: str | None = None,
    ) -> None:
        """Logs metrics, parameters and tags of a run, in as few requests as MLflow allows."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(s.key, s.value, s.time, s.step, model_id=model_id) for s in samples]
        first = [Param(k, v) for k, v in (params or {}).items()]
        marks = [RunTag(k, v) for k, v in (tags or {}).items()]
        room = MAX_BATCH - len(first) - len(marks)
        if metrics or first or marks:
            self._api.log_batch(run_id, metrics=metrics[:room], params=first, tags=marks)
        for start in range(room, len(metrics), MAX_BATCH):
            self._api.log_batch(run_id, metrics=metrics[start : start + MAX_BATCH])

    @_edge
    def rename_run(self, run_id: str, name: str) -> None:
        """Changes the name of a run."""
        self._api.update_run(run_id, name=name)

    @_edge
    def set_status(self, run_id: str, status: str, *, end: int | None = None) -> None:
        """Sets the status of a run: RUNNING, or FINISHED, FAILED or KILLED with its end."""
        if status == "RUNNING":
            self._api.update_run(run_id, status=status)
        else:
            self._api.set_terminated(run_id, status=status, end_time=end)

    @_edge
    def upload(self, run_id: str, paths: Sequence[Path]) -> None:
        """Uploads files to the top of a run's artefacts."""
        for path in paths:
            self._api.log_artifact(run_id, str(path))

    @_edge
    def find_model(self, experiment_id: str, *, tag: str, value: str) -> str | None:
        """Returns the id of the finished LoggedModel that carries a tag, None if there is none."""
        found = self._api.search_logged_models(
            experiment_ids=[experiment_id], filter_string=f"tags.`{tag}` = '{value}'"
        )
        return next((m.model_id for m in found if m.status == "READY"), None)

    @_edge
    def log_model(
        self,
        experiment_id: str,
        run_id: str,
        *,
        name: str,
        folder: Path,
        tags: Mapping[str, str],
        flavor: Mapping[str, str],
    ) -> str:
        """Uploads a folder as a LoggedModel of a run and returns its id.

        Args:
            experiment_id: The experiment's id.
            run_id: The run that made the model.
            name: Name of the model.
            folder: Its files; they become ``artifact/`` of the model.
            tags: Tags of the model.
            flavor: The ``python_function`` flavor of its MLmodel file.
        """
        from mlflow.entities import LoggedModelOutput

        model = self._api.create_logged_model(
            experiment_id, name=name, source_run_id=run_id, tags=dict(tags), model_type="pytorch"
        )
        self._api.log_model_artifacts(model.model_id, str(folder), artifact_path="artifact")
        with tempfile.TemporaryDirectory() as temporary:
            description = {
                "flavors": {"python_function": dict(flavor)},
                "model_id": model.model_id,
                "run_id": run_id,
            }
            # JSON is YAML, which is what MLflow reads here
            files.write_text(Path(temporary) / "MLmodel", json.dumps(description, indent=1))
            self._api.log_model_artifacts(model.model_id, temporary)
        self._api.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        self._api.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    @_edge
    def registered_model(self, name: str, *, description: str) -> None:
        """Creates a registered model unless it exists."""
        with contextlib.suppress(RecordGone):
            if self._has_registered_model(name):
                return
        self._api.create_registered_model(name, description=description)

    @_edge
    def _has_registered_model(self, name: str) -> bool:
        return self._api.get_registered_model(name) is not None

    @_edge
    def versions(self, name: str) -> list[tuple[str, dict[str, str]]]:
        """Returns version and tags of every version of a registered model."""
        found: list[tuple[str, dict[str, str]]] = []
        token = None
        while True:
            page = self._api.search_model_versions(f"name = '{name}'", page_token=token)
            found.extend((str(version.version), dict(version.tags)) for version in page)
            token = page.token
            if not token:
                return found

    @_edge
    def create_version(
        self, name: str, *, model_id: str, run_id: str, tags: Mapping[str, str], description: str
    ) -> str:
        """Registers a LoggedModel as a new version and returns the version."""
        version = self._api.create_model_version(
            name,
            # ``models:/ID`` would be looked up in MLflow's global tracking URI, not in ours
            source=self._api.get_logged_model(model_id).artifact_location,
            run_id=run_id,
            tags=dict(tags),
            description=description,
            model_id=model_id,
        )
        # Only MLflow's server does this by itself; its pages link the model to the version by it.
        link = json.dumps([{"name": name, "version": version.version}])
        self._api.set_logged_model_tags(model_id, {"mlflow.modelVersions": link})
        return str(version.version)

    @_edge
    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Points an alias of a registered model to a version."""
        self._api.set_registered_model_alias(name, alias, version)

    @_edge
    def version_tags(self, name: str, alias: str) -> dict[str, str]:
        """Returns the tags of the version that an alias points to, none if it points nowhere."""
        version = self._api.get_registered_model(name).aliases.get(alias)
        return {} if version is None else dict(self._api.get_model_version(name, version).tags)

    @_edge
    def log_data(self, run_id: str, *, name: str, settings: Mapping[str, Any]) -> None:
        """Links a run to the data set it was trained on; a second time changes nothing.

        Args:
            run_id: The run.
            name: The data set's name.
            settings: All that decides what is in it, as plain data.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = Dataset(
            name=name[:500],
            digest=files.digest(settings)[:8],
            source_type="hoyer-search",
            source=json.dumps(settings),
        )
        tag = InputTag("mlflow.data.context", "training")
        self._api.log_inputs(run_id, [DatasetInput(data, [tag])])
