"""How much each searched parameter decides, by Optuna's PED-ANOVA (https://arxiv.org/abs/2304.10255).

Optuna is imported on use only.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hoyer_search.config import Choices, Range, SweepConfig
from hoyer_search.front import Front
from hoyer_search.results import TrialResult

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

MIN_TRIALS = 10
"""Fewer trials say nothing about importance."""

MAX_TRIALS = 400
"""Of more trials a part is taken, spread evenly: the answer is the same, and sooner."""

BEST_TRIALS = 5
"""Trials that count as good, or a tenth of all if that is more."""


def importances(
    results: Sequence[TrialResult], front: Front, config: SweepConfig
) -> dict[str, dict[str, float]]:
    """Returns the share of each parameter in what tells good trials from others.

    A trial is worth its best compression at an operating point; one that does not keep the floor
    is worth less than all that do, the less the more accuracy it lacks; one without a network
    counts as having lost all accuracy.

    Args:
        results: Trials that ended.
        front: The sweep's front, for floors and dense network.
        config: The sweep's configuration.

    Returns:
        By operating point: shares that add up to 1, by parameter in the order of the configuration.
        Points at which good trials cannot be told yet are left out; so are all of them with fewer
        than two parameters or ``MIN_TRIALS`` trials.
    """
    dimensions = config.search.dimensions
    if len(dimensions) < 2 or len(results) < MIN_TRIALS:
        return {}
    taken = results[:: -(-len(results) // MAX_TRIALS)]
    good = max(BEST_TRIALS, len(taken) // 10)
    worth = {name: [_worth(result, front, name) for result in taken] for name in front.floors}
    told = {name: values for name, values in worth.items() if sorted(values)[-good] > min(values)}
    if not told:
        return {}
    params = [{name: result.params[name] for name in dimensions} for result in taken]
    return _shares(params, told, dimensions, quantile=good / len(taken))


def _worth(result: TrialResult, front: Front, point: str) -> float:
    """Returns a number whose order among trials is all that matters."""
    floor = front.floors[point]
    kept = [front.compression(p) for p in result.points if p.val_accuracy >= floor]
    if kept:
        return max(kept)
    return max([-1.0, *(p.val_accuracy - floor for p in result.points)])


def _shares(
    params: Sequence[Mapping[str, object]],
    worth: Mapping[str, Sequence[float]],
    dimensions: Mapping[str, Range | Choices],
    *,
    quantile: float,
) -> dict[str, dict[str, float]]:
    """Returns the shares by operating point, of one study: Optuna copies each trial several times.

    Args:
        params: Searched parameters of each trial.
        worth: What each trial is worth, by operating point.
        dimensions: The searched parameters.
        quantile: Share of the trials that count as good.
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["minimize"] * len(worth))
    space = dict(_distributions(dimensions))
    lost = [[-value for value in values] for values in zip(*worth.values(), strict=True)]
    study.add_trials(
        create_trial(values=values, params=dict(given), distributions=space)
        for given, values in zip(params, lost, strict=True)
    )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile)
    shares = {}
    with warnings.catch_warnings():
        # that low values count as good, which is why they are negated above
        warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")
        for place, point in enumerate(worth):
            found = get_param_importances(study, evaluator=evaluator, target=_value(place))
            shares[point] = {name: found[name] for name in dimensions}
    return shares


def _value(place: int) -> Callable[["FrozenTrial"], float]:
    return lambda trial: float(trial.values[place])


def _distributions(
    dimensions: Mapping[str, Range | Choices],
) -> Iterator[tuple[str, "BaseDistribution"]]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    for name, dimension in dimensions.items():
        if isinstance(dimension, Choices):
            yield name, CategoricalDistribution(dimension.choices)
        else:
            yield name, FloatDistribution(dimension.low, dimension.high, log=dimension.log)
