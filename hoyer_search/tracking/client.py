"""What the tracking package writes to MLflow: plain data in, plain data out."""

import contextlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hoyer_search import files
from hoyer_search.tracking import names
from hoyer_search.tracking.address import check_address, is_server
from hoyer_search.tracking.edge import Connection, RecordGone, edge, with_tags
from hoyer_search.tracking.records import RunRecord, Sample
from hoyer_search.tracking.serving import DATA

MAX_BATCH = 1000
"""Most metrics, parameters and tags of one request."""


def check(uri: str) -> None:
    """Checks that a tracking server or database can be used, before any work starts.

    A local database is not created by this.

    Raises:
        ConnectionFailed: It cannot; within about five seconds when nothing answers.
    """
    check_address(uri)
    if not uri.startswith("sqlite:"):
        Client(uri, artifacts=Path()).ping()


class Client(Connection):
    """Writes to MLflow at one URI.

    Args:
        uri: Tracking URI.
        artifacts: Folder for artefacts, used unless the URI is a server that has its own.

    Every method raises ConnectionFailed when MLflow cannot do it, and RecordGone when what it
    refers to was deleted.
    """

    def __init__(self, uri: str, *, artifacts: Path) -> None:
        super().__init__(uri, create=True)
        self._artifacts = artifacts

    @edge
    def ping(self) -> None:
        """Makes one cheap call."""
        self._api.search_experiments(max_results=1)

    @edge
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

    @edge
    def description(self, experiment_id: str) -> str:
        """Returns the description of an experiment, empty where it has none."""
        return str(self._api.get_experiment(experiment_id).tags.get(names.NOTE, ""))

    @edge
    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Sets tags of an experiment."""
        for key, value in tags.items():
            self._api.set_experiment_tag(experiment_id, key, value)

    @edge
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

    @edge
    def create_run(
        self, experiment_id: str, *, name: str, tags: Mapping[str, str], start: int
    ) -> str:
        """Creates a run that started at ``start`` (Unix milliseconds) and returns its id."""
        run = self._api.create_run(experiment_id, start_time=start, tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    @edge
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

    @edge
    def rename_run(self, run_id: str, name: str) -> None:
        """Changes the name of a run."""
        self._api.update_run(run_id, name=name)

    @edge
    def set_status(self, run_id: str, status: str, *, end: int | None = None) -> None:
        """Sets the status of a run: RUNNING, or FINISHED, FAILED or KILLED with its end."""
        if status == "RUNNING":
            self._api.update_run(run_id, status=status)
        else:
            self._api.set_terminated(run_id, status=status, end_time=end)

    @edge
    def delete_run(self, run_id: str) -> None:
        """Moves a run to the bin."""
        self._api.delete_run(run_id)

    @edge
    def upload(self, run_id: str, paths: Sequence[Path]) -> None:
        """Uploads files to the top of a run's artefacts."""
        for path in paths:
            self._api.log_artifact(run_id, str(path))

    @edge
    def find_model(self, experiment_id: str, tags: Mapping[str, str]) -> tuple[str, bool] | None:
        """Returns the id of the LoggedModel that carries some tags and whether it is finished.

        None if there is none; a finished one if there are several.
        """
        found = self._api.search_logged_models(
            experiment_ids=[experiment_id], filter_string=with_tags(tags)
        )
        models = sorted((m.status != "READY", str(m.model_id)) for m in found)
        return (models[0][1], not models[0][0]) if models else None

    @edge
    def log_model(
        self,
        experiment_id: str,
        run_id: str,
        *,
        name: str,
        folder: Path,
        tags: Mapping[str, str],
        flavor: Mapping[str, str],
        unfinished: str | None = None,
    ) -> str:
        """Uploads a folder as a LoggedModel of a run and returns its id.

        Args:
            experiment_id: The experiment's id.
            run_id: The run that made the model.
            name: Name of the model.
            folder: Its files; they become the folder ``artifact`` of the model.
            tags: Tags of the model.
            flavor: The ``python_function`` flavor of its MLmodel file.
            unfinished: Id of one whose upload broke off, to be finished; by default a new one.
        """
        from mlflow.entities import LoggedModelOutput

        model_id = unfinished
        if model_id is None:
            model = self._api.create_logged_model(
                experiment_id,
                name=name,
                source_run_id=run_id,
                tags=dict(tags),
                model_type="pytorch",
            )
            model_id = str(model.model_id)
        self._api.log_model_artifacts(model_id, str(folder), artifact_path=DATA)
        with tempfile.TemporaryDirectory() as temporary:
            description = {
                "flavors": {"python_function": dict(flavor)},
                "model_id": model_id,
                "run_id": run_id,
            }
            # JSON is YAML, which is what MLflow reads here
            files.write_text(Path(temporary) / "MLmodel", json.dumps(description, indent=1))
            self._api.log_model_artifacts(model_id, temporary)
        self._api.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        self._api.finalize_logged_model(model_id, "READY")
        return model_id

    @edge
    def registered_model(self, name: str, *, description: str) -> None:
        """Creates a registered model unless it exists."""
        with contextlib.suppress(RecordGone):
            if self._has_registered_model(name):
                return
        self._api.create_registered_model(name, description=description)

    @edge
    def _has_registered_model(self, name: str) -> bool:
        return self._api.get_registered_model(name) is not None

    @edge
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

    @edge
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

    @edge
    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Points an alias of a registered model to a version."""
        self._api.set_registered_model_alias(name, alias, version)

    @edge
    def holders(self, name: str) -> dict[str, dict[str, str]]:
        """Returns the tags of the version that each alias of a registered model points to."""
        versions = self._api.get_registered_model(name).aliases
        tags = {v: dict(self._api.get_model_version(name, v).tags) for v in set(versions.values())}
        return {alias: tags[version] for alias, version in versions.items()}

    @edge
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
