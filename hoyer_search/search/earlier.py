"""The trials of an earlier sweep, for a new sweep's study to know from its start."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hoyer_search import spaces
from hoyer_search.config import Choices, SweepConfig, within
from hoyer_search.errors import ConfigError
from hoyer_search.results import Earlier, TrialResult
from hoyer_search.store import SweepFolder

AGREE = (
    "model",
    "data",
    "regularizer",
    "pruning",
    "pipeline",
    "warm_start",
    "objective",
    "protocol",
)
"""Sections in which two sweeps must agree for a trial of one to mean the same in the other."""

FREE = ("pipeline.checkpoint_minutes",)
"""Fields of these sections that no result depends on."""


def read_earlier(config: SweepConfig, storage: Path) -> Earlier:
    """Returns the ended trials of ``config.warm_start_from`` that lie in the new sweep's ranges.

    Trials that the earlier sweep knew from sweeps before it are among them; retrainings are not.

    Args:
        config: The new sweep.
        storage: The folder that holds the new sweep, and the earlier one if it is given by name.

    Raises:
        StorageError: There is no such sweep.
        ConfigError: The sweeps do not agree, none of the trials can be used, or they leave no
            setting to try.
    """
    given = config.warm_start_from or ""
    path = Path(given).expanduser().absolute()
    folder = SweepFolder.open(path.parent, path.name) if "/" in given else None
    folder = folder or SweepFolder.open(storage, given)
    check_agreement(config, folder.config(), folder.name)
    before = folder.earlier()
    trials = [*(before.trials if before else []), *folder.results()]
    kept = [trial for trial in trials if _inside(trial, config)]
    if not kept:
        raise ConfigError(
            f"warm_start_from: sweep {folder.name!r} must have a trial that ended within the "
            f"search ranges; none of its {len(trials)} is: widen the ranges, or leave it out"
        )
    if not spaces.num_trials(config, [trial.params for trial in kept]):
        raise ConfigError(
            f"warm_start_from: sweep {folder.name!r} must leave a setting to try; it tried all "
            "that there are: widen the search, or leave it out"
        )
    return Earlier(sweep=folder.name, trials=kept, left_out=len(trials) - len(kept))


def check_agreement(config: SweepConfig, earlier: SweepConfig, name: str) -> None:
    """Checks that trials of an earlier sweep mean the same in a new one.

    Args:
        config: The new sweep.
        earlier: The earlier one.
        name: The earlier one's name.

    Raises:
        ConfigError: They differ; the message names the first difference, with both values.
    """
    searched, there = _searched(config), _searched(earlier)
    if searched != there:
        _refuse(name, "the searched parameters", there, searched)
    ours, theirs = dict(_settings(config)), dict(_settings(earlier))
    for field in [*ours, *(f for f in theirs if f not in ours)]:
        if ours.get(field) != theirs.get(field):
            _refuse(name, field, theirs.get(field), ours.get(field))


def _refuse(name: str, what: str, there: Any, here: Any) -> None:
    raise ConfigError(
        f"warm_start_from: sweep {name!r} must agree with this one in all but ranges, budget, "
        f"sampler, seed and resources; {what}: {there!r} there, {here!r} here. Make them equal, "
        "or leave warm_start_from out"
    )


def _searched(config: SweepConfig) -> dict[str, str]:
    """Returns the kind of each searched parameter, by name in order."""
    return {
        name: "choices" if isinstance(dimension, Choices) else "range"
        for name, dimension in sorted(config.search.dimensions.items())
    }


def _settings(config: SweepConfig) -> Iterator[tuple[str, Any]]:
    """Yields path and value of every field that both must share: no searched one is among them."""
    searched = {spaces.ALIASES.get(name, name) for name in config.search.dimensions}
    data = config.model_dump(mode="json")
    for section in AGREE:
        for path, value in _leaves(section, data[section]):
            if path not in searched and path not in FREE:
                yield path, value
    if config.objective.sparsity == "latency_ms":  # measured on the resources of a trial
        yield "resources.cpus", config.resources.cpus
        yield "resources.gpus", config.resources.gpus


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield path, value
        return
    for name, child in value.items():
        yield from _leaves(f"{path}.{name}", child)


def _inside(trial: TrialResult, config: SweepConfig) -> bool:
    return all(
        within(trial.params[name], dimension)
        for name, dimension in config.search.dimensions.items()
    )
