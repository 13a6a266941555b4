"""Uploads to MLflow whatever of a sweep's folder lies behind the cursor; idempotent."""

import logging
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from filelock import FileLock

from hoyer_search import files
from hoyer_search.errors import StorageError
from hoyer_search.results import TrialResult, TrialSpec
from hoyer_search.store import SweepFolder
from hoyer_search.tracking import links, names, note, registry, report, runs, views
from hoyer_search.tracking.address import default_uri
from hoyer_search.tracking.client import Client
from hoyer_search.tracking.cursor import Cursor
from hoyer_search.tracking.edge import RecordGone
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


def sync(
    folder: SweepFolder,
    uri: str | None = None,
    *,
    running: bool | None = None,
    client: Client | None = None,
) -> SyncReport:
    """Brings MLflow up to date with a sweep's folder.

    While the sweep runs, what MLflow has acknowledged is not sent again. After a sync that broke
    off nobody knows what of it had arrived: then, and once the sweep does not run, MLflow is asked
    what it holds, and whatever it lacks or lost is made again. That is also when front points are
    registered.

    Args:
        folder: The sweep's folder.
        uri: Tracking URI; by default the database beside the sweep's folder.
        running: Whether a driver runs the sweep; asked of the folder by default.
        client: A connection to the URI, kept between calls.

    Raises:
        ConnectionFailed: MLflow does not answer, or refuses. The next call goes on.
        StorageError: The folder is damaged or cannot be written.
    """
    uri = uri or default_uri(folder.path.parent)
    folder.tracking.mkdir(exist_ok=True)
    path = folder.tracking / "cursor.json"
    with FileLock(folder.tracking / "sync.lock"):
        client = client or new_client(folder, uri)
        sweep = Snapshot.of(folder, running=running)
        cursor = Cursor.load(path, uri=uri)
        if sweep.state != "running" or not cursor.whole:
            cursor = Cursor.new(uri)
        try:
            return _upload(client, sweep, cursor)
        except RecordGone as gone:
            log.info("uploading sweep %s afresh: %s", folder.name, gone)
            return _upload(client, sweep, Cursor.new(uri))
        except OSError as error:
            raise StorageError(f"{folder.tracking} cannot be written: {error}") from error


def new_client(folder: SweepFolder, uri: str) -> Client:
    """Returns a connection for the syncs of a sweep.

    Raises:
        ConnectionFailed: The URI cannot be used.
    """
    return Client(uri, artifacts=folder.path.parent / "mlartifacts")


def _upload(client: Client, sweep: Snapshot, cursor: Cursor) -> SyncReport:
    """Uploads what the cursor lacks; on disk the cursor is whole only where this ended well."""
    path = sweep.folder.tracking / "cursor.json"
    cursor.whole = False
    cursor.save(path)
    done = _Walk(client, sweep, cursor).go()
    cursor.whole = True
    cursor.save(path)
    return done


def sweep_link(
    folder: SweepFolder, uri: str | None = None, *, port: int = links.UI_PORT
) -> str | None:
    """Returns the address of a sweep's front in MLflow, None before the first sync.

    It asks nobody but the cursor.

    Args:
        folder: The sweep.
        uri: Tracking URI; by default the database beside the sweep's folder.
        port: Of the pages of a local database, which has some while ``hoyer-search ui`` runs.
    """
    uri = uri or default_uri(folder.path.parent)
    cursor = Cursor.load(folder.tracking / "cursor.json", uri=uri)
    if cursor.experiment is None:
        return None
    return _link(uri, cursor.experiment, names.Identity.of(folder, folder.config()), port=port)


def _link(uri: str, experiment: str, identity: names.Identity, *, port: int = links.UI_PORT) -> str:
    key = views.front_key(identity.sweep_id)
    return links.page(uri, port=port) + links.view(experiment, key, chart=True)


