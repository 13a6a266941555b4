"""The channel graph: which filters, normalisation and columns live and die together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hoyer_search.compression import tracing
from hoyer_search.compression.flow import Combine, Step, lasting
from hoyer_search.compression.layers import (
    PRUNABLE_TYPES,
    TRANSPOSED_TYPES,
    lazy_layers,
    num_filters,
    prunable_layers,
)
from hoyer_search.compression.layouts import Balance, Channels
from hoyer_search.compression.walking import Walk
from hoyer_search.errors import InputError, PluginError

Inputs = Tensor | Sequence[Tensor]


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


def as_inputs(inputs: Inputs, model: nn.Module) -> tuple[Tensor, ...]:
    """Returns a network's inputs as a tuple, on its device.

    Raises:
        InputError: The network is no module, or an input is no batch.
        PluginError: The network has lazy layers, which a first run would change, or parameters
            without values.
    """
    _check_given(inputs, model)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    return tuple(one.to(device) for one in given)


def _check_given(inputs: object, model: object) -> None:
    if not isinstance(model, nn.Module):
        got = f"the class {model.__name__}" if isinstance(model, type) else _kind(model)
        raise InputError(
            f"the network must be a torch.nn.Module, got {got}. Give the network itself, first, "
            "and its example inputs second"
        )
    given = inputs if isinstance(inputs, Sequence) else (inputs,)
    wrong = [one for one in given if not (isinstance(one, Tensor) and one.ndim and len(one))]
    if wrong or not given:
        got = _kind(wrong[0]) if wrong else "an empty sequence"
        raise InputError(
            "example inputs must be a tensor of at least one example, shape (N, ...), or a tuple "
            f"of such, got {got}. Give a batch that the network accepts"
        )
    if lazy := lazy_layers(model):
        raise PluginError(
            f"a network's layers must know their sizes, but it has lazy ones: {', '.join(lazy)}. "
            "Call it once on an example before, and give it its trained weights"
        )
    if any(parameter.is_meta for parameter in model.parameters()):
        raise PluginError(
            "a network's parameters must hold values, but some are on the meta device. Load its "
            "trained weights first, with load_state_dict(..., assign=True)"
        )


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"an object of type {type(value).__name__}"


@dataclass(frozen=True, slots=True, eq=False)
class TracedLayer:
    """A prunable layer's place in the channel graph.

    Attributes:
        positions: Output positions of one example (of a transposed convolution, input positions),
            over all calls; 0 if it is never called.
        groups: Groups of a convolution, 1 otherwise.
        transposed: Whether its weight holds channels before filters.
        rows: Channels that its filters make, in order, int64; None if unknown.
        columns: Channels that it reads, in order, int64; None if unknown. Several columns of one
            channel follow a flatten; a grouped convolution has those of all its groups.
    """

    positions: int
    groups: int = 1
    transposed: bool = False
    rows: Tensor | None = None
    columns: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ChannelGraph:
    """Channels of a network, and the layers that make and read them.

    A channel is here what can only be kept or removed at once, over all layers that make, scale
    and read it: an addition makes one of its operands' channels, a depthwise convolution one of
    its input's and its output's.

    Attributes:
        layers: Every prunable layer by name, in the model's order.
        norms: Channels that each BatchNorm scales, int64, by name.
        num_channels: How many channels there are; 0 for a network that cannot be traced.
        pins: Why a channel must stay (``model input``, an unknown operation), by channel.
        pinned: Which channels must stay, boolean of shape (num_channels,).
        mortal: Layers and BatchNorms with a channel that need not stay.
        flow: What the network does to its channels.
        balances: Groups of channels of which equally many must be kept.
        lasting: Positions by tensor where a zero would not reach every reader as zero.
        rounds: Passes through the flow that find what dies.
        free_input: Channels of the network's input where they need not stay, int64; else None.
        free_output: Channels of its output, likewise.
        untraced: Why the network cannot be traced, or None. Its single weights can still be pruned.
    """

    layers: Mapping[str, TracedLayer]
    norms: Mapping[str, Tensor] = field(default_factory=dict)
    num_channels: int = 0
    pins: Mapping[int, str] = field(default_factory=dict)
    pinned: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    mortal: frozenset[str] = frozenset()
    flow: tuple[Step, ...] = ()
    balances: tuple[Balance, ...] = ()
    lasting: Mapping[int, Tensor] = field(default_factory=dict)
    rounds: int = 1
    free_input: Tensor | None = None
    free_output: Tensor | None = None
    untraced: str | None = None

    @classmethod
    def trace(
        cls,
        model: nn.Module,
        example_inputs: Inputs,
        *,
        free_input: bool = False,
        free_output: bool = False,
    ) -> "ChannelGraph":
        """Returns the channel graph of a network.

        The network is run on the example and walked by torch.fx, both in evaluation mode; its
        modes, weights and statistics stay as they are. A network that torch.fx cannot trace gives
        a graph without channels.

        Args:
            model: The network.
            example_inputs: A batch of any size, or several inputs; moved to the network's device.
            free_input: Whether the channels of its input need not stay.
            free_output: Whether those of its output need not.

        Raises:
            PluginError: The network has lazy layers, or does not accept the example.
            InputError: An end is to be free, of a network that takes or returns several tensors;
                the network is no module, or an input is no batch.
        """
        inputs = as_inputs(example_inputs, model)
        with evaluating(model):
            layers = _run(model, inputs)
            try:
                found = tracing.walk(model, inputs, free_input=free_input, free_output=free_output)
            except Exception as error:  # torch.fx lets through whatever forward() raises on proxies
                reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
                return cls(layers=layers, untraced=f"torch.fx cannot trace the network: {reason}")
        return cls._of(layers, found)

    @classmethod
    def _of(cls, layers: dict[str, TracedLayer], walk: Walk) -> "ChannelGraph":
        classes = walk.layouts.classes()

        def placed(channels: Channels | None) -> Tensor | None:
            return None if channels is None else torch.from_numpy(classes[channels]).to(walk.device)

        _check_ends(walk)
        flow = tuple(walk.steps)
        pins = walk.layouts.pins(classes)
        pinned = np.zeros(int(classes.max(initial=-1)) + 1, dtype=np.bool_)
        pinned[list(pins)] = True
        places = {**walk.rows, **walk.norms}
        products = any(isinstance(step, Combine) and step.product for step in flow)
        return cls(
            layers={
                name: TracedLayer(
                    positions=layer.positions,
                    groups=layer.groups,
                    transposed=layer.transposed,
                    rows=placed(walk.rows.get(name)),
                    columns=placed(walk.columns.get(name)),
                )
                for name, layer in layers.items()
            },
            norms={n: torch.from_numpy(classes[c]).to(walk.device) for n, c in walk.norms.items()},
            num_channels=len(pinned),
            pins=pins,
            pinned=torch.from_numpy(pinned).to(walk.device),
            mortal=frozenset(n for n, c in places.items() if not pinned[classes[c]].all()),
            flow=flow,
            balances=walk.layouts.balances(classes),
            lasting=lasting(flow, walk.sizes, walk.device),
            rounds=3 if products else 1,  # a gate dies after what it multiplies
            free_input=placed(walk.inputs[0]) if walk.free_input else None,
            free_output=placed(walk.output),
        )


def _check_ends(walk: Walk) -> None:
    if walk.free_input and len(walk.inputs) != 1:
        raise InputError(
            "channels of the input can be removed from networks of one input tensor, got one of "
            f"{len(walk.inputs)}. Keep its inputs: hidden channels go all the same"
        )
    if walk.free_output and walk.output is None:
        raise InputError(
            "outputs can be removed from networks that return one tensor of shape (N, classes, "
            "...), got one that returns something else. Keep its outputs: hidden channels go all "
            "the same"
        )


def _run(model: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, TracedLayer]:
    """Runs the network once and counts the positions of its prunable layers."""
    layers = prunable_layers(model)
    positions = dict.fromkeys(layers, 0)
    names = {id(layer.weight): name for name, layer in layers.items()}
    handles: list[RemovableHandle] = []
    for module in model.modules():
        name = names.get(id(module._parameters.get("weight")))
        if name is None or not isinstance(module, PRUNABLE_TYPES):
            continue

        def count(
            module: nn.Module, given: tuple[Tensor, ...], output: Tensor, name: str = name
        ) -> None:
            tensor, size = output, num_filters(module)
            if isinstance(module, TRANSPOSED_TYPES):
                tensor, size = given[0], module.in_channels
            positions[name] += tensor.numel() // (len(inputs[0]) * size)

        handles.append(module.register_forward_hook(count))
    try:
        model(*inputs)
    except Exception as error:
        shapes = " and ".join(str(tuple(one.shape)) for one in inputs)
        raise PluginError(
            f"the network must accept a batch of shape {shapes}, but it raised "
            f"{type(error).__name__}: {error}. Let the model and the data agree on their shape"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return {
        name: TracedLayer(
            positions=positions[name],
            groups=getattr(layer, "groups", 1),
            transposed=isinstance(layer, TRANSPOSED_TYPES),
        )
        for name, layer in layers.items()
    }
