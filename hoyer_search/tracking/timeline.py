"""When trials ran, from their own journals: copied folders lose the dates of files."""

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hoyer_search.results import Progress, TrialResult
from hoyer_search.store import SweepFolder


@dataclass(frozen=True, slots=True)
class Span:
    """The time of one trial, from its first step to its last, in Unix seconds.

    A trial that was interrupted and resumed spans the time between.
    """

    uid: str
    start: float
    end: float


def spans(folder: SweepFolder, results: Iterable[TrialResult]) -> list[Span]:
    """Returns when trials ran, by their start; one that wrote no step is left out."""
    found = (_span(folder, result) for result in results)
    return sorted((span for span in found if span is not None), key=lambda span: span.start)


def lanes(spans: Sequence[Span]) -> list[int]:
    """Returns a row from 0 for each span, by start: as few rows as ran at once.

    Args:
        spans: By their start.
    """
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    rows: list[int] = []
    for span in spans:
        while busy and busy[0][0] <= span.start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        row = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (span.end, row))
        rows.append(row)
    return rows


def _span(folder: SweepFolder, result: TrialResult) -> Span | None:
    path = folder.trial(result.uid) / "metrics.jsonl"
    lines = path.read_bytes().splitlines() if path.is_file() else []
    first, last = next(_steps(lines), None), next(_steps(reversed(lines)), None)
    if first is None or last is None:
        return None
    end = last.time + result.wall_seconds.get("measure", 0.0)
    return Span(result.uid, first.time - first.wall_seconds, end)


def _steps(lines: Iterable[bytes]) -> Iterator[Progress]:
    """Yields the steps that lines hold; one torn by a power cut is left out."""
    for line in lines:
        try:
            yield Progress(**json.loads(line))
        except (ValueError, TypeError):
            continue