class _Walk:
    """One walk over a sweep's folder."""

    def __init__(self, client: Client, sweep: Snapshot, cursor: Cursor) -> None:
        self.client, self.sweep, self.cursor = client, sweep, cursor
        self.folder = sweep.folder
        self.identity = names.Identity.of(sweep.folder, sweep.config)
        self.ended = {r.uid: r for r in [*sweep.results, *sweep.retrainings]}
        self.ended_at = {uid: mtime(self.folder.trial(uid) / "result.json") for uid in self.ended}
        self.latest = max(self.ended_at.values(), default=0)
        self.on_front: dict[str, list[str]] = {}
        for point in sweep.front.points if sweep.front else []:
            self.on_front.setdefault(point.uid, []).append(point.name)

    def go(self) -> SyncReport:
        """Uploads everything."""
        if self.cursor.experiment is None:
            self.cursor.experiment = self.client.experiment(self.identity.experiment)
        uploads = Uploads(self.client, self.cursor.experiment, self.identity)
        self._set_views(self.cursor.experiment)
        self._start_sweep(uploads)
        for spec in [*self.sweep.specs, *self.sweep.retraining_specs]:
            if not self._shown(spec):
                self._trial(uploads, spec, self.ended.get(spec.uid))
        if self.sweep.state != "running":
            registry.register(self.client, self.sweep, self.cursor, self.identity)
        self._sweep(uploads, self.cursor.experiment)
        self._report()
        return SyncReport(
            link=_link(self.client.uri, self.cursor.experiment, self.identity),
            samples=uploads.samples,
            runs=uploads.created,
            versions=len(self.cursor.versions),
        )

    def _shown(self, spec: TrialSpec) -> bool:
        """Returns whether MLflow shows an ended trial as it is, without looking at all of it.

        Of an ended trial only its place on the front can change. At the end of a sweep all are
        looked at nevertheless.
        """
        run, result = self.cursor.trials.get(spec.uid), self.ended.get(spec.uid)
        if run is None or result is None or self.sweep.state != "running":
            return False
        place = self.on_front.get(spec.uid, ["no"])
        shown = run.record.tags.get(names.FRONT, "").split(",")
        return runs.settled(run.record, result) and sorted(shown) == sorted(place)

    def _set_views(self, experiment: str) -> None:
        tags = views.tags(
            self.identity,
            searched=runs.log_names(self.sweep.config),
            points=self.sweep.config.objective.points,
            created=mtime(self.folder.path / "sweep.yaml"),
        )
        if self.cursor.views != files.digest(tags):
            note = views.description(experiment, self.client.description(experiment))
            self.client.tag_experiment(experiment, tags | {names.NOTE: note})
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
        tags[names.PARENT] = self.parent.record.run_id
        started = mtime(folder / "spec.json")
        if spec.uid not in self.cursor.trials:
            self.cursor.trials[spec.uid] = uploads.run(
                spec.uid, name=name, tags=tags, start=started
            )
        run = self.cursor.trials[spec.uid]
        status = runs.trial_status(result, running=self.sweep.state == "running")
        settled = result is not None and runs.settled(run.record, result)
        lines = [] if settled else list(islice(self.folder.metrics(spec.uid), run.lines, None))
        uploads.update(
            run,
            name=name,
            tags=tags,
            params=runs.trial_params(spec),
            metrics=runs.trial_metrics(spec, result, self.sweep.front, self.sweep.config),
            curves=[] if settled else runs.curves(lines, result, time=started),
            time=self.ended_at.get(spec.uid, started),
            changed=max(self.latest, started),
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
        text = note.sweep_note(
            self.sweep, links=pages, trials=trials, picture=picture, uri=self.client.uri
        )
        self._series(uploads)
        uploads.update(
            self.parent,
            name=self.folder.name,
            tags=self._sweep_tags() | {names.NOTE: text},
            params=runs.sweep_params(self.sweep.config),
        )
        end = self.folder.path / "finished.json"
        uploads.set_status(self.parent, _STATUS[self.sweep.state], end=end)

    def _series(self, uploads: Uploads) -> None:
        """Sends the sweep's metrics after each trial that ended since the last sync."""
        run, front = self.parent, self.sweep.front
        ended = sorted(self.sweep.results, key=lambda result: self.ended_at[result.uid])
        if not run.lines and ended and runs.sweep_metrics(ended, front) == run.record.metrics:
            run.lines = len(ended)  # rows are sent in order: the last is there, so all are
        times = [self.ended_at[result.uid] for result in ended]
        uploads.series(run, runs.sweep_series(ended, times, front, first=run.lines))

    def _report(self) -> None:
        shown = files.digest([self.sweep.state, sorted(self.ended_at.items())])
        front, *pages = (
            self.folder.tracking / n for n in ("front.json", "front.png", "report.html")
        )
        if shown != self.cursor.front and self._due(front, REPORT_SECONDS):
            files.write_json(front, report.front_json(self.sweep))
            self.client.upload(self.parent.record.run_id, [front])
            self.cursor.front = shown
        # Drawing takes longer the more trials there are.
        if shown != self.cursor.report and self._due(
            pages[-1], max(REPORT_SECONDS, len(self.ended))
        ):
            files.write_bytes(pages[0], report.png(self.sweep))
            trials = {uid: run.record.run_id for uid, run in self.cursor.trials.items()}
            shown_page = report.html(self.sweep, runs=trials, uri=self.client.uri)
            files.write_text(pages[1], shown_page)
            self.client.upload(self.parent.record.run_id, pages)
            self.cursor.report = shown

    def _due(self, path: Path, seconds: float) -> bool:
        """Returns whether a file is to be written again: at the end, and now and then before."""
        if self.sweep.state != "running" or not path.exists():
            return True
        return time.time() - mtime(path) / 1000 >= seconds
