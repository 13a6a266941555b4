"""Which channels are dead, given which weights are.

A channel dies forwards when no filter that makes it has a live weight (its bias and normalisation
then go with it: they are one structural group), and backwards when no layer reads it.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from hoyer_search.compression.channels import ChannelGraph, TracedLayer
from hoyer_search.compression.layouts import Slots


def live_channels(weights: Mapping[str, Tensor], graph: ChannelGraph) -> list[Tensor]:
    """Returns which channels of each space stay alive. Never waits for the device.

    Deaths are propagated along the graph, forwards and backwards, until nothing changes. (Where
    residual connections form cycles the number of sweeps is bounded; a chain of deaths longer than
    that leaves some channels alive, which costs size and never exactness.)

    Args:
        weights: Masks of 0 and 1 of the prunable layers' weights, shape (rows, columns, ...), by
            layer name; all on one device.
        graph: The channel graph.

    Returns:
        A boolean tensor of shape (size,) per space. Pinned spaces are all alive.
    """
    reach = {
        name: (w.flatten(2).amax(2) if w.ndim > 2 else w).float()
        for name, w in weights.items()
        if graph.layers[name].rows
    }
    device = next(iter(weights.values())).device
    alive = [torch.ones(s.size, dtype=torch.bool, device=device) for s in graph.spaces]
    for _ in range(graph.rounds):
        for space in graph.order:
            if graph.spaces[space].zero_preserving:
                alive[space] &= _made(space, reach, graph, alive)
        for space in reversed(graph.order):
            alive[space] &= _read(space, reach, graph, alive)
    return alive


def gather(alive: list[Tensor], slots: tuple[Slots, ...]) -> Tensor:
    """Returns per row or column whether its channel is alive, boolean, shape (n,)."""
    parts = [alive[s.space][s.channels.to(alive[s.space].device)] for s in slots]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def collect(space: int, slots: tuple[Slots, ...], values: Tensor, *, into: Tensor) -> None:
    """Adds values of rows or columns to the channels of one space that they belong to."""
    start = 0
    for slot in slots:
        end = start + len(slot.channels)
        if slot.space == space:
            into.index_add_(0, slot.channels.to(values.device), values[start:end])
        start = end


def _made(space: int, reach: dict[str, Tensor], graph: ChannelGraph, alive: list[Tensor]) -> Tensor:
    """Returns which channels some filter with a live weight makes."""

    def made(layer: TracedLayer, matrix: Tensor) -> Tensor:
        if not layer.columns:
            return matrix.sum(1)
        return matrix @ gather(alive, layer.columns).float()

    return _count(space, reach, graph, alive, lambda layer: layer.rows, made)


def _read(space: int, reach: dict[str, Tensor], graph: ChannelGraph, alive: list[Tensor]) -> Tensor:
    """Returns which channels some live weight reads."""

    def read(layer: TracedLayer, matrix: Tensor) -> Tensor:
        return gather(alive, layer.rows).float() @ matrix

    return _count(space, reach, graph, alive, lambda layer: layer.columns, read)


def _count(
    space: int,
    reach: dict[str, Tensor],
    graph: ChannelGraph,
    alive: list[Tensor],
    side: Callable[[TracedLayer], tuple[Slots, ...]],
    weigh: Callable[[TracedLayer, Tensor], Tensor],
) -> Tensor:
    total = torch.zeros(len(alive[space]), device=alive[space].device)
    for name, matrix in reach.items():
        layer = graph.layers[name]
        if any(slot.space == space for slot in side(layer)):
            collect(space, side(layer), weigh(layer, matrix), into=total)
    return total > 0
