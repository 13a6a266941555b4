"""Sweeps side by side: fronts of the same model and data, measured against one reference."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hoyer_search.config import SweepConfig
from hoyer_search.errors import InputError
from hoyer_search.front import Front
from hoyer_search.published import PublishedResult, published_for
from hoyer_search.results import Point
from hoyer_search.store import SweepFolder

_ALIKE = {
    "model.factory": "model",
    "model.arguments": "model's arguments",
    "data.source": "data set",
    "data.arguments": "data set's arguments",
    "objective.sparsity": "sparsity objective",
    "objective.accuracy": "accuracy",
}
"""What compared sweeps must agree in, by the path of the field."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Fronts that are measured alike: floors, dense network and reference are the first sweep's.

    Attributes:
        configs: Configurations of the sweeps by name, in the order given.
        trials: Trials that had ended, by sweep.
        fronts: Their fronts by name.
        published: Published results to stand beside them; their accuracies are of the test set.
    """

    configs: dict[str, SweepConfig]
    trials: dict[str, int]
    fronts: dict[str, Front]
    published: list[PublishedResult]

    @property
    def reference(self) -> Front:
        """Returns the first sweep's front, whose dense network and floors hold for all."""
        return next(iter(self.fronts.values()))

    def accuracy(self, row: PublishedResult) -> float:
        """Returns a published result's accuracy of the kind that the sweeps keep."""
        kind = next(iter(self.configs.values())).objective.accuracy
        value: float = getattr(row, kind)
        return value

    def published_cells(self, row: PublishedResult) -> list[str]:
        """Returns a published result in words.

        Method, source, table, compression, accuracy, what is left, structure.
        """
        return [
            row.method,
            row.source,
            str(row.table),
            f"{row.compression:.1f}x",
            f"{self.accuracy(row):.2%}",
            "" if row.size is None else f"{row.size:,}",
            row.structure or "",
        ]

    def describe(self) -> dict[str, Any]:
        """Returns the comparison as plain data: what ``hoyer-search compare --json`` prints."""
        reference = self.reference
        return {
            "sparsity": reference.sparsity,
            "floors": reference.floors,
            "reference": next(iter(self.fronts)),
            "sweeps": {
                name: {
                    "protocol": self.configs[name].protocol,
                    "trials": self.trials[name],
                    "hypervolume": front.hypervolume,
                    "points": {
                        point: best and _plain(front, best)
                        for point, best in front.operating_points.items()
                    },
                    "front": [_plain(front, point) for point in front.points],
                }
                for name, front in self.fronts.items()
            },
            "published": [asdict(row) for row in self.published],
        }


def compare(
    *sweeps: str,
    storage: str | os.PathLike[str] = "runs",
    published: Literal["paper"] | None = None,
) -> Comparison:
    """Compares the fronts of sweeps of the same model, data and objective.

    The first sweep is the reference: its dense network is what all are compared with, and its
    floors are kept by all. Published results are those of the DeepHoyer paper.

    Args:
        sweeps: Names of sweeps, two at least, or one beside published results.
        storage: The folder that holds them.
        published: ``"paper"`` for the rows of the paper's tables that fit.

    Raises:
        StorageError: There is no such sweep, or it is damaged.
        InputError: Too few sweeps, a sweep twice, without a finished trial, or unlike the first;
            or nothing published fits.
    """
    if len(set(sweeps)) < len(sweeps):
        raise InputError(f"give each sweep once; got {', '.join(sweeps)}")
    if len(sweeps) < (1 if published else 2):
        raise InputError("give two sweeps or more to compare, or one and --with paper")
    folders = {name: SweepFolder.open(Path(storage), name) for name in sweeps}
    configs = {name: folder.config() for name, folder in folders.items()}
    _check_alike(configs)
    ended = {name: folder.results() for name, folder in folders.items()}
    points = {name: [p for r in results for p in r.points] for name, results in ended.items()}
    first = next(iter(configs))
    return Comparison(
        configs=configs,
        trials={name: len(results) for name, results in ended.items()},
        fronts=_fronts(folders, points, configs[first]),
        published=_published(configs[first]) if published else [],
    )


def _check_alike(configs: Mapping[str, SweepConfig]) -> None:
    first, *others = configs
    wanted = _fields(configs[first])
    for name in others:
        for path, value in _fields(configs[name]).items():
            if value != wanted[path]:
                raise InputError(
                    f"compared sweeps need the same {_ALIKE[path]}: {first} has {path} "
                    f"{wanted[path]!r}, {name} has {value!r}. Compare each with its like"
                )


def _fields(config: SweepConfig) -> dict[str, Any]:
    plain = config.model_dump(mode="json")
    return {path: plain[path.split(".")[0]][path.split(".")[1]] for path in _ALIKE}


def _fronts(
    folders: Mapping[str, SweepFolder], points: Mapping[str, Sequence[Point]], config: SweepConfig
) -> dict[str, Front]:
    for name in folders:
        if not points[name]:
            raise InputError(
                f"sweep {name} has no finished trial yet: leave it out, or wait for one"
            )
    dense = folders[next(iter(folders))].dense()
    if dense is None:
        raise InputError(f"sweep {next(iter(folders))} has lost its dense network")
    floors = config.objective.floors(dense.val_accuracy)
    return {
        name: Front.of(found, dense=dense, sparsity=config.objective.sparsity, floors=floors)
        for name, found in points.items()
    }


def _published(config: SweepConfig) -> list[PublishedResult]:
    rows = published_for(config)
    if not rows:
        raise InputError(
            f"the paper's tables have no {config.model.factory} on {config.data.source} by "
            f"{config.objective.sparsity} and {config.objective.accuracy}: leave out --with paper"
        )
    return rows


def _plain(front: Front, point: Point) -> dict[str, Any]:
    return {
        "name": point.name,
        "trial": point.trial,
        "val_accuracy": point.val_accuracy,
        "test_accuracy": point.test_accuracy,
        "nonzeros": point.nonzeros,
        "macs": point.macs,
        "compression": front.compression(point),
        "structure": point.structure,
        "threshold": point.threshold,
    }
