"""How a trial's failures are recorded in its folder, without the secrets that they quote."""

import json
import time

from hoyer_search import files, results
from hoyer_search.errors import DataError, TrialDiverged
from hoyer_search.redaction import redact
from hoyer_search.results import TrialResult, TrialSpec
from hoyer_search.store import SweepFolder

MAX_FAILURES = 3
"""Attempts of a trial that may fail before it counts as failed."""

NO_SPACE = "no space"
"""What a trial's last report says when it cannot be written down, in place of how it ended."""


def is_permanent(error: Exception) -> bool:
    """Returns whether another attempt at the trial would fail as well.

    It would where training diverged, or where the data that were read are wrong. An error that was
    raised while they were read may pass.
    """
    wrong_data = isinstance(error, DataError) and error.__cause__ is None
    return wrong_data or isinstance(error, TrialDiverged)


def add_failure(
    folder: SweepFolder, spec: TrialSpec, error: str, *, final: bool = False
) -> TrialResult | None:
    """Notes a failed attempt in ``failures.jsonl`` of a trial; the third one is the last.

    Args:
        folder: The sweep.
        spec: The trial.
        error: The attempt's traceback, or what befell it.
        final: Whether another attempt would fail as well.

    Returns:
        The trial's result when it failed for good, None when it is to be tried again.
    """
    path = folder.trial(spec.uid) / "failures.jsonl"
    files.append_line(path, json.dumps({"time": time.time(), "error": redact(error)}))
    failures = sum(1 for _ in files.read_lines(path))  # those before a restart included
    return record_failed(folder, spec, error) if final or failures >= MAX_FAILURES else None


def record_failed(folder: SweepFolder, spec: TrialSpec, error: str) -> TrialResult:
    """Writes the result of a trial that failed for good, and returns it."""
    result = TrialResult(
        number=spec.number,
        uid=spec.uid,
        params=spec.params,
        state="failed",
        dense=folder.dense(),
        error=redact(error),
        retrains=spec.retrains,
    )
    results.save(folder.trial(spec.uid) / "result.json", result)
    return result
