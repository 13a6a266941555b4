"""Which channels a smaller network keeps, so that its outputs are the same."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.constants import constants
from hoyer_search.compression.flow import Mix, Scale, Sink
from hoyer_search.compression.layers import prunable_layers, to_blocks
from hoyer_search.compression.layouts import Balance
from hoyer_search.compression.propagation import (
    Flags,
    Reach,
    live_rows,
    made,
    needed,
    reach,
    read,
)
from hoyer_search.errors import ShrinkError


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What to keep of a network.

    Attributes:
        kept: Which channels to keep, boolean of shape (channels,).
        used: Which of them a layer reads, that may be other than zero; the others only fill up.
        hollow: Layers that read nothing that matters.
        constants: Values by tensor, NaN where a channel varies.
    """

    kept: Tensor
    used: Tensor
    hollow: frozenset[str]
    constants: dict[int, Tensor]


def make_plan(model: nn.Module, graph: ChannelGraph, *, round_to: int = 1) -> Plan:
    """Returns the smallest set of channels that leaves a network's outputs as they are.

    It grows from what must stay: a channel is kept when a layer whose outputs matter reads it with
    a weight other than zero while it may be other than zero. Channels that only fill up (the parts
    of a grouped convolution to equal size, a tensor to one channel, a width to a multiple) matter
    in turn, for as long as it takes.

    Args:
        model: The network with its zeros.
        graph: Its channel graph.
        round_to: Widths become multiples of it, or stay full.
    """
    weights = {name: layer.weight for name, layer in prunable_layers(model).items()}
    reached = reach(weights, graph)
    values = constants(model, graph, reached)
    nonzero = {tensor: value != 0 for tensor, value in values.items()}
    worth = _worth(weights, graph)
    kept = needed(graph, nonzero)
    while True:
        before = kept.clone()
        read(graph, reached, nonzero, alive=kept, used=kept)
        _fill(graph, kept, worth, round_to)
        if bool((kept == before).all()):
            break
    used = needed(graph, nonzero)
    wanted = read(graph, reached, nonzero, alive=kept, used=used)
    hollow = _hollow(graph, reached, nonzero, wanted, kept)
    return Plan(kept, used, hollow, values)


def check_connected(model: nn.Module, graph: ChannelGraph) -> None:
    """Checks that a network's output still depends on its input.

    Raises:
        ShrinkError: It does not; the layer that cut it in two is named.
    """
    weights = {name: layer.weight for name, layer in prunable_layers(model).items()}
    norms = {name: getattr(model.get_submodule(name), "weight", None) for name in graph.norms}
    gammas = {name: gamma != 0 for name, gamma in norms.items() if gamma is not None}
    depends = made(graph, reach(weights, graph), gammas=gammas)
    outputs = [depends[s.source] for s in graph.flow if isinstance(s, Sink) and s.output]
    if not outputs or any(bool(flags.any()) for flags in outputs):
        return
    ends = [
        (step.layer if isinstance(step, Mix) else step.norm, step.source)
        for step in graph.flow
        if isinstance(step, Mix | Scale) and not bool(depends[step.out].any())
    ]
    cuts = [name for name, read in ends if read is None or bool(depends[read].any())]
    last = cuts[-1] if cuts else next((name for name, _ in ends), "")
    raise ShrinkError(
        "a shrunk network must depend on its input, but nothing gets through layer "
        f"{last!r}: every way through its weights is zero. Prune it less"
    )


def _hollow(
    graph: ChannelGraph, reached: Reach, nonzero: Flags, wanted: Flags, kept: Tensor
) -> frozenset[str]:
    """Returns the layers of which no call reads anything that matters."""
    reading: dict[str, bool] = {}
    for step in graph.flow:
        if isinstance(step, Mix):
            weights = reached[step.layer]
            rows = live_rows(step, graph, wanted, kept).reshape(len(weights), -1, 1)
            live = weights & rows
            if step.source is not None:
                live = live & nonzero[step.source].reshape(len(weights), 1, -1)
            reading[step.layer] = reading.get(step.layer, False) or bool(live.any())
    followed = {name for name, layer in graph.layers.items() if layer.rows is not None}
    return frozenset(name for name, some in reading.items() if not some and name in followed)


def _fill(graph: ChannelGraph, kept: Tensor, worth: Tensor, round_to: int) -> None:
    """Adds channels, in place, until shapes hold."""
    while True:
        before = int(kept.sum())
        for channels in _tensors(graph):
            _keep_at_least(1, channels, kept, worth)
            alive = int(kept[channels].sum())
            _keep_at_least(-(-alive // round_to) * round_to, channels, kept, worth)
        for balance in graph.balances:
            _level(balance, kept, worth)
        if int(kept.sum()) == before:
            return


def _tensors(graph: ChannelGraph) -> Iterator[Tensor]:
    """Yields the channels of every tensor that a layer makes or reads, and of a free input."""
    found = [graph.free_input]
    for layer in graph.layers.values():
        found += [layer.rows, layer.columns]
    yield from (channels for channels in found if channels is not None)


def _level(balance: Balance, kept: Tensor, worth: Tensor) -> None:
    """Fills the parts of a balance up to the largest, but for those that may vanish."""
    device = kept.device
    inputs = torch.from_numpy(balance.inputs).to(device)
    sides = [inputs]
    there = torch.ones(len(inputs), dtype=torch.bool, device=device)
    if balance.outputs is not None:
        sides.append(torch.from_numpy(balance.outputs).to(device))
        there = torch.stack([kept[side].any(1) for side in sides]).any(0)
    for side in sides:
        most = max(1, int(kept[side].sum(1).max()))
        short = there & (kept[side].sum(1) < most)
        for part in side[short]:
            _keep_at_least(most, part, kept, worth)


def _keep_at_least(number: int, channels: Tensor, kept: Tensor, worth: Tensor) -> None:
    """Keeps, in place, the worthiest dead channels until ``number`` positions are, if possible."""
    missing = min(number, len(channels)) - int(kept[channels].sum())
    if missing <= 0:
        return
    dead = torch.unique(channels[~kept[channels]])
    best = dead[worth[dead].argsort(descending=True, stable=True)]
    for channel in best.tolist():
        if missing <= 0:
            return
        kept[channel] = True
        missing -= int((channels == channel).sum())


def _worth(weights: dict[str, Tensor], graph: ChannelGraph) -> Tensor:
    """Returns the squared weights that make and read each channel, float64."""
    worth = torch.zeros(graph.num_channels, dtype=torch.float64, device=graph.pinned.device)
    for name, layer in graph.layers.items():
        blocks = to_blocks(weights[name].detach(), groups=layer.groups, transposed=layer.transposed)
        squares = blocks.square().sum(3)
        if layer.rows is not None:
            worth.index_add_(0, layer.rows, squares.sum(2).flatten().double())
        if layer.columns is not None:
            worth.index_add_(0, layer.columns, squares.sum(1).flatten().double())
    return worth
