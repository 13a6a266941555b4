"""Masks: which parameters a pruned network keeps."""

from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor, nn

from hoyer_search.compression.channels import ChannelGraph, TracedLayer
from hoyer_search.compression.flow import Mix, Scale
from hoyer_search.compression.layers import (
    from_blocks,
    parameter_name,
    prunable_layers,
    to_blocks,
)
from hoyer_search.compression.propagation import live_rows, made, needed, reach, read
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
        if not self.graph.layers:  # shrinking left nothing but biases
            return torch.zeros((0, 4), dtype=torch.int64)
        return torch.stack(
            [_layer_counts(self.weight(n), layer) for n, layer in self.graph.layers.items()]
        )


def _layer_counts(mask: Tensor, layer: TracedLayer) -> Tensor:
    blocks = to_blocks(mask, groups=layer.groups, transposed=layer.transposed)
    kept = blocks.sum(3, dtype=torch.float32)
    rows, columns = (kept.sum(2) > 0).sum(1), (kept.sum(1) > 0).sum(1)
    nonzeros = kept.sum(2).long().sum()  # single precision holds the count of one row exactly
    macs = (rows * columns).sum() * (blocks.shape[3] * layer.positions)
    return torch.stack([nonzeros, rows.sum(), columns.sum(), macs])


@torch.no_grad()
def make_masks(
    model: nn.Module,
    graph: ChannelGraph,
    *,
    threshold: float,
    rule: Rule,
    granularity: Granularity,
    exclude: Collection[str] = (),
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
        exclude: Layers that the threshold does not touch. Their filters still go where nothing
            reads them any more, and their columns where nothing makes what they read.

    Returns:
        Masks on the network's device.
    """
    alive = {
        name: surviving(
            layer.weight,
            threshold=0.0 if name in exclude else threshold,
            rule=rule,
            granularity=granularity,
            groups=graph.layers[name].groups,
            transposed=graph.layers[name].transposed,
        )
        for name, layer in prunable_layers(model).items()
    }
    return propagate(model, graph, alive)


@torch.no_grad()
def propagate(model: nn.Module, graph: ChannelGraph, alive: Mapping[str, Tensor]) -> Masks:
    """Returns the masks that zeros in weights amount to. Never waits for the device.

    Args:
        model: The network; its parameters' shapes and types are read only.
        graph: Its channel graph.
        alive: Masks of the prunable layers' weights, by layer name.
    """
    reached = reach(alive, graph)
    nonzero = made(graph, reached)
    channels = torch.ones_like(graph.pinned)
    for _ in range(graph.rounds):
        used = needed(graph, nonzero)
        wanted = read(graph, reached, nonzero, alive=channels, used=used)
        channels = used
    kept: dict[str, Tensor] = {}
    affine: dict[str, Tensor] = {}
    for step in graph.flow:
        if isinstance(step, Mix):
            rows = live_rows(step, graph, wanted, channels)
            weights = reached[step.layer] & rows.reshape(len(reached[step.layer]), -1, 1)
            if step.source is not None:
                weights = weights & nonzero[step.source].reshape(len(weights), 1, -1)
            kept[step.layer] = kept[step.layer] | weights if step.layer in kept else weights
            _merge(affine, parameter_name(step.layer, "bias"), rows & nonzero[step.out])
        elif isinstance(step, Scale):
            scaled = wanted[step.out] & nonzero[step.out] & channels[graph.norms[step.norm]]
            for kind in ("weight", "bias"):
                _merge(affine, parameter_name(step.norm, kind), scaled)
    tensors: dict[str, Tensor] = {}
    for name, mask in alive.items():
        if name in kept:
            factor = from_blocks(
                kept[name].unsqueeze(3), mask, transposed=graph.layers[name].transposed
            )
            mask = mask * factor
        tensors[parameter_name(name, "weight")] = mask
    for name in _mortal(model, graph):
        tensors[name] = affine[name].to(model.get_parameter(name).dtype)
    return Masks._trusted(tensors, graph)


@torch.no_grad()
def masks_from_zeros(model: nn.Module, graph: ChannelGraph) -> Masks:
    """Returns masks of what is exactly zero in a network already; nothing is propagated.

    A bias is masked only where its filter is zero too, a normalisation where its gamma and beta
    both are.
    """
    layers = prunable_layers(model)
    tensors = {
        parameter_name(name, "weight"): (layer.weight != 0).to(layer.weight.dtype)
        for name, layer in layers.items()
    }
    reached = reach({name: layer.weight for name, layer in layers.items()}, graph)
    for name in _mortal(model, graph):
        module, _, kind = name.rpartition(".")
        parameter = model.get_parameter(name)
        if module in layers:
            alive = (parameter != 0) | reached[module].any(2).flatten()
        else:
            other = parameter_name(module, "bias" if kind == "weight" else "weight")
            alive = (parameter != 0) | (model.get_parameter(other) != 0)
        tensors[name] = alive.to(parameter.dtype)
    return Masks._trusted(tensors, graph)


def _merge(masks: dict[str, Tensor], name: str, alive: Tensor) -> None:
    """Keeps what any call of a module needs."""
    masks[name] = masks[name] | alive if name in masks else alive


def _mortal(model: nn.Module, graph: ChannelGraph) -> list[str]:
    """Returns the biases and normalisation parameters that can die with a channel."""
    return [
        name
        for name, _ in model.named_parameters()
        if name.rpartition(".")[0] in graph.mortal
        and not (name.rpartition(".")[0] in graph.layers and name.endswith("weight"))
    ]
