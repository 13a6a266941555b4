"""Runs found, made and kept up to date: only what differs from their record is sent."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from hoyer_search.tracking import names
from hoyer_search.tracking.client import Client
from hoyer_search.tracking.cursor import RunCursor
from hoyer_search.tracking.records import RunRecord, Sample


class Uploads:
    """Writes the runs of one sweep.

    Args:
        client: MLflow.
        experiment: Id of the sweep's experiment.
        identity: The sweep.

    Attributes:
        samples: Values of metrics sent.
        created: Runs created.
    """

    def __init__(self, client: Client, experiment: str, identity: names.Identity) -> None:
        self.samples = self.created = 0
        self._client, self._experiment, self._identity = client, experiment, identity
        self._known: dict[str, RunRecord] | None = None

    def run(self, uid: str, *, name: str, tags: Mapping[str, str], start: int) -> RunCursor:
        """Returns the run of a trial, or of the sweep if the uid is empty; creates it if need be.

        MLflow creates a second run when asked twice, so an existing one is looked for first.
        """
        if self._known is None:
            self._known = self._find()
        if uid in self._known:
            return RunCursor(self._known[uid])
        run_id = self._client.create_run(self._experiment, name=name, tags=tags, start=start)
        self.created += 1
        return RunCursor(RunRecord(run_id, name=name, status="RUNNING", tags=dict(tags)))

    def _find(self) -> dict[str, RunRecord]:
        """Returns the sweep's runs by uid.

        A request that a slow server did after it was given up and repeated makes a run twice:
        one of the two stays.
        """
        found: dict[str, RunRecord] = {}
        for record in reversed(
            self._client.find_runs(
                self._experiment, tag=names.SWEEP_ID, value=self._identity.sweep_id
            )
        ):
            if found.setdefault(record.tags.get(names.UID, ""), record) is not record:
                self._client.delete_run(record.run_id)
        return found

    def update(
        self,
        run: RunCursor,
        *,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        metrics: Mapping[str, float] = MappingProxyType({}),
        curves: Sequence[Sample] = (),
        time: int = 0,
        changed: int = 0,
    ) -> None:
        """Sends what differs from the run's record, in one batch, and records it.

        Args:
            run: The run.
            name: Its name.
            tags: Its tags; others it has are left alone.
            params: Its parameters; MLflow never changes one that is set.
            metrics: Last values of its metrics.
            curves: Further values of metrics, sent as they are.
            time: When the metrics came to be that the run has not yet, in Unix milliseconds.
            changed: When those came to be that it has with other values.
        """
        record = run.record
        new = {k: v for k, v in metrics.items() if record.metrics.get(k) != v}
        new_tags = {k: v for k, v in tags.items() if record.tags.get(k) != v}
        new_params = {k: v for k, v in params.items() if k not in record.params}
        times = {k: changed if k in record.metrics else time for k in new}
        samples = [*curves, *(Sample(k, v, times[k]) for k, v in new.items())]
        self._client.log(record.run_id, samples=samples, params=new_params, tags=new_tags)
        record.metrics |= new
        record.tags |= new_tags
        record.params |= new_params
        self.samples += len(samples)
        if record.name != name:
            self._client.rename_run(record.run_id, name)
            record.name = name

    def series(self, run: RunCursor, rows: Sequence[Sequence[Sample]]) -> None:
        """Sends rows of metrics that a run gets one after the other, and records the last.

        Args:
            run: The run; its cursor counts its rows.
            rows: Those that it lacks, in order.
        """
        if not rows:
            return
        samples = [sample for row in rows for sample in row]
        self._client.log(run.record.run_id, samples=samples)
        run.record.metrics |= {sample.key: sample.value for sample in rows[-1]}
        run.lines += len(rows)
        self.samples += len(samples)

    def set_status(self, run: RunCursor, status: str, *, end: Path) -> None:
        """Sets the status of a run, which ended when the file ``end`` was written, or now."""
        if run.record.status != status:
            time_ms = mtime(end) if end.exists() else int(time.time() * 1000)
            self._client.set_status(run.record.run_id, status, end=time_ms)
            run.record.status = status


def mtime(path: Path) -> int:
    """Returns when a file was written, in Unix milliseconds."""
    return int(path.stat().st_mtime * 1000)
