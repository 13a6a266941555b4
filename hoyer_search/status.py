"""Where a sweep stands, as its folder says: trials by state, what runs, and the time left."""

from collections import Counter
from typing import Any

from hoyer_search.client import StoredSweep
from hoyer_search.results import TrialResult, TrialSpec
from hoyer_search.store import SweepFolder

STATES = ("running", "interrupted", "complete", "stopped", "failed")


def sweep_status(folder: SweepFolder) -> dict[str, Any]:
    """Returns a sweep's standing as plain data: what ``hoyer-search status --json`` prints.

    The keys are ``sweep``, ``state``, ``stopped_by``, ``trials`` (how many are ``running``,
    ``interrupted``, ``complete``, ``stopped``, ``failed``, and ``left`` to start), ``running``
    (the last step of each trial that has not ended), ``hours_left`` (None while no trial has
    ended, or nothing runs) and ``points`` (the best network of each operating point, as in
    ``show``).
    """
    sweep = StoredSweep(folder)
    described = sweep.describe()
    results = {r.uid: r for r in [*folder.results(), *folder.retrainings()]}
    specs = [*folder.specs(), *folder.retraining_specs()]
    running = [spec for spec in specs if spec.uid not in results]
    trials = [*described["trials"], *described["retrainings"]]
    states = Counter(trial["state"] for trial in trials)
    left = 0 if folder.finished() else folder.config().budget.trials - len(folder.specs())
    counts = {k: states[k] for k in STATES}
    steps = [_step(folder, spec) for spec in running]
    return {
        "sweep": folder.name,
        "state": described["state"],
        "stopped_by": described["stopped_by"],
        "trials": counts | {"left": max(0, left)},
        "running": steps,
        "hours_left": _hours_left([*results.values()], steps, max(0, left))
        if described["state"] == "running"
        else None,
        "points": described["points"],
    }


def _step(folder: SweepFolder, spec: TrialSpec) -> dict[str, Any]:
    """Returns the last step of a trial, and the seconds of all its stages so far."""
    last: dict[str, Any] = {}
    seconds: dict[tuple[str, int | None], float] = {}
    for last in folder.metrics(spec.uid):
        seconds[last.get("stage", ""), last.get("point")] = last.get("wall_seconds", 0.0)
    return {
        "number": spec.number,
        "uid": spec.uid,
        "params": spec.params,
        "stage": last.get("stage"),
        "point": last.get("point"),
        "epoch": last.get("epoch"),
        "epochs": last.get("epochs"),
        "val_accuracy": last.get("metrics", {}).get("val_accuracy"),
        "seconds": sum(seconds.values()),
    }


def _hours_left(ended: list[TrialResult], running: list[dict[str, Any]], left: int) -> float | None:
    """Returns the hours until the last trial, if they take as long as those that have ended."""
    seconds = [sum(result.wall_seconds.values()) for result in ended]
    seconds = [s for s in seconds if s > 0]
    if not seconds or not running:
        return None
    mean = sum(seconds) / len(seconds)
    open_seconds = sum(max(0.0, mean - step["seconds"]) for step in running)
    return float(left * mean + open_seconds) / len(running) / 3600
