"""Where a sweep stands, as its folder says: trials by state, what runs, and the time left."""

from collections import Counter
from typing import Any

from hoyer_search import spaces
from hoyer_search.client import StoredSweep
from hoyer_search.results import TrialResult, TrialSpec
from hoyer_search.store import SweepFolder

STATES = ("running", "interrupted", "complete", "stopped", "failed")


def sweep_status(folder: SweepFolder) -> dict[str, Any]:
    """Returns a sweep's standing as plain data: what ``hoyer-search status --json`` prints.

    The keys are ``sweep``, ``state``, ``stopped_by``, ``trials`` (as in ``trial_counts``),
    ``running`` (the last step of each trial that has not ended), ``hours_left`` (None while no
    trial has ended, or nothing runs) and ``points`` (the best network of each operating point, as
    in ``show``).
    """
    state, finished, ended = folder.state(), folder.finished(), folder.all_results()
    counts = trial_counts(folder, state)
    known = {result.uid for result in ended}
    steps = [_step(folder, spec) for spec in folder.all_specs() if spec.uid not in known]
    return {
        "sweep": folder.name,
        "state": state,
        "stopped_by": None if finished is None else finished.stopped_by,
        "trials": counts,
        "running": steps,
        "hours_left": _hours_left(ended, steps, counts["left"]) if state == "running" else None,
        "points": StoredSweep(folder).operating_points(),
    }


def trial_counts(folder: SweepFolder, state: str) -> dict[str, int]:
    """Returns how many trials of a sweep, retrainings included, stand where.

    Args:
        folder: The sweep.
        state: Its state, as ``SweepFolder.state`` returns it.

    Returns:
        How many are ``running``, ``interrupted``, ``complete``, ``stopped``, ``failed``, and
        ``left`` to start.
    """
    states = {result.uid: result.state for result in folder.all_results()}
    specs = folder.all_specs()
    unfinished = "running" if state == "running" else "interrupted"
    counted = Counter(states.get(spec.uid, unfinished) for spec in specs)
    begun = sum(spec.retrains is None for spec in specs)
    left = 0 if folder.finished() else max(0, _num_trials(folder) - begun)
    return {name: counted[name] for name in STATES} | {"left": left}


def _num_trials(folder: SweepFolder) -> int:
    """Returns how many trials a sweep's search has at most."""
    earlier = folder.earlier()
    tried = [trial.params for trial in earlier.trials] if earlier else []
    return spaces.num_trials(folder.config(), tried)


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
