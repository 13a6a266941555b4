"""Why a sweep's search ended, what it had used, and how to let it go on."""

from collections.abc import Sequence

from hoyer_search.config import MOST_TRIALS, SweepConfig
from hoyer_search.results import Finished, TrialResult, Usage


def stop_text(config: SweepConfig, finished: Finished, usage: Usage) -> str:
    """Returns why a search ended, in words."""
    budget, hours = config.budget, used_hours(usage)
    match finished.stopped_by:
        case "hours":
            used = f"{hours['hours']:.3g} of {budget.hours:g} hours are spent"
        case "accelerator_hours":
            kind = "GPU" if config.resources.gpus else "core"
            spent = hours[f"{kind.lower()}_hours"]
            used = f"{spent:.3g} of {budget.accelerator_hours:g} {kind}-hours are spent"
        case "flat_trials":
            used = f"the hypervolume did not grow over the last {budget.flat_trials}"
        case "settings":
            used = "every setting of the space was tried"
        case _:
            used = "the budget of trials is spent"
    return f"{finished.trials} of {finished.budget} trials ended; {used}"


def more_budget(config: SweepConfig, finished: Finished, usage: Usage) -> str | None:
    """Returns a setting that lets a finished search go on: twice the limit that ended it.

    It has the form ``budget.trials=40``; of hours and trials it is twice what was used if that is
    more. None when more budget would change nothing, or no more is allowed.
    """
    hours = used_hours(usage)
    used = {
        "trials": finished.trials,
        "hours": hours["hours"],
        "accelerator_hours": hours["gpu_hours" if config.resources.gpus else "core_hours"],
    }
    name = finished.stopped_by or "trials"
    limit = getattr(config.budget, name, None)
    if limit is None:
        return None
    had = max(limit, used.get(name, 0))
    more = min(2 * had, MOST_TRIALS) if name == "trials" else 2 * had
    shown = f"{more}" if isinstance(more, int) else f"{more:.3g}"
    return f"budget.{name}={shown}" if more > had else None


def all_failed(ended: Sequence[TrialResult]) -> bool:
    """Returns whether trials ended, and every one of them failed: more budget tries none again."""
    return bool(ended) and all(result.state == "failed" for result in ended)


def used_hours(usage: Usage) -> dict[str, float]:
    """Returns ``hours``, ``core_hours`` and ``gpu_hours`` that a search has used."""
    return {
        "hours": usage.wall_seconds / 3600,
        "core_hours": usage.core_seconds / 3600,
        "gpu_hours": usage.gpu_seconds / 3600,
    }
