"""Pruning and shrinking a trained network of the user's own, without a sweep."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hoyer_search import models
from hoyer_search.compression import measure
from hoyer_search.compression.artifact import WEIGHTS, Architecture, save_artifact
from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.exactness import exactness
from hoyer_search.compression.latency import measure_latency, measure_throughput
from hoyer_search.compression.masks import Masks, make_masks, masks_from_zeros
from hoyer_search.compression.planning import check_connected
from hoyer_search.compression.shrink import shrink
from hoyer_search.compression.thresholds import Granularity, Rule
from hoyer_search.compression.weights import apply_weights
from hoyer_search.errors import InputError, ShrinkError, StorageError


def compress(
    factory: str,
    output: str | os.PathLike[str],
    *,
    weights: str,
    threshold: float,
    rule: Rule = "absolute",
    granularity: Granularity = "element",
    round_to: int = 1,
    gather: bool = False,
    input_shape: Sequence[int] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Prunes and shrinks a trained network and writes its artefact. Nothing is trained.

    Args:
        factory: Alias of a built-in network, or ``package.module:function`` of your own.
        output: The new folder.
        weights: Trained weights: a file, or the name of torchvision's (``load_trained``).
        threshold: At least 0, in the unit of the rule; 0 removes what is zero already.
        rule: ``absolute``, or ``std_ratio`` for multiples of each layer's standard deviation.
        granularity: ``element`` zeroes single weights, ``structural`` whole filters and channels.
            Either way what is dead afterwards is removed.
        round_to: Widths become multiples of it, for hardware.
        gather: Whether layers leave out dead columns whose channels other layers read, by copying
            the rest: fewer MACs, yet slower.
        input_shape: Shape of one example; a built-in network knows its own.
        arguments: Keyword arguments of the factory.

    Returns:
        The artefact's ``metrics.json``: counts before and after (``dense, nonzeros, macs,
        physical_macs, parameters``), by layer, ``exactness``, ``latency_ms``,
        ``examples_per_second``, and ``stayed``: zeros that could not be removed, and why.

    Raises:
        InputError: The folder exists, or model, weights, shape or threshold cannot be used.
        ShrinkError: The shrunk network's outputs would differ from the masked one's.
    """
    target = Path(output)
    if target.exists():
        raise StorageError(f"{target} exists: give a new folder")
    if not threshold >= 0:
        raise InputError(f"threshold must be a number from 0, got {threshold}")
    shape = _input_shape(factory, input_shape)
    arguments = dict(arguments or {})
    model = models.build(factory, arguments)
    apply_weights(model, models.load_trained(factory, weights))
    example = torch.zeros((1, *shape))
    graph = ChannelGraph.trace(model, example)
    dense = _counts(model, masks_from_zeros(model, graph), example)
    masks = make_masks(model, graph, threshold=threshold, rule=rule, granularity=granularity)
    masks.apply_(model)
    try:
        check_connected(model, graph)
    except ShrinkError as error:
        raise InputError(f"the threshold {threshold:g} is too high: {error}") from error
    shrunk, report = shrink(model.eval(), graph, masks, round_to=round_to, gather=gather)
    metrics = {
        "threshold": threshold,
        "dense": dense,
        **_counts(shrunk, masks, example),
        "structure": measure.structure(masks),
        "exactness": exactness(model, shrunk, shape),
        **_speed(model, shrunk, example),
        "layers": [asdict(layer) for layer in measure.layer_results(masks)],
        "stayed": [asdict(stayed) for stayed in report.stayed],
    }
    architecture = Architecture(
        factory=factory,
        arguments=arguments,
        kept=report.kept,
        input_shape=list(shape),
        origin={
            "weights": models.trained_id(factory, weights),
            "threshold": threshold,
            "rule": rule,
            "granularity": granularity,
        },
    )
    save_artifact(target, shrunk, architecture=architecture, metrics=metrics)
    return metrics | {"bytes": (target / WEIGHTS).stat().st_size}


def _input_shape(factory: str, given: Sequence[int] | None) -> tuple[int, ...]:
    if given is None:
        if factory not in models.MODELS:
            raise InputError(
                f"the shape of one example must be given for {factory!r}, which is not built in: "
                "--input-shape 3,32,32"
            )
        return models.input_shape(factory)
    if not given or min(given) < 1:
        raise InputError(f"the shape of one example must be positive numbers, got {list(given)}")
    return tuple(given)


def _counts(model: nn.Module, masks: Masks, example: torch.Tensor) -> dict[str, int]:
    return {
        "nonzeros": int(masks.nonzeros()),
        "macs": int(masks.macs()),
        "physical_macs": measure.physical_macs(model, example),
        "parameters": measure.num_parameters(model),
    }


def _speed(dense: nn.Module, shrunk: nn.Module, example: torch.Tensor) -> dict[str, Any]:
    networks = {"dense": dense, "shrunk": shrunk}
    return {
        "latency_ms": measure_latency(networks, example),
        "examples_per_second": measure_throughput(networks, example),
    }
