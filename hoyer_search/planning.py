"""What a sweep will cost: counted where it can be, timed for a moment where it cannot."""

import itertools
import math
import time
from typing import Any

from hoyer_search import spaces
from hoyer_search.compression.layers import prunable_layers
from hoyer_search.compression.masks import masks_from_zeros
from hoyer_search.compression.measure import layer_results, num_parameters, structure
from hoyer_search.config import SweepConfig, Training
from hoyer_search.errors import ConfigError
from hoyer_search.search.cluster import num_cores, num_gpus, room
from hoyer_search.trial.milestones import NUM_POINTS, milestone_quarters
from hoyer_search.trial.preflight import load_checked
from hoyer_search.trial.training import count_correct, make_optimizer, train_epoch
from hoyer_search.trial.workbench import Workbench

TIMED_SECONDS = 1.0


def plan_sweep(config: SweepConfig) -> dict[str, Any]:
    """Returns a sweep's network in numbers and the time it is likely to take.

    A training step of each kind and a pass over the validation data are timed for about a second
    each; the rest is arithmetic. Trials that end early are not counted, so it is an upper
    estimate for a machine that does nothing else.

    Raises:
        InputError: The space's model or data cannot be used, or there is no GPU to time it on.
    """
    resources = config.resources
    if resources.gpus and not num_gpus():
        raise ConfigError(
            f"steps are timed on the device of a trial: resources.gpus is {resources.gpus:g}, and "
            "torch can use no GPU here. Plan on a machine that has one, or --set resources.gpus=0"
        )
    bench = Workbench(config, load_checked(config))
    model = bench.model()
    graph = bench.graph(model)
    masks = masks_from_zeros(model, graph)
    layers = layer_results(masks)
    shapes = {name: list(layer.weight.shape) for name, layer in prunable_layers(model).items()}
    machine = {"CPU": float(num_cores()), "GPU": float(num_gpus())}
    trials = spaces.num_trials(config)
    workers = min(resources.workers or max(1, room(machine, resources)), trials)
    return {
        "space": config.name,
        "structure": structure(masks),
        "parameters": num_parameters(model),
        "weights": int(masks.nonzeros()),
        "macs": int(masks.macs()),
        "layers": [
            {"name": layer.name, "shape": shapes[layer.name], "weights": layer.weights}
            | {"macs": layer.macs}
            for layer in layers
        ],
        "searched": list(config.search.dimensions),
        "trials": trials,
        "workers": workers,
        **_hours(bench, workers=workers, trials=trials),
    }


def _hours(bench: Workbench, *, workers: int, trials: int) -> dict[str, float]:
    """Returns hours of pretraining, of one trial, and of the whole sweep."""
    pipeline = bench.config.pipeline
    model = bench.model()
    start = time.perf_counter()
    int(count_correct(model, bench.validation, topk=bench.topk))
    evaluation = time.perf_counter() - start
    pretrain = _training_seconds(bench, pipeline.pretrain, penalized=False, evaluation=evaluation)
    if bench.config.model.weights is not None:
        pretrain = 0.0
    regularize = _training_seconds(
        bench, pipeline.regularize, penalized=True, evaluation=evaluation
    )
    finetune = _training_seconds(bench, pipeline.finetune, penalized=False, evaluation=evaluation)
    curve = bench.config.search.threshold == "curve"
    points = pipeline.finetune.max_points if curve else 1
    rest = points * finetune + (pipeline.curve.points if curve else 1) * evaluation
    if bench.config.stops_early:
        rest += len(milestone_quarters(pipeline.regularize.epochs)) * NUM_POINTS * evaluation
    trial, waves = regularize + rest, math.ceil(trials / workers)
    winners = bench.config.confirm * len(bench.config.objective.points)
    total = pretrain + (waves + math.ceil(winners / workers)) * trial
    if bench.config.warm_start == "path":
        dense_waves = min(waves, math.ceil(max(1, len(bench.config.presets)) / workers))
        warm = pipeline.regularize.starting(warm=True).epochs / max(1, pipeline.regularize.epochs)
        total -= (waves - dense_waves) * (1 - warm) * regularize
    return {
        "pretrain_hours": pretrain / 3600,
        "trial_hours": trial / 3600,
        "sweep_hours": total / 3600,
    }


def _training_seconds(
    bench: Workbench, settings: Training, *, penalized: bool, evaluation: float
) -> float:
    """Returns the likely seconds of a stage, from as many steps as fit into about a second."""
    model = bench.model()
    optimizer = make_optimizer(model, settings)
    penalty = bench.penalty(model) if penalized else None
    steps = math.ceil(bench.training.num_examples / settings.batch_size)

    def train(size: int, *, seed: int) -> int:
        batches = bench.training.shuffled(settings.batch_size, seed=seed)
        train_epoch(
            model,
            optimizer,
            itertools.islice(batches, size),
            first_step=0,
            total_steps=steps,
            settings=settings,
            penalty=penalty,
        )
        return min(size, steps)

    train(3, seed=0)  # the first few steps warm up
    timed, start = 0, time.perf_counter()
    while not timed or time.perf_counter() - start < TIMED_SECONDS:
        timed += train(20, seed=timed)
    seconds_a_step = (time.perf_counter() - start) / timed
    return settings.epochs * (steps * seconds_a_step + evaluation)
