"""Reading a sweep: its trials, its front, and its pruned networks."""

import dataclasses
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoyer_search import files, results
from hoyer_search.confirmation import Confirmation, confirmations, confirmed_by_point
from hoyer_search.ending import used_hours
from hoyer_search.errors import InputError, StorageError, unknown_name
from hoyer_search.front import Front
from hoyer_search.results import Point, TrialResult, TrialSpec
from hoyer_search.store import SweepFolder

if TYPE_CHECKING:
    import pyarrow
    from torch import nn

DEFAULT_STORAGE = "runs"
# The keys of a point that scripts rely on; the rest of a Point is detail.
POINT_KEYS = (
    "trial",
    "params",
    "threshold",
    "val_accuracy",
    "test_accuracy",
    "nonzeros",
    "macs",
    "physical_macs",
    "parameters",
    "structure",
)


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One pruned network of a sweep.

    Attributes:
        record: What was measured of it.
        artifact: The folder of its artefact.
    """

    record: Point
    artifact: Path

    def load_model(self) -> "nn.Module":
        """Returns the shrunk network, in eval mode on the CPU.

        A network of a user's own factory is built by the factory its sweep was started with: open
        the sweep where that module can be imported.

        Raises:
            ArtifactError: The artefact is damaged.
            PluginError: The factory cannot be imported.
        """
        from hoyer_search import models

        factory = SweepFolder(self.artifact.parent.parent).config().model.factory
        return models.load_artifact(self.artifact, factory=factory)

    def pull(self, folder: str | os.PathLike[str]) -> Path:
        """Copies the artefact to a new folder, checks every byte, and returns the folder.

        Raises:
            StorageError: The folder exists and is not empty, or cannot be written.
            ArtifactError: The artefact is damaged.
        """
        from hoyer_search.compression.artifact import verify

        target = Path(folder).absolute()
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise StorageError(f"{target} exists and is not empty: give a new folder")
        try:
            if target.is_dir():
                target.rmdir()
            with files.new_directory(target) as temporary:
                for file in self.artifact.iterdir():
                    # A link stays one and is refused below: it could name any file here.
                    shutil.copyfile(file, temporary / file.name, follow_symlinks=False)
                verify(temporary)
        except OSError as error:
            raise StorageError(f"{target} cannot be written: {error}") from error
        return target


class Sweep:
    """A sweep, read from its folder; nothing is cached, so a running one can be watched."""

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

    def front(self) -> "pyarrow.Table":
        """Returns the Pareto front by falling accuracy, a row a point.

        The columns are those of ``POINT_KEYS``, ``compression`` and ``confirmed``: whether a
        winner keeps its floor on average when it is trained again; null where that is not known.
        It is empty while no trial has ended.
        """
        import pyarrow

        front = self._folder.front()
        rows = [] if front is None else front.points
        table: dict[str, list[Any]] = {k: [getattr(p, k) for p in rows] for k in POINT_KEYS}
        table["compression"] = [front.compression(p) for p in rows] if front else []
        confirmed = confirmed_by_point(self.confirmations().values())
        table["confirmed"] = pyarrow.array([confirmed.get(p.name) for p in rows], pyarrow.bool_())
        return pyarrow.table(table)

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

    def point(self, name: str) -> SweepPoint:
        """Returns the network of an operating point (``"A"``), ``"knee"``, ``"best"`` or ``UID-K``.

        ``best`` is the sparsest network at the strictest operating point.

        Raises:
            InputError: There is no such point, or no trial keeps its floor yet.
        """
        front = self._front()
        named = dict(front.operating_points) | {"knee": front.knee}
        named["best"] = front.best(min_accuracy=max(front.floors.values()))
        named |= {p.name: p for p in front.points if p.name not in named}
        if name not in named:
            raise InputError(unknown_name(f"point of sweep {self.name}", name, named))
        point = named[name]
        if point is None:
            floor = front.floors.get(name, max(front.floors.values()))
            best = max((p.val_accuracy for p in front.points), default=float("nan"))
            raise InputError(
                f"no trial keeps the accuracy of point {name} yet: its floor is {floor:.4f}, the "
                f"best of {len(self._folder.results())} trials has {best:.4f}. Run more trials, "
                "or widen the search towards smaller decays"
            )
        return self._sweep_point(point)

    def best(self, *, min_accuracy: float) -> SweepPoint:
        """Returns the sparsest network with at least this validation accuracy, in [0, 1].

        Raises:
            InputError: No network of the sweep has it.
        """
        front = self._front()
        point = front.best(min_accuracy=min_accuracy)
        if point is None:
            best = max((p.val_accuracy for p in front.points), default=float("nan"))
            raise InputError(
                f"no network keeps a validation accuracy of {min_accuracy:.4f}; the best of this "
                f"sweep has {best:.4f}"
            )
        return self._sweep_point(point)

    def describe(self) -> dict[str, Any]:
        """Returns the whole sweep as plain data: what ``hoyer-search show --json`` prints."""
        front = self._folder.front()
        ended = {r.uid: r for r in [*self._folder.results(), *self._folder.retrainings()]}
        state, finished, earlier = self.state, self._folder.finished(), self._folder.earlier()
        unfinished = "running" if state == "running" else "interrupted"
        found = self.confirmations()
        confirmed = confirmed_by_point(found.values())
        points = {} if front is None else front.operating_points
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
            "protocol": self._folder.config().protocol,
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
            "points": {
                name: None
                if point is None or front is None
                else _plain(front, point)
                | {"floor": front.floors[name]}
                | {"confirmation": found[name].describe() if name in found else None}
                for name, point in points.items()
            },
        }

    def _front(self) -> Front:
        front = self._folder.front()
        if front is None or not front.points:
            raise InputError(f"sweep {self.name} has no finished trial yet")
        return front

    def _sweep_point(self, point: Point) -> SweepPoint:
        return SweepPoint(point, self._folder.point(point.name))


def open_sweep(name: str, *, storage: str | os.PathLike[str] = DEFAULT_STORAGE) -> Sweep:
    """Opens a sweep by its name.

    Args:
        name: The sweep's name.
        storage: The folder that holds it.

    Raises:
        StorageError: There is no such sweep.
    """
    return Sweep(SweepFolder.open(Path(storage), name))


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
