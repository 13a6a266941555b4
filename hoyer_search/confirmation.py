"""Whether the winners of a sweep were luck: their retrainings with other seeds, in numbers.

The best of many noisy trials is likely to be one whose noise was kind (the winner's curse). So
each winner can be trained again a few times. It is confirmed at an operating point when the mean
validation accuracy of all its retrainings keeps the floor; one that failed refutes it.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hoyer_search.front import Front
from hoyer_search.results import Point, TrialResult

ROUNDING = 1e-9
"""Accuracy by which a mean may miss its floor: a mean of equal numbers is not always the number."""

MEASURES = ("val_accuracy", "test_accuracy", "nonzeros", "macs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and spread of some numbers; ``std`` is that of a sample, None of fewer than two."""

    mean: float
    std: float | None
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Returns the spread of one number or more."""
        return cls(
            mean=statistics.fmean(values),
            std=statistics.stdev(values) if len(values) > 1 else None,
            min=min(values),
            max=max(values),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What became of one operating point's winner when it was trained again.

    Attributes:
        point: The winner.
        floor: Validation accuracy to keep.
        wanted: Retrainings that are to be made.
        points: Its retrained networks, by repeat.
        failed: Retrainings that failed.
    """

    point: Point
    floor: float
    wanted: int
    points: list[Point]
    failed: int

    @property
    def confirmed(self) -> bool | None:
        """Returns whether the winner keeps its floor on average, None while that is not known."""
        if self.failed:
            return False
        if not self.points or len(self.points) < self.wanted:
            return None
        mean = statistics.fmean(point.val_accuracy for point in self.points)
        return mean >= self.floor - ROUNDING

    @property
    def spreads(self) -> dict[str, Spread]:
        """Returns mean and spread by measure; empty while no retraining has ended."""
        if not self.points:
            return {}
        return {name: Spread.of([getattr(p, name) for p in self.points]) for name in MEASURES}

    def describe(self) -> dict[str, Any]:
        """Returns all that ``hoyer-search show --json`` prints of it, as plain data."""
        return {
            "confirmed": self.confirmed,
            "wanted": self.wanted,
            "retrained": len(self.points),
            "failed": self.failed,
        } | {name: asdict(spread) for name, spread in self.spreads.items()}


def confirmations(
    front: Front, retrainings: Iterable[TrialResult], *, wanted: int
) -> dict[str, Confirmation]:
    """Returns what became of each operating point's winner; none where nothing is retrained.

    Args:
        front: The sweep's front, of its search alone.
        retrainings: Results of retrainings, those of former winners included.
        wanted: How often each winner is to be retrained.
    """
    ended = list(retrainings)
    found = {}
    for name, point in front.operating_points.items():
        if point is None:
            continue
        own = [r for r in ended if r.retrains and point.threshold in r.retrains.thresholds]
        own = [r for r in own if r.retrains and r.retrains.uid == point.uid]
        if not wanted and not own:
            continue
        found[name] = Confirmation(
            point=point,
            floor=front.floors[name],
            wanted=wanted,
            points=[p for r in own for p in r.points if p.threshold == point.threshold],
            failed=sum(r.state != "complete" for r in own),
        )
    return found


def confirmed_by_point(found: Iterable[Confirmation]) -> dict[str, bool | None]:
    """Returns, by a winner's name, whether it is confirmed wherever it is the winner.

    None where that is not known yet; a point that wins nowhere is not in it.
    """
    verdicts: dict[str, list[bool | None]] = {}
    for one in found:
        verdicts.setdefault(one.point.name, []).append(one.confirmed)
    return {name: _all(given) for name, given in verdicts.items()}


def spread_text(spread: Spread, *, percent: bool) -> str:
    """Returns a spread for a table, e.g. ``98.31% ±0.05 (98.26 to 98.37)``."""
    scale, digits, unit = (100, ".2f", "%") if percent else (1, ",.0f", "")
    mean, low, high = (f"{scale * v:{digits}}" for v in (spread.mean, spread.min, spread.max))
    deviation = "" if spread.std is None else f" ±{scale * spread.std:{digits}}"
    return f"{mean}{unit}{deviation} ({low} to {high})"


def verdict(confirmed: bool | None) -> str:
    """Returns ``yes``, ``no``, or ``not yet``."""
    return "not yet" if confirmed is None else "yes" if confirmed else "no"


def _all(verdicts: Sequence[bool | None]) -> bool | None:
    return False if False in verdicts else None if None in verdicts else True
