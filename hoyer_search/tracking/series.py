"""The numbers and colours that the report's figures and the picture share."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from operator import attrgetter

from hoyer_search import pareto
from hoyer_search.front import Front
from hoyer_search.results import Point, Sparsity, TrialResult, Value

# Okabe and Ito's colours, which colour-blind readers tell apart.
VERMILLION, SKY, GREEN, GREY = "#d55e00", "#56b4e9", "#009e73", "#8c8c8c"
BLUE, ORANGE, PURPLE = "#0072b2", "#e69f00", "#cc79a7"

MOST_POINTS = 1500
"""Most networks off the front that are drawn: more keep a browser busy for seconds."""

UNITS: dict[Sparsity, str] = {
    "nonzeros": "nonzero weights",
    "macs": "MACs",
    "physical_macs": "MACs (shrunk network)",
    "parameters": "parameters",
    "latency_ms": "milliseconds",
}


def rounded(values: Iterable[float]) -> list[float]:
    """Returns values with four digits, which is all that a figure shows."""
    return [float(f"{value:.4g}") for value in values]


def short(value: Value) -> str:
    """Returns a value with at most four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def curves(
    results: Sequence[TrialResult], front: Front, *, step: int = 1
) -> Iterator[tuple[int, list[float], list[float]]]:
    """Yields number, compressions and accuracies of each trial's curve.

    Curves know nonzeros and logical MACs only: with another objective there are none.

    Args:
        results: Trials that ended.
        front: The sweep's front.
        step: 2 takes every second threshold of each, and so on.
    """
    if front.sparsity not in ("nonzeros", "macs"):
        return
    size_of = attrgetter(front.sparsity)
    dense = size_of(front.dense)
    for result in results:
        curve = result.curve[::step]
        if curve:
            yield (
                result.number,
                [dense / max(size_of(point), 1) for point in curve],
                [point.val_accuracy for point in curve],
            )


def opacity(num_curves: int) -> float:
    """Returns how faint curves are to be: many faint lines add up to a solid one."""
    return max(0.08, 0.35 / max(1.0, num_curves / 50))


def staircase(front: Front) -> tuple[list[float], list[float]]:
    """Returns the corners of the best accuracy known at each compression, from 1 upwards."""
    x: list[float] = []
    y: list[float] = []
    at = 1.0
    for point in front.points:
        compression = front.compression(point)
        x += [at, compression]
        y += [point.val_accuracy, point.val_accuracy]
        at = compression
    return x, y


def labels(front: Front) -> dict[str, str]:
    """Returns the operating points that each point is the best of, by its name: ``"A, B"``."""
    found: dict[str, list[str]] = {}
    for name, point in front.operating_points.items():
        if point is not None:
            found.setdefault(point.name, []).append(name)
    return {name: ", ".join(operating) for name, operating in found.items()}


def accuracy_range(front: Front, others: Iterable[float] = ()) -> tuple[float, float]:
    """Returns the accuracies worth showing: floors, dense, others, and the front near to them.

    A network that has collapsed may be on the front; it would press all others together.
    """
    shown = [front.dense.val_accuracy, *front.floors.values(), *others]
    shown += [point.val_accuracy for point in front.points[:1]]
    room = max(max(shown) - min(shown), 0.01)
    near = min(shown) - 0.5 * room
    shown += [p.val_accuracy for p in front.points if p.val_accuracy >= near]
    low, high = min(shown), max(shown)
    return max(low - 0.25 * room, 0.0), min(high + 0.2 * room, 1.0 + 0.05 * room)


def in_view(points: Iterable[Point], front: Front) -> list[Point]:
    """Returns the points whose accuracy is worth showing."""
    low, _ = accuracy_range(front)
    return [point for point in points if point.val_accuracy >= low]


def drawn(points: Sequence[Point], front: Front) -> list[Point]:
    """Returns the points to draw: all, or of thousands the front and others spread evenly."""
    if len(points) <= MOST_POINTS:
        return list(points)
    members = {point.name for point in front.points}
    rest = in_view((point for point in points if point.name not in members), front)
    return [*front.points, *rest[:: math.ceil(len(rest) / MOST_POINTS) or 1]]


def largest_compression(results: Sequence[TrialResult], front: Front) -> float:
    """Returns the largest compression of a finetuned network worth showing, at least 2."""
    shown = in_view((point for result in results for point in result.points), front)
    return max([2.0, *(front.compression(point) for point in shown)])


def hypervolumes(results: Sequence[TrialResult], front: Front) -> list[float]:
    """Returns the hypervolume before any trial, and after each of the given ones in their order."""
    floor = min(front.floors.values())
    best: list[tuple[float, float]] = []
    areas = [0.0]
    for result in results:
        found = [(p.val_accuracy, math.log2(front.compression(p))) for p in result.points]
        new = [(a, d) for a, d in found if not any(a <= b and d <= c for b, c in best)]
        if not new:  # most trials: the front stays as it was
            areas.append(areas[-1])
            continue
        accuracy, doublings = zip(*best, *new, strict=True)
        kept = pareto.non_dominated(accuracy, [-d for d in doublings]).tolist()
        best = list(compress(zip(accuracy, doublings, strict=True), kept))
        areas.append(pareto.hypervolume(accuracy, doublings, floor=floor))
    return areas


def ticks(largest: float) -> list[float]:
    """Returns 1, 2, 5, 10, ... up to a compression."""
    decades_ = range(math.floor(math.log10(largest)) + 1)
    return [m * 10.0**k for k in decades_ for m in (1, 2, 5) if m * 10.0**k <= largest * 1.1]


def decades(low: float, high: float) -> list[float]:
    """Returns round values within a positive range, few enough for one axis."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 3 else (1,)
    found = [m * 10.0**k for k in exponents for m in steps]
    return [v for v in found if low * 0.999 <= v <= high * 1.001] or [low, high]
