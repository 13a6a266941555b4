"""What can be read of any sweep, wherever its records lie: its front and its networks."""

import os
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoyer_search import files
from hoyer_search.errors import InputError, StorageError, unknown_name
from hoyer_search.front import Front
from hoyer_search.results import Point

if TYPE_CHECKING:
    import pyarrow
    from torch import nn

    from hoyer_search.models.artifacts import Factory

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


class Sweep(ABC):
    """A sweep; nothing of it is kept in memory, so a running one can be watched."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Returns the sweep's name."""

    @property
    @abstractmethod
    def state(self) -> str:
        """Returns ``running``, ``finished`` or ``interrupted``."""

    @abstractmethod
    def _front(self) -> Front | None:
        """Returns the front so far, None before the dense network is known."""

    @abstractmethod
    def _confirmed(self) -> dict[str, bool | None]:
        """Returns whether retrained winners keep their floor, by the point's name."""

    @abstractmethod
    def _artifact(self, point: Point) -> Path:
        """Returns the folder of a point's artefact on this machine."""

    @abstractmethod
    def _factory(self) -> str | None:
        """Returns the model factory that the user gave the sweep, None where that is not known."""

    def front(self) -> "pyarrow.Table":
        """Returns the Pareto front by falling accuracy, a row a point.

        The columns are those of ``POINT_KEYS``, ``compression`` and ``confirmed``: whether a
        winner keeps its floor on average when it is trained again; null where that is not known.
        It is empty while no trial has ended.
        """
        import pyarrow

        front = self._front()
        rows = [] if front is None else front.points
        table: dict[str, list[Any]] = {k: [getattr(p, k) for p in rows] for k in POINT_KEYS}
        table["compression"] = [front.compression(p) for p in rows] if front else []
        confirmed = self._confirmed()
        table["confirmed"] = pyarrow.array([confirmed.get(p.name) for p in rows], pyarrow.bool_())
        return pyarrow.table(table)

    def point(self, name: str) -> "SweepPoint":
        """Returns the network of an operating point (``"A"``), ``"knee"``, ``"best"`` or ``UID-K``.

        ``best`` is the sparsest network at the strictest operating point. An operating point that
        is called ``best`` or ``knee`` itself has the name.

        Raises:
            InputError: There is no such point, or no trial keeps its floor yet.
        """
        front = self._some_front()
        named: dict[str, Point | None] = {p.name: p for p in front.points}
        named["knee"] = front.knee
        named["best"] = front.best(min_accuracy=max(front.floors.values()))
        named |= front.operating_points
        if name not in named:
            raise InputError(unknown_name(f"point of sweep {self.name}", name, named))
        point = named[name]
        if point is None:
            floor = front.floors.get(name, max(front.floors.values()))
            raise InputError(
                f"no trial keeps the accuracy of point {name} yet: its floor is {floor:.4f}, the "
                f"best network has {front.points[0].val_accuracy:.4f}. Run more trials, or widen "
                "the search towards smaller decays"
            )
        return SweepPoint(point, self)

    def best(
        self,
        *,
        min_accuracy: float | None = None,
        max_macs: float | None = None,
        max_latency_ms: float | None = None,
    ) -> "SweepPoint":
        """Returns the best network of the front within some bounds; at least one is needed.

        With ``min_accuracy`` it is the sparsest, without it the most accurate.

        Args:
            min_accuracy: Least validation accuracy, in [0, 1].
            max_macs: Most logical MACs for one example, the paper's count.
            max_latency_ms: Most milliseconds for one example, as measured by its trial.

        Raises:
            InputError: No bound is given, or no network of the front is within them.
        """
        given = {
            "min_accuracy": min_accuracy,
            "max_macs": max_macs,
            "max_latency_ms": max_latency_ms,
        }
        if all(bound is None for bound in given.values()):
            raise InputError(f"give at least one of {', '.join(given)}")
        within = [
            p
            for p in self._some_front().points
            if (min_accuracy is None or p.val_accuracy >= min_accuracy)
            and (max_macs is None or p.macs <= max_macs)
            and (max_latency_ms is None or p.latency_ms["shrunk"] <= max_latency_ms)
        ]
        if not within:
            raise InputError(self._nothing_within(given))
        return SweepPoint(within[0 if min_accuracy is None else -1], self)

    def _nothing_within(self, given: dict[str, float | None]) -> str:
        points = self._some_front().points
        reached = {
            "min_accuracy": max(p.val_accuracy for p in points),
            "max_macs": min(p.macs for p in points),
            "max_latency_ms": min(p.latency_ms["shrunk"] for p in points),
        }
        asked = ", ".join(f"{k} {v:g}" for k, v in given.items() if v is not None)
        best = ", ".join(f"{k} {reached[k]:.4g}" for k, v in given.items() if v is not None)
        return (
            f"no network of sweep {self.name} is within {asked}; one by one, its front reaches "
            f"{best}. Loosen a bound or run more trials"
        )

    def _some_front(self) -> Front:
        front = self._front()
        if front is None or not front.points:
            raise InputError(f"sweep {self.name} has no finished trial yet")
        return front


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One pruned network of a sweep.

    Attributes:
        record: What was measured of it.
        sweep: The sweep.
    """

    record: Point
    sweep: Sweep

    @property
    def artifact(self) -> Path:
        """Returns the folder of its artefact, not to be changed.

        That of a sweep read from MLflow is downloaded into the cache unless it is there.

        Raises:
            InputError: The network is not in MLflow, or MLflow does not answer.
            ArtifactError: What MLflow has is damaged.
        """
        return self.sweep._artifact(self.record)

    def load_model(self, *, factory: "Factory | None" = None) -> "nn.Module":
        """Returns the shrunk network, in eval mode on the CPU.

        Args:
            factory: The model factory, or its import path, of a network that is not built in. A
                sweep opened from its folder has it; of one read from MLflow give it yourself.

        Raises:
            ArtifactError: The artefact is damaged or needs a factory.
            PluginError: The factory cannot be imported.
        """
        from hoyer_search import models

        if factory is None:
            factory = self.sweep._factory()
        return models.load_artifact(self.artifact, factory=factory)

    def pull(self, folder: str | os.PathLike[str]) -> Path:
        """Copies the artefact to a new folder, checks every byte, and returns the folder.

        Raises:
            StorageError: The folder exists and is not empty, or cannot be written.
            ArtifactError: The artefact is damaged.
        """
        check_new_folder(folder)
        return copy_artifact(self.artifact, folder)


def check_new_folder(folder: str | os.PathLike[str]) -> Path:
    """Returns the absolute path of a folder that is not there, or empty.

    Raises:
        StorageError: It holds something, or is a file.
    """
    target = Path(folder).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StorageError(f"{target} exists and is not empty: give a new folder")
    return target


def copy_artifact(artifact: Path, folder: str | os.PathLike[str]) -> Path:
    """Copies an artefact to a new folder, every byte checked, and returns the folder.

    Raises:
        StorageError: The folder exists and is not empty, or cannot be written.
        ArtifactError: The artefact is damaged.
    """
    from hoyer_search.compression.artifact import MANIFEST, verify

    target = check_new_folder(folder)
    contents = verify(artifact)
    try:
        if target.is_dir():
            target.rmdir()
        with files.new_directory(target) as temporary:
            for name, content in contents.items():
                (temporary / name).write_bytes(content)
            shutil.copyfile(artifact / MANIFEST, temporary / MANIFEST, follow_symlinks=False)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error}") from error
    return target
