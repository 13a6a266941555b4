"""Masks: which parameters a pruned network keeps."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from hoyer_search.compression.channels import ChannelGraph, TracedLayer
from hoyer_search.compression.layers import parameter_name, prunable_layers
from hoyer_search.compression.layouts import Slots
from hoyer_search.compression.propagation import collect, gather, live_channels
from hoyer_search.compression.thresholds import Granularity, Rule, surviving


class Masks(Mapping[str, Tensor]):
    """Parameter names and their masks: tensors of 0 and 1 in the parameter's shape and dtype.

    Every prunable layer's weight has a mask. Biases and normalisation have one where their channel
    can die. Counts are of prunable weights only, as in the paper.
    """

    def __init__(self, tensors: Mapping[str, Tensor], graph: ChannelGraph) -> None:
        """Checks and keeps the masks.

        Args:
            tensors: Masks by parameter name, e.g. read back from a file.
            graph: The channel graph of the network that they belong to.

        Raises:
            ValueError: A value is neither 0 nor 1, or a prunable layer has no mask.
        """
        missing = [n for n in graph.layers if parameter_name(n, "weight") not in tensors]
        if missing:
            raise ValueError(f"every prunable layer needs a mask; without one: {missing}")
        for name, mask in tensors.items():
            if not bool(((mask == 0) | (mask == 1)).all()):
                raise ValueError(f"a mask holds only 0 and 1; that of {name!r} holds other values")
        self._tensors = dict(tensors)
        self.graph = graph

    @classmethod
    def ones(cls, model: nn.Module, graph: ChannelGraph) -> "Masks":
        """Returns masks that keep all of a network: the dense network's counts."""
        names = [parameter_name(name, "weight") for name in graph.layers]
        return cls._trusted({n: torch.ones_like(model.get_parameter(n)) for n in names}, graph)

    @classmethod
    def _trusted(cls, tensors: Mapping[str, Tensor], graph: ChannelGraph) -> "Masks":
        """Returns masks that are right by construction, without looking at the device's values."""
        masks = cls.__new__(cls)
        masks._tensors, masks.graph = dict(tensors), graph
        return masks

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    @torch.no_grad()
    def apply_(self, model: nn.Module) -> None:
        """Sets masked parameters to zero in place; for use after every step of an optimizer."""
        parameters: list[Tensor] = [model.get_parameter(name) for name in self._tensors]
        torch._foreach_mul_(parameters, list(self._tensors.values()))

    def weight(self, layer: str) -> Tensor:
        """Returns the mask of a prunable layer's weight."""
        return self._tensors[parameter_name(layer, "weight")]

    def nonzeros(self) -> Tensor:
        """Returns the number of weights kept: int64, 0-dim, on the device, without waiting."""
        return self.counts()[:, 0].sum()

    def macs(self) -> Tensor:
        """Returns the logical MACs of one example: int64, 0-dim, on the device, without waiting.

        Per layer: surviving filters times surviving channels times kernel and output positions,
        within each group of a grouped convolution (Table 2 of the paper; weights only).
        """
        return self.counts()[:, 3].sum()

    def counts(self) -> Tensor:
        """Returns nonzeros, rows, columns and logical MACs by layer, without waiting.

        Returns:
            An int64 tensor of shape (layers, 4) on the masks' device, in the graph's order.
        """
        return torch.stack(
            [_layer_counts(self.weight(n), layer) for n, layer in self.graph.layers.items()]
        )


