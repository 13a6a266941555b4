"""The state of a walk through a network: what is known of each torch.fx node's value so far."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import fx, nn

from hoyer_search.compression.flow import Pick, Sink, Source, Step
from hoyer_search.compression.layers import prunable_layers
from hoyer_search.compression.layouts import Channels, Layout, Layouts


@dataclass(frozen=True, slots=True)
class ShapeOf:
    """The size of a tensor, which a network may read."""

    layout: Layout


Value: TypeAlias = "Layout | ShapeOf | tuple[Layout, ...] | None"
Handler: TypeAlias = Callable[["Walk", fx.Node, Layout], Value]


@dataclass(slots=True)
class Walk:
    """A walk's findings and the values of the nodes visited.

    Attributes:
        modules: Modules of the network by every name that they have.
        shapes: Shape of every node that is a tensor.
        device: Where the flow's indices belong.
        steps: The flow.
        layouts: Channels, unions and restrictions.
        rows: Channels that each prunable layer makes, by name.
        columns: Channels that its columns read; of a grouped convolution those of all groups.
        norms: Channels that each BatchNorm scales, by name.
        values: What is known of the nodes visited.
        names: The first name of each module, by id.
        owners: How many modules hold each parameter, by id.
        prunable: Names of the prunable layers.
        exposed: Names of modules whose parameters are used outside their own calls.
        sizes: Channels of each tensor of the flow.
        free_input: Whether the channels of the network's input may go.
        free_output: Whether those of its output may.
        inputs: Channels of the network's inputs, in order.
        output: Channels of the network's output; None unless it is one tensor that holds them
            along dimension 1.
    """

    modules: dict[str, nn.Module]
    shapes: dict[fx.Node, tuple[int, ...]]
    device: torch.device
    steps: list[Step] = field(default_factory=list)
    layouts: Layouts = field(default_factory=Layouts)
    rows: dict[str, Channels] = field(default_factory=dict)
    columns: dict[str, Channels] = field(default_factory=dict)
    norms: dict[str, Channels] = field(default_factory=dict)
    values: dict[fx.Node, Value] = field(default_factory=dict)
    names: dict[int, str] = field(init=False)
    owners: Counter[int] = field(init=False)
    prunable: set[str] = field(init=False)
    exposed: set[str] = field(default_factory=set)
    sizes: list[int] = field(default_factory=list)
    free_input: bool = False
    free_output: bool = False
    inputs: list[Channels] = field(default_factory=list)
    output: Channels | None = None

    def __post_init__(self) -> None:
        self.names = {id(module): name for name, module in reversed(self.modules.items())}
        once = {id(module): module for module in self.modules.values()}
        self.owners = Counter(
            id(p) for m in once.values() for p in m._parameters.values() if p is not None
        )
        self.prunable = set(prunable_layers(self.modules[""]))

    def shares(self, module: nn.Module) -> bool:
        """Returns whether another module holds a parameter of this one."""
        own = [p for p in module._parameters.values() if p is not None]
        return any(self.owners[id(p)] > 1 for p in own)

    # Tensors

    def tensor(self, channels: Channels, dim: int = 1) -> Layout:
        """Returns the layout of a new tensor that holds given channels."""
        self.sizes.append(len(channels))
        return Layout(len(self.sizes) - 1, channels, dim)

    def like(self, layout: Layout) -> Layout:
        """Returns the layout of a new tensor that holds the same channels."""
        return self.tensor(layout.channels, layout.dim)

    def pick(self, source: Layout, index: Channels) -> Layout:
        """Returns the layout of a new tensor that holds positions of another."""
        made = self.tensor(source.channels[index], source.dim)
        positions = torch.from_numpy(index).to(self.device)
        self.steps.append(Pick(source.tensor, made.tensor, positions))
        return made

    def new(self, node: fx.Node, *, varies: bool = True) -> Layout | None:
        """Returns a node's result as new channels; None if it is no tensor."""
        shape = self.shapes.get(node)
        if shape is None:
            return None
        made = self.tensor(self.layouts.new(shape[1] if len(shape) > 1 else 1))
        self.steps.append(Source(made.tensor, len(made.channels), varies))
        return made

    def pinned(self, node: fx.Node, reason: str, *, varies: bool = True) -> Layout | None:
        """Returns a node's result as new channels that must stay; None if it is no tensor."""
        made = self.new(node, varies=varies)
        if made is not None:
            self.layouts.pin(made.channels, reason)
        return made

    def given(self, node: fx.Node) -> Layout | None:
        """Returns an input of the network; None if it is no tensor."""
        made = self.new(node)
        if made is not None:
            self.inputs.append(made.channels)
            if not self.free_input:
                self.layouts.pin(made.channels, "model input")
        return made

    def returned(self, node: fx.Node) -> None:
        """Notes what the network returns."""
        layout = self.layout(node.args[0])
        if self.free_output and layout is not None and layout.dim == 1:
            self.output = layout.channels
            self.steps.append(Sink(layout.tensor, output=True))
        else:
            self.read_inputs(node, "model output", output=True)

    def read(self, layout: Layout, reason: str, *, output: bool = False) -> None:
        """Notes that a tensor is read whole by what is not followed."""
        self.layouts.pin(layout.channels, reason)
        self.steps.append(Sink(layout.tensor, output))

    def read_inputs(self, node: fx.Node, reason: str, *, output: bool = False) -> None:
        """Notes that a node reads its inputs whole."""
        for source in node.all_input_nodes:
            value = self.values.get(source)
            parts = value if isinstance(value, tuple) else (value,)
            for part in parts:
                if part is not None:
                    layout = part.layout if isinstance(part, ShapeOf) else part
                    self.read(layout, reason, output=output)

    def unknown(self, node: fx.Node, reason: str | None = None) -> Layout | None:
        """Returns the result of a node that is not followed; all that it touches must stay."""
        reason = reason or f"{self.describe(node)} is not followed"
        self.read_inputs(node, reason)
        return self.pinned(node, reason)

    # Nodes

    def layout(self, node: Any) -> Layout | None:
        """Returns the layout of a node's value, None if it has none."""
        value = self.values.get(node) if isinstance(node, fx.Node) else None
        return value if isinstance(value, Layout) else None

    def nearest_shape(self, node: fx.Node) -> tuple[int, ...]:
        """Returns the shape of the nearest tensor that a node descends from."""
        while node not in self.shapes:
            node = node.all_input_nodes[0]
        return self.shapes[node]

    def module(self, node: fx.Node) -> nn.Module:
        """Returns the module that a node calls."""
        return self.modules[str(node.target)]

    def name(self, node: fx.Node) -> str:
        """Returns the first name of the module that a node calls."""
        return self.names[id(self.module(node))]

    def describe(self, node: fx.Node) -> str:
        """Returns what a node does, for messages."""
        if node.op == "call_module":
            return type(self.module(node)).__name__
        return str(getattr(node.target, "__name__", node.target))


def argument(node: fx.Node, index: int, name: str, default: Any) -> Any:
    """Returns a call's argument by place or name."""
    return node.args[index] if len(node.args) > index else node.kwargs.get(name, default)
