"""Checks of model and data together, before anything is started."""

import logging
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn
from torch.utils.data import Subset

from hoyer_search import models
from hoyer_search.compression.layers import (
    by_pattern,
    computed_layers,
    matching,
    prunable_layers,
)
from hoyer_search.compression.weights import apply_weights
from hoyer_search.config import SweepConfig
from hoyer_search.datasets import Examples, Splits, load
from hoyer_search.datasets.splits import count, first_input
from hoyer_search.errors import ConfigError, InputError, PluginError, unknown_name
from hoyer_search.spaces import LAYER_WEIGHTS, ends
from hoyer_search.trial.batches import make_batches

log = logging.getLogger(__name__)


def load_checked(config: SweepConfig) -> Splits:
    """Returns a sweep's data, after a forward pass of its model on the first example.

    Of a Dataset the first example of each split is checked here, all others when they are read.

    Raises:
        InputError: The model or the data cannot be built or do not fit each other, layer names
            are unknown, or given weights do not fit.
    """
    model = check_model(config)
    if config.model.weights is not None:
        apply_weights(model, models.load_trained(config.model.factory, config.model.weights))
    data = load(config.data, seed=config.seed, protocol=config.protocol)
    example = first_input(data.train, name="train").unsqueeze(0)
    try:
        with torch.inference_mode():
            output = model.eval()(example)
    except Exception as error:
        raise PluginError(
            f"model {config.model.factory!r} raised {type(error).__name__} on the first example of "
            f"{config.data.source!r}, of shape {tuple(example.shape)}: {error}"
        ) from error
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise PluginError(
            f"model {config.model.factory!r} must return one score a class, shape (n, classes); "
            f"it returned {shape}"
        )
    data = replace(data, outputs=output.shape[1])
    for name, split in (
        ("train", data.train),
        ("validation", data.validation),
        ("test", data.test),
    ):
        checked = split if isinstance(split, Examples) else Subset(split, [0])
        cpu = torch.device("cpu")
        list(make_batches(checked, cpu, cpus=1, name=name, outputs=data.outputs).in_order())
    if len(data.classes) > output.shape[1]:
        raise PluginError(
            f"model {config.model.factory!r} has {output.shape[1]} outputs, but "
            f"{config.data.source!r} has {len(data.classes)} classes"
        )
    if config.objective.accuracy == "top5" and output.shape[1] <= 5:
        raise ConfigError(
            "objective.accuracy is top5, which counts a label among the five highest outputs, but "
            f"model {config.model.factory!r} has {output.shape[1]} outputs: every accuracy would "
            "be 100%. Set it to top1"
        )
    _check_last_batch(model, config, count(data.train), example)
    for size, said in _batch_sizes(config, "regularize"):
        if size > count(data.train):
            raise InputError(f"{said}, but there are only {count(data.train)} training examples")
    return data


def _batch_sizes(config: SweepConfig, stage: str) -> Iterator[tuple[int, str]]:
    """Yields the batch sizes set for a stage, and how a message says so.

    Of a searched range they are both ends, and what presets take from it.
    """
    name = f"pipeline.{stage}.batch_size"
    size = getattr(config.pipeline, stage).batch_size
    yield size, f"{name} is {size}"
    dimension = config.search.dimensions.get(name)
    for value in [] if dimension is None else ends(dimension):
        yield int(value), f"search.{name} may be {int(value)}"
    for preset in config.presets:
        if name in preset:
            yield int(preset[name]), f"{name} of a preset is {preset[name]}"


def _check_last_batch(
    model: nn.Module, config: SweepConfig, examples: int, example: torch.Tensor
) -> None:
    """Checks that a network can be trained with a last batch of one, where a stage has such."""
    for stage in ("pretrain", "regularize", "finetune"):
        for size, said in _batch_sizes(config, stage):
            if (examples - 1) % size:
                continue
            try:
                model.train()(example)
            except Exception as error:
                raise InputError(
                    f"{said}: of {examples} training examples the last batch has one only, of "
                    f"which the network cannot be trained ({error}). Choose another size, or "
                    "another data.validation"
                ) from error


def check_model(config: SweepConfig) -> nn.Module:
    """Returns a sweep's untrained network, which has all the layers that the configuration names.

    Raises:
        InputError: It cannot be built, or layer names are unknown.
    """
    model = models.build(config.model.factory, config.model.arguments)
    layers = prunable_layers(model)
    computed = computed_layers(model)
    if computed:
        log.warning(
            "neither pruned nor counted: %s, whose weights are computed by a parametrization; "
            "torch.nn.utils.parametrize.remove_parametrizations makes plain weights of them",
            ", ".join(computed),
        )
    _check_layer_weights(config, list(layers))
    for pattern in config.pruning.exclude:
        if not matching([pattern], layers):
            raise ConfigError("pruning.exclude: " + unknown_name("prunable layer", pattern, layers))
    if len(matching(config.pruning.exclude, layers)) == len(layers):
        raise ConfigError(
            f"pruning.exclude must leave a layer to prune, got {config.pruning.exclude}, which are "
            f"all of {', '.join(layers)}"
        )
    return model


def _check_layer_weights(config: SweepConfig, layers: list[str]) -> None:
    """Checks the patterns of layer weights, set or searched."""
    searched = [
        name.removeprefix(f"{LAYER_WEIGHTS}.")
        for name in config.search.dimensions
        if name.startswith(f"{LAYER_WEIGHTS}.")
    ]
    patterns = config.regularizer.layer_weights | dict.fromkeys(searched, 1.0)
    for pattern in patterns:
        if not matching([pattern], layers):
            raise ConfigError(f"{LAYER_WEIGHTS}: {unknown_name('prunable layer', pattern, layers)}")
    try:
        by_pattern(patterns, layers)
    except ConfigError as error:
        raise ConfigError(f"{LAYER_WEIGHTS}: {error}") from error