def _layer_counts(mask: Tensor, layer: TracedLayer) -> Tensor:
    grouped = mask.reshape(layer.groups, mask.shape[0] // layer.groups, mask.shape[1], -1)
    kept = grouped.sum(3, dtype=torch.float32)
    rows, columns = (kept.sum(2) > 0).sum(1), (kept.sum(1) > 0).sum(1)
    nonzeros = kept.sum(2).long().sum()  # single precision holds the count of one row exactly
    macs = (rows * columns).sum() * (grouped.shape[3] * layer.positions)
    return torch.stack([nonzeros, rows.sum(), columns.sum(), macs])


@torch.no_grad()
def make_masks(
    model: nn.Module,
    graph: ChannelGraph,
    *,
    threshold: float,
    rule: Rule,
    granularity: Granularity,
) -> Masks:
    """Returns what a threshold leaves of a network. Never waits for the device.

    What the threshold zeroes is propagated along the channel graph, for both granularities: a
    filter without a live weight goes with its bias, its normalisation and the columns that read it,
    and a filter that nothing reads goes too. The outputs' rows and biases, and the columns that
    read the input, lose only what the threshold itself zeroes.

    Args:
        model: The network; its weights are read only.
        graph: Its channel graph.
        threshold: At least 0; see ``thresholds.surviving``.
        rule: Unit of the threshold.
        granularity: Whether single weights or whole filters and channels survive.

    Returns:
        Masks on the network's device.
    """
    layers = prunable_layers(model)
    alive = {
        name: surviving(layer.weight, threshold=threshold, rule=rule, granularity=granularity)
        for name, layer in layers.items()
    }
    channels = live_channels(alive, graph)
    tensors: dict[str, Tensor] = {}
    for name, mask in alive.items():
        traced = graph.layers[name]
        if traced.rows:
            mask = mask * _along(gather(channels, traced.rows), mask, dim=0)
        if traced.columns:
            mask = mask * _along(gather(channels, traced.columns), mask, dim=1)
        tensors[parameter_name(name, "weight")] = mask
    for name, slots in _affine_slots(model, graph).items():
        tensors[name] = gather(channels, slots).to(model.get_parameter(name).dtype)
    return Masks._trusted(tensors, graph)


@torch.no_grad()
def masks_from_zeros(model: nn.Module, graph: ChannelGraph) -> Masks:
    """Returns masks of what is exactly zero in a network already; nothing is propagated.

    Biases and normalisation are masked only where their whole channel is zero: its filters, their
    biases, its normalisation and the columns that read it.
    """
    tensors = {
        parameter_name(name, "weight"): (layer.weight != 0).to(layer.weight.dtype)
        for name, layer in prunable_layers(model).items()
    }
    affine = _affine_slots(model, graph)
    values = tensors | {name: model.get_parameter(name) for name in affine}
    dead = dead_channels(values, graph)
    for name, slots in affine.items():
        tensors[name] = (~gather(dead, slots)).to(model.get_parameter(name).dtype)
    return Masks._trusted(tensors, graph)


def dead_channels(values: Mapping[str, Tensor], graph: ChannelGraph) -> list[Tensor]:
    """Returns which channels of each space are zero wherever they are made, scaled and read.

    Such channels can be removed from the network without changing its outputs. Pinned spaces have
    none.

    Args:
        values: Masks, or parameters, by parameter name; absent biases and norms count as zero.
        graph: The channel graph.

    Returns:
        A boolean tensor of shape (size,) per space.
    """
    device = next(iter(values.values())).device
    live = [torch.zeros(s.size, device=device) for s in graph.spaces]
    for name, layer in graph.layers.items():
        weight = values[parameter_name(name, "weight")] != 0
        for slots, used in (
            (layer.rows, weight.flatten(1).any(1)),
            (layer.columns, weight.transpose(0, 1).flatten(1).any(1)),
            (layer.rows, values.get(parameter_name(name, "bias"))),
        ):
            if used is not None:
                _mark(slots, used, live)
    for name, slots in graph.norms.items():
        for kind in ("weight", "bias"):
            if (used := values.get(parameter_name(name, kind))) is not None:
                _mark(slots, used, live)
    return [
        (count == 0) & (space.pinned is None)
        for count, space in zip(live, graph.spaces, strict=True)
    ]


def _mark(slots: tuple[Slots, ...], used: Tensor, live: list[Tensor]) -> None:
    for space in {slot.space for slot in slots}:
        collect(space, slots, (used != 0).float(), into=live[space])


def _along(vector: Tensor, like: Tensor, *, dim: int) -> Tensor:
    shape = [1] * like.ndim
    shape[dim] = -1
    return vector.reshape(shape)


def _affine_slots(model: nn.Module, graph: ChannelGraph) -> dict[str, tuple[Slots, ...]]:
    """Returns the channels of every bias and normalisation parameter that can die with one."""
    places = {(name, "bias"): layer.rows for name, layer in graph.layers.items()}
    for name, slots in graph.norms.items():
        places |= {(name, "weight"): slots, (name, "bias"): slots}
    return {
        parameter_name(module, kind): slots
        for (module, kind), slots in places.items()
        if getattr(model.get_submodule(module), kind, None) is not None
        and any(graph.spaces[slot.space].pinned is None for slot in slots)
    }
