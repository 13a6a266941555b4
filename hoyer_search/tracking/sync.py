"""Uploads to MLflow whatever of a sweep's folder lies behind the cursor; idempotent."""

import logging
import time
from dataclasses import dataclass
from itertools import islice

from filelock import FileLock

from hoyer_search import files, results
from hoyer_search.results import TrialResult, TrialSpec
from hoyer_search.store import SweepFolder
from hoyer_search.tracking import links, names, note, registry, report, runs, views
from hoyer_search.tracking.address import default_uri
from hoyer_search.tracking.client import Client, RecordGone
from hoyer_search.tracking.cursor import Cursor
from hoyer_search.tracking.snapshot import Snapshot
from hoyer_search.tracking.uploads import Uploads, mtime

REPORT_SECONDS = 60.0
"""Shortest time between two uploads of the report while a sweep runs."""

_STATUS = {"running": "RUNNING", "finished": "FINISHED", "interrupted": "KILLED"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did.

    Attributes:
        link: Address of the sweep's front in MLflow.
        samples: Values of metrics sent.
        runs: Runs created.
        versions: Versions of the registered model that the sweep has.
    """

    link: str
    samples: int
    runs: int
    versions: int


def sync(folder: SweepFolder, uri: str | None = None, *, running: bool | None = None) -> SyncReport:
    """Brings MLflow up to date with a sweep's folder.

    What MLflow has acknowledged is not sent again; what was deleted there is made again. Metrics
    go in one batch a run. Front points are registered once the sweep does not run.

    Args:
        folder: The sweep's folder.
        uri: Tracking URI; by default the database beside the sweep's folder.
        running: Whether a driver runs the sweep; asked of the folder by default.

    Raises:
        ConnectionFailed: MLflow does not answer, or refuses. What was sent stays counted.
        StorageError: The folder is damaged.
    """
    uri = uri or default_uri(folder.path.parent)
    folder.tracking.mkdir(exist_ok=True)
    with FileLock(folder.tracking / "sync.lock"):
        client = Client(uri, artifacts=folder.path.parent / "mlartifacts")
        sweep = Snapshot.of(folder, running=running)
        cursor = Cursor.load(folder.tracking / "cursor.json", uri=uri)
        try:
            return _Walk(client, sweep, cursor).go()
        except RecordGone as gone:
            log.info("uploading sweep %s afresh: %s", folder.name, gone)
            return _Walk(client, sweep, Cursor.new(uri)).go()


def sweep_link(folder: SweepFolder, uri: str | None = None) -> str:
    """Returns the address of a sweep's front in MLflow, or of MLflow before the first sync.

    It asks nobody but the cursor. A local database has pages only while ``hoyer-search ui`` runs.
    """
    uri = uri or default_uri(folder.path.parent)
    cursor = Cursor.load(folder.tracking / "cursor.json", uri=uri)
    if cursor.experiment is None:
        return links.page(uri)
    return _link(uri, cursor.experiment, names.Identity.of(folder, folder.config()))


def _link(uri: str, experiment: str, identity: names.Identity) -> str:
    key = views.front_key(identity.sweep_id)
    return links.page(uri) + links.view(experiment, key, chart=True)


class _Walk:
    """One walk over a sweep's folder."""

    def __init__(self, client: Client, sweep: Snapshot, cursor: Cursor) -> None:
        self.client, self.sweep, self.cursor = client, sweep, cursor
        self.folder = sweep.folder
        self.identity = names.Identity.of(sweep.folder, sweep.config)

    def go(self) -> SyncReport:
        """Uploads everything, and writes the cursor however far it came."""
        try:
            if self.cursor.experiment is None:
                self.cursor.experiment = self.client.experiment(self.identity.experiment)
            uploads = Uploads(self.client, self.cursor.experiment, self.identity)
            self._set_views(self.cursor.experiment)
            self._start_sweep(uploads)
            ended = {r.uid: r for r in [*self.sweep.results, *self.sweep.retrainings]}
            for spec in [*self.sweep.specs, *self.sweep.retraining_specs]:
                self._trial(uploads, spec, ended.get(spec.uid))
            if self.sweep.state != "running":
                registry.register(self.client, self.sweep, self.cursor, self.identity)
            self._sweep(uploads, self.cursor.experiment)
            self._report()
        finally:
            self.cursor.save(self.folder.tracking / "cursor.json")
        return SyncReport(
            link=_link(self.client.uri, self.cursor.experiment, self.identity),
            samples=uploads.samples,
            runs=uploads.created,
            versions=len(self.cursor.versions),
        )

    def _set_views(self, experiment: str) -> None:
        tags = views.tags(
            self.identity,
            experiment=experiment,
            searched=runs.log_names(self.sweep.config),
            points=self.sweep.config.objective.points,
            created=mtime(self.folder.path / "sweep.yaml"),
        )
        if self.cursor.views != files.digest(tags):
            self.client.tag_experiment(experiment, tags)
            self.cursor.views = files.digest(tags)

    def _start_sweep(self, uploads: Uploads) -> None:
        if self.cursor.parent is None:
            self.cursor.parent = uploads.run(
                "",
                name=self.folder.name,
                tags=self._sweep_tags(),
                start=mtime(self.folder.path / "sweep.yaml"),
            )
        self.parent = self.cursor.parent

    def _sweep_tags(self) -> dict[str, str]:
        return self.identity.tags | {names.KIND: "sweep", names.STATE: self.sweep.state}

    def _trial(self, uploads: Uploads, spec: TrialSpec, result: TrialResult | None) -> None:
        folder = self.folder.trial(spec.uid)
        points = result.points if result else []
        name = runs.trial_name(spec, points, self.sweep.front)
        tags = runs.trial_tags(spec, result, self.sweep.front, self.identity)
        if spec.uid not in self.cursor.trials:
            self.cursor.trials[spec.uid] = uploads.run(
                spec.uid,
                name=name,
                tags=tags | {names.PARENT: self.parent.record.run_id},
                start=mtime(folder / "spec.json"),
            )
        run = self.cursor.trials[spec.uid]
        status = runs.trial_status(result, running=self.sweep.state == "running")
        # The status is sent last, so a run that has its final one has its curves too.
        settled = run.record.status == status != "RUNNING"
        lines = [] if settled else list(islice(self.folder.metrics(spec.uid), run.lines, None))
        uploads.update(
            run,
            name=name,
            tags=tags,
            params=runs.trial_params(spec),
            metrics=runs.trial_metrics(spec, result, self.sweep.front, self.sweep.config),
            curves=[] if settled else runs.curves(lines, result, time=mtime(folder / "spec.json")),
        )
        run.lines += len(lines)
        uploads.set_status(run, status, end=folder / "result.json")

    def _sweep(self, uploads: Uploads, experiment: str) -> None:
        pages = views.pages(experiment, self.identity.sweep_id)
        if self.cursor.versions:
            pages["Registered networks"] = links.registered_model(self.identity.registered_model)
        runs_by_uid = self.cursor.trials.items()
        trials = {uid: links.run(experiment, run.record.run_id) for uid, run in runs_by_uid}
        picture = links.artifact(self.parent.record.run_id, "front.png")
        text = note.sweep_note(self.sweep, links=pages, trials=trials, picture=picture)
        uploads.update(
            self.parent,
            name=self.folder.name,
            tags=self._sweep_tags() | {names.NOTE: text},
            params=runs.sweep_params(self.sweep.config),
            metrics=runs.sweep_metrics(self.sweep.results, self.sweep.front),
            step=len(self.sweep.results),
        )
        end = self.folder.path / "finished.json"
        uploads.set_status(self.parent, _STATUS[self.sweep.state], end=end)

    def _report(self) -> None:
        ended = [*self.sweep.results, *self.sweep.retrainings]
        shown = files.digest([self.sweep.state, *map(results.to_json, ended)])
        paths = [self.folder.tracking / n for n in ("front.json", "front.png", "report.html")]
        age = time.time() - (mtime(paths[-1]) / 1000 if paths[-1].exists() else 0.0)
        if shown == self.cursor.report or (self.sweep.state == "running" and age < REPORT_SECONDS):
            return
        files.write_json(paths[0], report.front_json(self.sweep))
        files.write_bytes(paths[1], report.png(self.sweep))
        trials = {uid: run.record.run_id for uid, run in self.cursor.trials.items()}
        files.write_text(paths[2], report.html(self.sweep, runs=trials))
        self.client.upload(self.parent.record.run_id, paths)
        self.cursor.report = shown
