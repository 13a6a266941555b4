"""How a trial's failures are recorded in its folder, without the secrets that they quote."""

import json
import time

from hoyer_search import results
from hoyer_search.redaction import redact
from hoyer_search.results import TrialResult, TrialSpec
from hoyer_search.store import SweepFolder


def append_failure(folder: SweepFolder, spec: TrialSpec, error: str) -> int:
    """Appends a failed attempt to ``failures.jsonl`` of a trial.

    Args:
        folder: The sweep.
        spec: The trial.
        error: The attempt's traceback.

    Returns:
        How many attempts have failed, those before a restart included.
    """
    path = folder.trial(spec.uid) / "failures.jsonl"
    with path.open("a+", encoding="utf-8") as file:
        file.write(json.dumps({"time": time.time(), "error": redact(error)}) + "\n")
        file.seek(0)
        return sum(1 for _ in file)


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
