"""The channel graph: which filters, normalisation and columns live and die together."""

import graphlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hoyer_search.compression import tracing
from hoyer_search.compression.layers import prunable_layers
from hoyer_search.compression.layouts import ChannelSpace, Slots
from hoyer_search.errors import PluginError

# Deaths travel around residual connections too. On ResNet-50 with 0.3% of its weights left, four
# sweeps found every one.
LOOPS = 8


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a network into evaluation mode without gradients, and its modes back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@dataclass(frozen=True, slots=True)
class TracedLayer:
    """A prunable layer's place in the channel graph.

    Attributes:
        positions: Output positions of one example, over all calls; 0 if it is never called.
        groups: Groups of a convolution, 1 otherwise.
        rows: Channels that its filters make, in order; empty if unknown.
        columns: Channels that its columns read, in order; empty if unknown. Several columns of one
            channel follow a flatten, several stretches a concatenation.
    """

    positions: int
    groups: int = 1
    rows: tuple[Slots, ...] = ()
    columns: tuple[Slots, ...] = ()


@dataclass(frozen=True, slots=True)
class ChannelGraph:
    """Channels of a network, and the layers that make and read them.

    Attributes:
        layers: Every prunable layer by name, in the model's order.
        norms: Channels that each BatchNorm scales, by name.
        spaces: Channel spaces; empty for a network that cannot be traced.
        order: Unpinned spaces, each after those that it depends on.
        rounds: Sweeps over ``order`` that a propagation takes: one, or several where residual
            connections make spaces depend on one another.
        untraced: Why the network cannot be traced, or None. Its single weights can still be pruned.
    """

    layers: Mapping[str, TracedLayer]
    norms: Mapping[str, tuple[Slots, ...]] = field(default_factory=dict)
    spaces: tuple[ChannelSpace, ...] = ()
    order: tuple[int, ...] = ()
    rounds: int = 1
    untraced: str | None = None

    @classmethod
    def trace(cls, model: nn.Module, example_input: Tensor) -> "ChannelGraph":
        """Returns the channel graph of a network.

        The network is run on the example and walked by torch.fx, both in evaluation mode; its
        modes, weights and statistics stay as they are. A network that torch.fx cannot trace gives
        a graph without spaces.

        Args:
            model: The network.
            example_input: A batch of any size; it is moved to the network's device.

        Raises:
            PluginError: The network does not accept the example.
        """
        device = next(model.parameters()).device
        example = example_input.to(device)
        with evaluating(model):
            layers = _run(model, example)
            try:
                found = tracing.walk(model, example)
            except Exception as error:  # torch.fx lets through whatever forward() raises on proxies
                reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
                return cls(layers=layers, untraced=f"torch.fx cannot trace the network: {reason}")
        return cls._of(layers, found, device)

    @classmethod
    def _of(
        cls, layers: dict[str, TracedLayer], found: tracing.Walk, device: torch.device
    ) -> "ChannelGraph":
        rows = found.layouts.slots(found.rows, device)
        columns = found.layouts.slots(found.columns, device)
        norms = found.layouts.slots(found.norms, device)
        placed = {
            name: TracedLayer(
                positions=layer.positions,
                groups=layer.groups,
                rows=tuple(rows.get(name, ())),
                columns=tuple(columns.get(name, ())),
            )
            for name, layer in layers.items()
        }
        spaces = tuple(found.layouts.spaces())
        order, rounds = _ordered(spaces, placed)
        return cls(
            layers=placed,
            norms={name: tuple(slots) for name, slots in norms.items()},
            spaces=spaces,
            order=order,
            rounds=rounds,
        )


def _ordered(
    spaces: tuple[ChannelSpace, ...], layers: Mapping[str, TracedLayer]
) -> tuple[tuple[int, ...], int]:
    """Returns the unpinned spaces in topological order, and how many sweeps reach the fixpoint."""
    free = [index for index, space in enumerate(spaces) if space.pinned is None]
    sources: dict[int, set[int]] = {index: set() for index in free}
    for layer in layers.values():
        for made in layer.rows:
            if made.space in sources:
                sources[made.space].update(s.space for s in layer.columns if s.space in sources)
    try:
        return tuple(graphlib.TopologicalSorter(sources).static_order()), 1
    except graphlib.CycleError:
        return tuple(free), min(len(free), LOOPS)


def _run(model: nn.Module, example: Tensor) -> dict[str, TracedLayer]:
    """Runs the network once and counts the output positions of its prunable layers."""
    positions = dict.fromkeys(prunable_layers(model), 0)
    handles: list[RemovableHandle] = []
    for name, layer in prunable_layers(model).items():

        def count(module: nn.Module, inputs: object, output: Tensor, name: str = name) -> None:
            filters = module.get_parameter("weight").shape[0]
            positions[name] += output.numel() // (len(example) * filters)

        handles.append(layer.register_forward_hook(count))
    try:
        model(example)
    except Exception as error:
        raise PluginError(
            f"the network must accept a batch of shape {tuple(example.shape)}, but it raised "
            f"{type(error).__name__}: {error}. Let the model and the data agree on their shape"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return {
        name: TracedLayer(positions=positions[name], groups=getattr(layer, "groups", 1))
        for name, layer in prunable_layers(model).items()
    }
