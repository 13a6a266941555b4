"""The log of one trial: its steps and its failures, as they lie in its folder."""

import time
from collections.abc import Iterator
from typing import Any

from hoyer_search import files
from hoyer_search.errors import InputError
from hoyer_search.store import SweepFolder

POLL_SECONDS = 1.0


def trial_log(
    folder: SweepFolder, number: int, *, follow: bool = False
) -> Iterator[dict[str, Any]]:
    """Yields what a trial has recorded: its steps, its failures (``error``), and its end.

    Args:
        folder: The sweep.
        number: The trial's number.
        follow: Whether to go on until the trial has ended, or the sweep runs no more.

    Raises:
        InputError: The sweep has no such trial.
    """
    spec = next((spec for spec in folder.specs() if spec.number == number), None)
    if spec is None:
        known = [spec.number for spec in folder.specs()]
        numbers = f"0 to {max(known)}" if known else "none yet"
        raise InputError(f"sweep {folder.name} has no trial {number}; its trials are {numbers}")
    steps = failures = 0
    while True:
        over = folder.result(spec.uid) is not None or not folder.running
        new = [*folder.metrics(spec.uid)][steps:]
        failed = _failures(folder, spec.uid)[failures:]
        steps, failures = steps + len(new), failures + len(failed)
        yield from sorted([*new, *failed], key=lambda entry: float(entry["time"]))
        if over or not follow:
            break
        time.sleep(POLL_SECONDS)
    result = folder.result(spec.uid)
    if result is not None:
        yield {"state": result.state, "points": [point.name for point in result.points]}


def _failures(folder: SweepFolder, uid: str) -> list[dict[str, Any]]:
    return [*files.read_lines(folder.trial(uid) / "failures.jsonl")]
