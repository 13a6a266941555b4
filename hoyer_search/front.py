"""The Pareto record of a sweep: its front, its operating points, its knee, its hypervolume."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hoyer_search import pareto
from hoyer_search.results import Dense, Point, Sparsity


def size(record: Point | Dense, sparsity: Sparsity) -> float:
    """Returns what a sparsity objective minimises: a count, or milliseconds."""
    if sparsity == "latency_ms":
        latency = record.latency_ms
        return latency if isinstance(latency, float) else latency["shrunk"]
    return float(getattr(record, sparsity))


@dataclass(frozen=True, slots=True)
class Front:
    """The non-dominated points of a sweep, and the best of them at each operating point.

    Attributes:
        dense: The network they are compared with.
        sparsity: The sparsity objective.
        floors: Validation accuracy each operating point must keep, strictest first.
        points: Non-dominated points by falling accuracy.
    """

    dense: Dense
    sparsity: Sparsity
    floors: dict[str, float]
    points: list[Point]

    @classmethod
    def of(
        cls,
        points: Iterable[Point],
        *,
        dense: Dense,
        sparsity: Sparsity,
        floors: Mapping[str, float],
    ) -> "Front":
        """Returns the front of the given points; they may come from any number of trials."""
        candidates = list(points)
        kept = pareto.non_dominated(
            [p.val_accuracy for p in candidates], [size(p, sparsity) for p in candidates]
        )
        best = [p for p, keep in zip(candidates, kept, strict=True) if keep]
        return cls(
            dense=dense,
            sparsity=sparsity,
            floors=dict(sorted(floors.items(), key=lambda item: -item[1])),
            points=sorted(best, key=lambda p: -p.val_accuracy),
        )

    def compression(self, point: Point) -> float:
        """Returns how many times smaller than the dense network a point is."""
        return size(self.dense, self.sparsity) / max(
            size(point, self.sparsity), 1e-9 if self.sparsity == "latency_ms" else 1.0
        )

    def times(self, point: Point) -> str:
        """Returns the compression in words, e.g. ``11.2x``; ``>736.0x`` if nothing is left."""
        more = "" if size(point, self.sparsity) else ">"
        return f"{more}{self.compression(point):.1f}x"

    def best(self, *, min_accuracy: float) -> Point | None:
        """Returns the smallest point whose validation accuracy is at least ``min_accuracy``."""
        return next((p for p in reversed(self.points) if p.val_accuracy >= min_accuracy), None)

    @property
    def operating_points(self) -> dict[str, Point | None]:
        """Returns the best point of each operating point, None where no point keeps its floor."""
        return {name: self.best(min_accuracy=floor) for name, floor in self.floors.items()}

    @property
    def knee(self) -> Point | None:
        """Returns the point where the front bends most, None for an empty front."""
        if not self.points:
            return None
        return self.points[
            pareto.knee(
                [p.val_accuracy for p in self.points],
                [math.log2(self.compression(p)) for p in self.points],
            )
        ]

    @property
    def hypervolume(self) -> float:
        """Returns the area dominated above the loosest floor (see ``pareto.hypervolume``)."""
        return pareto.hypervolume(
            [p.val_accuracy for p in self.points],
            [math.log2(self.compression(p)) for p in self.points],
            floor=min(self.floors.values()),
        )
