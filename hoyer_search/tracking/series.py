"""The numbers and colours that the report's figures and the picture share."""

import math
from collections.abc import Iterator, Sequence

from hoyer_search.front import Front
from hoyer_search.results import Sparsity, TrialResult, Value

# Okabe and Ito's colours, which colour-blind readers tell apart.
VERMILLION, SKY, GREEN, GREY = "#d55e00", "#56b4e9", "#009e73", "#8c8c8c"

UNITS: dict[Sparsity, str] = {
    "nonzeros": "nonzero weights",
    "macs": "MACs",
    "physical_macs": "MACs (shrunk network)",
    "parameters": "parameters",
    "latency_ms": "milliseconds",
}


def short(value: Value) -> str:
    """Returns a value with at most four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def curves(
    results: Sequence[TrialResult], front: Front
) -> Iterator[tuple[int, list[float], list[float]]]:
    """Yields number, compressions and accuracies of each trial's curve.

    Curves know nonzeros and logical MACs only: with another objective there are none.
    """
    if front.sparsity not in ("nonzeros", "macs"):
        return
    dense = getattr(front.dense, front.sparsity)
    for result in results:
        if result.curve:
            sizes = [max(getattr(point, front.sparsity), 1) for point in result.curve]
            yield (
                result.number,
                [dense / size for size in sizes],
                [point.val_accuracy for point in result.curve],
            )


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


def accuracy_range(front: Front) -> tuple[float, float]:
    """Returns the accuracies worth showing: floors, front and dense, with some room."""
    shown = [front.dense.val_accuracy, *front.floors.values()]
    shown += [point.val_accuracy for point in front.points]
    low, high = min(shown), max(shown)
    room = max(high - low, 0.01)
    return max(low - 0.25 * room, 0.0), min(high + 0.2 * room, 1.0 + 0.05 * room)


def largest_compression(results: Sequence[TrialResult], front: Front) -> float:
    """Returns the largest compression of a finetuned network, at least 2."""
    return max([2.0, *(front.compression(p) for r in results for p in r.points)])


def hypervolumes(results: Sequence[TrialResult], front: Front) -> tuple[list[int], list[float]]:
    """Returns how many trials had ended, and the hypervolume then, from 0 trials on."""
    best = Front.of([], dense=front.dense, sparsity=front.sparsity, floors=front.floors)
    areas = [best.hypervolume]
    for result in results:
        candidates = [*best.points, *result.points]
        best = Front.of(candidates, dense=front.dense, sparsity=front.sparsity, floors=front.floors)
        areas.append(best.hypervolume)
    return list(range(len(areas))), areas


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
