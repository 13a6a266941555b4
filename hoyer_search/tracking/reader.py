"""What the tracking package reads back from MLflow: sweeps, fronts and the files of networks."""

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hoyer_search.errors import InputError, StorageError, unknown_name
from hoyer_search.tracking import names
from hoyer_search.tracking.edge import Connection, edge, with_tags

CHUNK = 2**14  # bytes; what had arrived of one is lost when a download breaks off


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """The run of a whole sweep.

    Attributes:
        sweep: The sweep's name.
        sweep_id: What tells it from others of that name.
        state: ``running``, ``finished`` or ``interrupted``, as MLflow knows it.
        experiment: Id of its experiment.
        location: URI of its artefacts.
    """

    sweep: str
    sweep_id: str
    state: str
    experiment: str
    location: str


class Reader(Connection):
    """Reads from MLflow at one URI; a server's user and password come from the environment.

    Args:
        uri: Tracking URI.

    Every method raises ConnectionFailed when MLflow does not answer or refuses.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(uri, create=False)

    @edge
    def sweep(self, name: str) -> TrackedRun:
        """Returns the run of the newest sweep of a name.

        Raises:
            StorageError: There is none; the existing ones are listed, nearest first.
        """
        found = self._sweeps({names.SWEEP: name}, limit=1)
        if found:
            return found[0]
        known = {run.sweep for run in self._sweeps({}, limit=1000)}
        if not known:
            raise StorageError(f"no sweep in MLflow at {self.shown_uri}: run or sync one there")
        raise StorageError(unknown_name(f"sweep in MLflow at {self.shown_uri}", name, known))

    def _sweeps(self, tags: Mapping[str, str], *, limit: int) -> list[TrackedRun]:
        experiments = self._api.search_experiments(filter_string="name LIKE 'hoyer/%'")
        if not experiments:
            return []
        runs = self._api.search_runs(
            [e.experiment_id for e in experiments],
            with_tags({names.KIND: "sweep"} | dict(tags)),
            max_results=limit,
            order_by=["attributes.start_time DESC"],
        )
        return [
            TrackedRun(
                sweep=run.data.tags.get(names.SWEEP, ""),
                sweep_id=run.data.tags.get(names.SWEEP_ID, ""),
                state=run.data.tags.get(names.STATE, "interrupted"),
                experiment=run.info.experiment_id,
                location=run.info.artifact_uri,
            )
            for run in runs
        ]

    @edge
    def point(self, run: TrackedRun, name: str) -> str | None:
        """Returns the URI of the files of a point's network, None when it was not uploaded."""
        found = self._api.search_logged_models(
            experiment_ids=[run.experiment],
            filter_string=with_tags({names.SWEEP_ID: run.sweep_id, names.POINT: name}),
        )
        return next((str(m.artifact_location) for m in found if m.status == "READY"), None)

    @edge
    def version(self, uri: str) -> str:
        """Returns the URI of the files of a registered network.

        Args:
            uri: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

        Raises:
            InputError: It is no such URI, or there is no such network.
        """
        parts = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
        if parts is None:
            raise InputError(
                "a registered network is named models:/NAME@ALIAS or models:/NAME/VERSION, e.g. "
                f"models:/hoyer-mnist-lenet_5@B; got {uri!r}"
            )
        name, alias, version = parts.groups()
        from mlflow.exceptions import MlflowException

        try:
            if alias:
                version = self._api.get_model_version_by_alias(name, alias).version
            return str(self._api.get_model_version_download_uri(name, version))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise InputError(self._not_registered(uri, name)) from error

    def _not_registered(self, uri: str, name: str) -> str:
        models = {model.name: model for model in self._api.search_registered_models()}
        missing = f"{uri} is not in MLflow at {self.shown_uri}"
        if not models:
            return f"{missing}: no network is registered there"
        if name not in models:
            return f"{missing}: {unknown_name('registered model', name, models)}"
        aliases = ", ".join(sorted(models[name].aliases)) or "none"
        return f"{missing}; the aliases of {name}: {aliases}"

    @edge
    def listing(self, location: str, folder: str | None = None) -> set[str]:
        """Returns the paths of the files and folders in a folder of artefacts; none, if it is gone.

        Args:
            location: URI of the artefacts of a run or model.
            folder: Path of a folder in it; by default its top.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        store = get_artifact_repository(location, tracking_uri=self.uri)
        return {str(file.path) for file in store.list_artifacts(folder)}

    @edge
    def download(self, location: str, name: str, target: Path, *, most: int) -> None:
        """Downloads a file; what an interrupted download left in ``target`` is gone on with.

        Going on needs a server that answers requests for a part of a file, as MLflow's does for
        files on its own disk; from another the file is downloaded from its beginning.

        Args:
            location: URI of the folder.
            name: Path of the file in it.
            target: File to write.
            most: Bytes it may have at most.

        Raises:
            InputError: It has more.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
        from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

        store = get_artifact_repository(location, tracking_uri=self.uri)
        if isinstance(store, HttpArtifactRepository):
            _stream(store.artifact_uri, name, target, most=most)
            return
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            found = store.download_artifacts(name, temporary)  # type: ignore[no-untyped-call]
            shutil.move(found, target)
        _check_size(target, target.stat().st_size, most)


def _stream(folder: str, name: str, target: Path, *, most: int) -> None:
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.request_utils import augmented_raise_for_status
    from mlflow.utils.rest_utils import http_request

    begun = target.stat().st_size if target.is_file() else 0
    part: dict[str, Any] = {"extra_headers": {"Range": f"bytes={begun}-"}} if begun else {}
    credentials = get_default_host_creds(folder)  # type: ignore[no-untyped-call]
    answer = http_request(  # type: ignore[no-untyped-call]
        credentials, f"/{name}", "GET", stream=True, **part
    )
    with answer:
        if answer.status_code == 416:  # everything is there already
            return
        augmented_raise_for_status(answer)  # type: ignore[no-untyped-call]
        with target.open("ab" if answer.status_code == 206 else "wb") as file:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                _check_size(target, file.tell(), most)


def _check_size(target: Path, size: int, most: int) -> None:
    if size > most:
        raise InputError(f"{target.name} must have at most {most:,} bytes, got more")
