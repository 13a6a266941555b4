"""Reading a sweep, from its folder or from MLflow, and networks from MLflow's registry."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from hoyer_search import results, tracking
from hoyer_search.confirmation import Confirmation, confirmations, confirmed_by_point
from hoyer_search.ending import used_hours
from hoyer_search.front import Front
from hoyer_search.reading import POINT_KEYS, Sweep, check_new_folder, copy_artifact
from hoyer_search.reading import SweepPoint as SweepPoint
from hoyer_search.results import Point, TrialResult, TrialSpec
from hoyer_search.store import SweepFolder, check_name

if TYPE_CHECKING:
    import pyarrow
    from torch import nn

    from hoyer_search.models.artifacts import Factory

DEFAULT_STORAGE = "runs"


class StoredSweep(Sweep):
    """A sweep, read from its folder."""

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"Sweep({self.name!r}, {self.state}, {len(self._folder.results())} trials ended)"

    @property
    def name(self) -> str:
        """Returns the sweep's name."""
        return self._folder.name

    @property
    def folder(self) -> Path:
        """Returns the sweep's folder."""
        return self._folder.path

    @property
    def state(self) -> str:
        """Returns ``running``, ``finished`` or ``interrupted``."""
        return self._folder.state()

    def _front(self) -> Front | None:
        return self._folder.front()

    def _confirmed(self) -> dict[str, bool | None]:
        return confirmed_by_point(self.confirmations().values())

    def _artifact(self, point: Point) -> Path:
        return self._folder.point(point.name)

    def _factory(self) -> str | None:
        return self._folder.config().model.factory

    def confirmations(self) -> dict[str, Confirmation]:
        """Returns what became of the winners when they were trained again, by operating point.

        It is empty unless the sweep has ``confirm``, and while no trial keeps a floor.
        """
        front = self._folder.front()
        if front is None:
            return {}
        wanted = self._folder.config().confirm
        return confirmations(front, self._folder.retrainings(), wanted=wanted)

    def trials(self) -> "pyarrow.Table":
        """Returns all trials by number: ``number, uid, state``, parameters, ``wall_seconds``."""
        import pyarrow

        rows = self.describe()["trials"]
        names = sorted({name for row in rows for name in row["params"]})
        table: dict[str, list[Any]] = {k: [r[k] for r in rows] for k in ("number", "uid", "state")}
        table |= {name: [row["params"].get(name) for row in rows] for name in names}
        table["wall_seconds"] = [row["wall_seconds"] for row in rows]
        return pyarrow.table(table)

    def describe(self) -> dict[str, Any]:
        """Returns the whole sweep as plain data: what ``hoyer-search show --json`` prints."""
        front, config = self._folder.front(), self._folder.config()
        ended = {r.uid: r for r in [*self._folder.results(), *self._folder.retrainings()]}
        state, finished, earlier = self.state, self._folder.finished(), self._folder.earlier()
        unfinished = "running" if state == "running" else "interrupted"
        found = self.confirmations()
        confirmed = confirmed_by_point(found.values())
        return {
            "sweep": self.name,
            "state": state,
            "stopped_by": None if finished is None else finished.stopped_by,
            "used": used_hours(self._folder.usage()),
            "warm_start_from": None
            if earlier is None
            else {
                "sweep": earlier.sweep,
                "trials": len(earlier.trials),
                "left_out": earlier.left_out,
            },
            "protocol": config.protocol,
            "budget": config.budget.model_dump(),
            "floors": {} if front is None else front.floors,
            "dense": None if front is None else results.to_json(front.dense),
            "trials": [
                _trial(spec, ended.get(spec.uid), unfinished) for spec in self._folder.specs()
            ],
            "retrainings": [
                _trial(spec, ended.get(spec.uid), unfinished) | {"retrains": spec.number}
                for spec in self._folder.retraining_specs()
            ],
            "front": []
            if front is None
            else [_plain(front, p) | {"confirmed": confirmed.get(p.name)} for p in front.points],
            "points": self._points(front, found),
        }

    def operating_points(self) -> dict[str, Any]:
        """Returns the best network of each operating point as plain data, as ``describe`` has it.

        None stands for a point whose floor no network keeps.
        """
        return self._points(self._folder.front(), self.confirmations())

    def _points(self, front: Front | None, found: dict[str, Confirmation]) -> dict[str, Any]:
        return {
            name: None
            if point is None or front is None
            else _plain(front, point)
            | {"floor": front.floors[name]}
            | {"confirmation": found[name].describe() if name in found else None}
            for name, point in ({} if front is None else front.operating_points).items()
        }


