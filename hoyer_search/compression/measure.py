"""Sizes of a pruned network: the paper's counts, and those of the network as it runs."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hoyer_search.compression.channels import ChannelGraph, Inputs, as_inputs, evaluating
from hoyer_search.compression.masks import Masks, masks_from_zeros
from hoyer_search.results import LayerResult


def layer_results(masks: Masks) -> list[LayerResult]:
    """Returns the paper's counts of every prunable layer, in the network's order.

    Of a network without masks, ``masks_from_zeros`` gives the masks to count.
    """
    counts = masks.counts().tolist()
    return [
        LayerResult(
            name=name,
            weights=masks.weight(name).numel(),
            nonzeros=nonzeros,
            rows=rows,
            columns=columns,
            macs=macs,
        )
        for name, (nonzeros, rows, columns, macs) in zip(masks.graph.layers, counts, strict=True)
    ]


def structure(masks: Masks) -> str:
    """Returns the surviving widths in the notation of the paper's Table 2, e.g. ``353-45-11``.

    Every layer but the last gives its surviving filters. A linear layer whose inputs are not the
    filters of the layer before it (the network's input, or a flatten of several positions) gives
    its surviving columns first: dense LeNet-5 is ``20-50-800-500``.
    """
    widths: list[int] = []
    filters = None
    layers = layer_results(masks)
    for layer in layers:
        mask = masks.weight(layer.name)
        if mask.ndim == 2 and mask.shape[1] != filters:
            widths.append(layer.columns)
        if layer is not layers[-1]:
            widths.append(layer.rows)
        filters = mask.shape[0]
    return "-".join(map(str, widths))


@dataclass(frozen=True, slots=True)
class LayerCounts:
    """Sizes of one prunable layer.

    Attributes:
        name: Its name.
        weights: Weights, zeros included.
        nonzeros: Weights other than zero.
        rows: Filters with a weight other than zero.
        columns: Input channels likewise.
        logical_macs: The paper's count: surviving rows times columns, kernel and positions.
        physical_macs: Multiply-accumulates as it runs, zeros included.
    """

    name: str
    weights: int
    nonzeros: int
    rows: int
    columns: int
    logical_macs: int
    physical_macs: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of a network, of one example where it matters.

    Attributes:
        physical_macs: Multiply-accumulates as it runs, zeros included.
        logical_macs: The paper's count of its prunable layers.
        parameters: Parameters, biases, normalisation and zeros included.
        nonzeros: Weights of prunable layers other than zero.
        bytes: Bytes of parameters and buffers.
        layers: Sizes of each prunable layer, in the network's order.
    """

    physical_macs: int
    logical_macs: int
    parameters: int
    nonzeros: int
    bytes: int
    layers: list[LayerCounts]


def count_macs(model: nn.Module, example_inputs: Inputs) -> Counts:
    """Returns the multiply-accumulates and other sizes of a network, in all and by layer.

    Operations that are no layers, as attention, count in ``physical_macs`` of the network alone.

    Args:
        model: The network; it is not changed.
        example_inputs: A batch of any size, or a tuple of inputs; their first example is used.

    Raises:
        PluginError: The network does not accept the example.
    """
    inputs = tuple(one[:1] for one in as_inputs(example_inputs, model))
    graph = ChannelGraph.trace(model, inputs)
    masks = masks_from_zeros(model, graph)
    layers = [
        LayerCounts(
            name=one.name,
            weights=one.weights,
            nonzeros=one.nonzeros,
            rows=one.rows,
            columns=one.columns,
            logical_macs=one.macs,
            physical_macs=one.weights * graph.layers[one.name].positions,
        )
        for one in layer_results(masks)
    ]
    return Counts(
        physical_macs=physical_macs(model, inputs),
        logical_macs=int(masks.macs()),
        parameters=num_parameters(model),
        nonzeros=int(masks.nonzeros()),
        bytes=sum(t.nbytes for t in (*model.parameters(), *model.buffers())),
        layers=layers,
    )


def physical_macs(model: nn.Module, example_inputs: Inputs) -> int:
    """Returns the multiply-accumulates of one forward pass as it runs, zeros included.

    Counted by ``torch.utils.flop_counter``, which counts two operations for each. Give a batch of
    one for the MACs of one example.
    """
    inputs = as_inputs(example_inputs, model)
    with evaluating(model), _plain_kernels(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    return int(counter.get_total_flops()) // 2


@contextlib.contextmanager
def _plain_kernels() -> Iterator[None]:
    """Has attention and recurrent layers run as matrix products: their own kernels do not count."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*TF32")  # which the flags leave as it is
            with (
                sdpa_kernel(SDPBackend.MATH),
                torch.backends.mkldnn.flags(enabled=False),
                torch.backends.cudnn.flags(enabled=False),
            ):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def num_parameters(model: nn.Module) -> int:
    """Returns the number of parameters, biases and zeros included, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
