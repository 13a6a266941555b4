"""Which channels are made and which are read, given which weights are alive.

A channel dies forwards when no filter that makes it has a live weight (its bias and normalisation
then go with it: they are one structural group), and backwards when no layer reads it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.flow import (
    Combine,
    Concat,
    Map,
    Mix,
    Pick,
    Scale,
    Sink,
    Source,
    hand_back,
    spread,
)
from hoyer_search.compression.layers import to_blocks

Reach = Mapping[str, Tensor]
Flags = dict[int, Tensor]


def reach(weights: Mapping[str, Tensor], graph: ChannelGraph) -> dict[str, Tensor]:
    """Returns which channel reaches which filter of each layer.

    Args:
        weights: Weights or masks of the layers by name, in the weights' shape.
        graph: The channel graph.

    Returns:
        Booleans of shape (groups, filters / groups, channels / groups) by layer.
    """
    return {
        name: to_blocks(weights[name] != 0, groups=layer.groups, transposed=layer.transposed).any(3)
        for name, layer in graph.layers.items()
    }


def made(
    graph: ChannelGraph, reached: Reach, *, gammas: Mapping[str, Tensor] | None = None
) -> Flags:
    """Returns which positions of each tensor are made: not zero for every input.

    A filter without a live weight that reads something made makes nothing: its bias and
    normalisation are taken to be zeroed with it, unless the zero would not arrive as one.

    Args:
        graph: The channel graph.
        reached: What ``reach`` returns.
        gammas: Which scales of each BatchNorm are not zero, by name. Given them, the result is
            instead which positions depend on the network's input.

    Returns:
        Booleans of shape (n,) by tensor; nothing waits for the device.
    """
    flags: Flags = {}
    dependence = gammas is not None
    for step in graph.flow:
        match step:
            case Source():
                device = graph.lasting[step.out].device
                value = torch.ones if step.varies or not dependence else torch.zeros
                flags[step.out] = value(step.size, dtype=torch.bool, device=device)
            case Mix():
                weights = reached[step.layer]
                if step.source is not None:
                    weights = weights & flags[step.source].reshape(len(weights), 1, -1)
                flags[step.out] = weights.any(2).flatten()
                if step.has_bias and not dependence:
                    flags[step.out] = flags[step.out] | graph.lasting[step.out]
            case Scale():
                if gammas is not None:
                    flags[step.out] = flags[step.source] & gammas.get(step.norm, True)
                else:
                    still = graph.lasting[step.out] if step.affine else True
                    flags[step.out] = flags[step.source] | still
            case Map():
                flags[step.out] = flags[step.source] | (not step.keeps_zero and not dependence)
            case Combine():
                left, right = flags[step.left], flags[step.right]
                both = step.product and not dependence
                flags[step.out] = left & right if both else left | right
            case Concat():
                flags[step.out] = torch.cat([flags[source] for source in step.sources])
            case Pick():
                flags[step.out] = flags[step.source][step.index]
    return flags


def read(
    graph: ChannelGraph, reached: Reach, nonzero: Flags, *, alive: Tensor, used: Tensor
) -> Flags:
    """Returns which positions of each tensor the network's outputs read.

    Args:
        graph: The channel graph.
        reached: What ``reach`` returns.
        nonzero: Which positions of each tensor may be other than zero.
        alive: Which channels' filters are there, boolean of shape (channels,).
        used: Set, in place, for channels that a layer reads and that may be other than zero. The
            same tensor as ``alive``, of no channel at first, finds all filters that matter.

    Returns:
        Booleans of shape (n,) by tensor; nothing waits for the device.
    """
    flags: Flags = {tensor: torch.zeros_like(still) for tensor, still in graph.lasting.items()}
    for step in reversed(graph.flow):
        match step:
            case Mix() if step.source is not None:
                layer = graph.layers[step.layer]
                rows = live_rows(step, graph, flags, alive)
                weights = reached[step.layer]
                wanted = (weights & rows.reshape(len(weights), -1, 1)).any(1).flatten()
                flags[step.source] |= wanted
                assert layer.columns is not None
                live = wanted & nonzero[step.source]
                spread(used, layer.columns, live)
            case Scale() | Map():
                flags[step.source] |= flags[step.out]
            case _:
                hand_back(step, flags)
    return flags


def needed(graph: ChannelGraph, nonzero: Flags) -> Tensor:
    """Returns the channels that stay even if no layer reads them, boolean of shape (channels,).

    They are the pinned ones, and those of a free output that may be other than zero.

    Args:
        graph: The channel graph.
        nonzero: Which positions of each tensor may be other than zero.
    """
    channels = graph.pinned.clone()
    for step in graph.flow:
        if isinstance(step, Sink) and step.output and graph.free_output is not None:
            spread(channels, graph.free_output, nonzero[step.source])
    return channels


def live_rows(step: Mix, graph: ChannelGraph, wanted: Flags, alive: Tensor) -> Tensor:
    """Returns which filters of a call make something that is read, boolean of shape (filters,)."""
    rows = graph.layers[step.layer].rows
    return wanted[step.out] if rows is None else wanted[step.out] & alive[rows]