class TrackedSweep(Sweep):
    """A sweep, read from MLflow; it needs no folder.

    It is what was uploaded last. The networks are there once the sweep does not run any more.
    """

    def __init__(self, records: tracking.TrackedRecords) -> None:
        self._records = records

    def __repr__(self) -> str:
        return f"Sweep({self.name!r}, {self.state}, from MLflow)"

    @property
    def name(self) -> str:
        """Returns the sweep's name."""
        return self._records.name

    @property
    def state(self) -> str:
        """Returns ``running``, ``finished`` or ``interrupted``."""
        return self._records.state()

    def _front(self) -> Front | None:
        return self._records.front()

    def _confirmed(self) -> dict[str, bool | None]:
        return self._records.confirmed()

    def _artifact(self, point: Point) -> Path:
        return self._records.artifact(point)

    def _factory(self) -> str | None:
        return None  # a server may not say what code to run


@overload
def open_sweep(name: str, *, storage: str | os.PathLike[str] = ...) -> StoredSweep: ...


@overload
def open_sweep(name: str, *, tracking_uri: str) -> TrackedSweep: ...


def open_sweep(
    name: str,
    *,
    storage: str | os.PathLike[str] = DEFAULT_STORAGE,
    tracking_uri: str | None = None,
) -> Sweep:
    """Opens a sweep by its name, from its folder or, without that, from MLflow.

    Args:
        name: The sweep's name. Of several in MLflow it is the one that started last.
        storage: The folder that holds it.
        tracking_uri: MLflow store that it was run or synced with, read in place of the folder. A
            server's user and password are MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.

    Raises:
        StorageError: There is no such sweep.
        ConnectionFailed: MLflow does not answer, or refuses.
    """
    if tracking_uri is None:
        return StoredSweep(SweepFolder.open(Path(storage), name))
    check_name(name)
    return TrackedSweep(tracking.TrackedRecords(tracking_uri, name))


def load_model(
    uri: str, *, tracking_uri: str | None = None, factory: "Factory | None" = None
) -> "nn.Module":
    """Returns a registered network, in eval mode on the CPU.

    It is downloaded into the cache unless it is there; every byte is checked.

    Args:
        uri: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
        tracking_uri: MLflow store; by default ``$MLFLOW_TRACKING_URI``, else that of ``runs``.
        factory: The model factory, or its import path, of a network that is not built in.

    Raises:
        InputError: There is no such network, or MLflow does not answer.
        ArtifactError: What MLflow has is damaged, or needs a factory.
    """
    from hoyer_search import models

    return models.load_artifact(_registered(uri, tracking_uri), factory=factory)


def pull_model(
    uri: str, folder: str | os.PathLike[str], *, tracking_uri: str | None = None
) -> Path:
    """Copies the artefact of a registered network to a new folder and returns the folder.

    Args:
        uri: As in ``load_model``.
        folder: The new folder.
        tracking_uri: As in ``load_model``.

    Raises:
        InputError: As in ``load_model``; or the folder is not empty or cannot be written.
        ArtifactError: What MLflow has is damaged.
    """
    return copy_artifact(_registered(uri, tracking_uri), check_new_folder(folder))


def _registered(uri: str, tracking_uri: str | None) -> Path:
    default = os.environ.get("MLFLOW_TRACKING_URI") or tracking.default_uri(Path(DEFAULT_STORAGE))
    return tracking.registered_artifact(uri, tracking_uri or default)


def _trial(spec: TrialSpec, result: TrialResult | None, unfinished: str) -> dict[str, Any]:
    return {
        "number": spec.number,
        "uid": spec.uid,
        "state": result.state if result else unfinished,
        "params": spec.params,
        "parent": results.parent(spec, result),
        "wall_seconds": sum(result.wall_seconds.values()) if result else None,
        "error": result.error if result else None,
    }


def _plain(front: Front, point: Point) -> dict[str, Any]:
    record = dataclasses.asdict(point)
    return {k: record[k] for k in POINT_KEYS} | {
        "name": point.name,
        "uid": point.uid,
        "compression": front.compression(point),
    }
