"""Walks a network's torch.fx graph and says which channels flow from which layer to which.

Only operations whose effect on channels is known are followed. Any other pins what it reads and
makes, with its name as the reason: such channels are never removed, so an unknown operation costs
compression, never exactness.
"""

import math
import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import numpy as np
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hoyer_search.compression import operations
from hoyer_search.compression.layers import PRUNABLE_TYPES, PrunableLayer, prunable_layers
from hoyer_search.compression.layouts import Layout, Layouts
from hoyer_search.compression.shapes import tensor_shapes


@dataclass(frozen=True, slots=True)
class _ShapeOf:
    """The size of a tensor, which a network may read."""

    layout: Layout


_Value: TypeAlias = Layout | _ShapeOf | None
_Handler: TypeAlias = Callable[[fx.Node, Layout], _Value]


@dataclass(slots=True)
class Walk:
    """What a walk found; ``rows``, ``columns`` and ``norms`` are layouts by module name."""

    layouts: Layouts = field(default_factory=Layouts)
    rows: dict[str, Layout] = field(default_factory=dict)
    columns: dict[str, Layout] = field(default_factory=dict)
    norms: dict[str, Layout] = field(default_factory=dict)


def walk(model: nn.Module, example_input: Tensor) -> Walk:
    """Follows the channels of a network through its forward pass.

    Args:
        model: The network, in the mode to trace.
        example_input: A batch that it accepts.

    Raises:
        Exception: Whatever torch.fx raises for a network that it cannot trace.
    """
    traced = fx.symbolic_trace(model)
    walker = _Walker(model, tensor_shapes(traced, example_input))
    for node in traced.graph.nodes:
        walker.visit(node)
    return walker.found


class _Walker:
    def __init__(self, model: nn.Module, shapes: dict[fx.Node, tuple[int, ...]]) -> None:
        self.found = Walk()
        self._layouts = self.found.layouts
        self._modules = dict(model.named_modules())
        self._prunable = prunable_layers(model)
        self._owners = Counter(
            id(p) for m in self._modules.values() for p in m._parameters.values() if p is not None
        )
        self._shapes = shapes
        self._values: dict[fx.Node, _Value] = {}
        self._types: list[tuple[tuple[type[nn.Module], ...], _Handler]] = [
            (PRUNABLE_TYPES, self._layer),
            ((_BatchNorm,), self._norm),
            (operations.KEEPING_MODULES, self._keep),
            (operations.SHIFTING_MODULES, self._shift),
            (operations.POOLING_MODULES, self._pool),
            ((nn.Flatten,), self._flatten_module),
        ]
        self._functions: dict[Any, _Handler] = {
            target: handler
            for targets, handler in (
                (operations.KEEPING_FUNCTIONS, self._keep),
                (operations.SHIFTING_FUNCTIONS, self._shift),
                (operations.POOLING_FUNCTIONS, self._pool),
                (operations.FLATTENS, self._flatten_function),
                (operations.MEANS, self._mean),
                (operations.VIEWS, self._view),
                (operations.ARITHMETIC, self._arithmetic),
                (operations.CONCATENATIONS, self._concatenate),
                (operations.SIZES, self._size),
            )
            for target in targets
        }

    def visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self._values[node] = self._pinned(node, "model input")
        elif node.op == "output":
            self._pin_inputs(node, "model output")
        elif node.op == "get_attr":
            self._values[node] = self._pinned(node, f"constant {node.target}")
        elif node.target is operator.getitem:
            self._values[node] = self._item(node)
        else:
            source, handle = self._input(node), self._handler(node)
            self._values[node] = (
                self._unknown(node) if source is None or handle is None else handle(node, source)
            )

    def _handler(self, node: fx.Node) -> _Handler | None:
        if node.op != "call_module":
            return self._functions.get(node.target)
        module = self._modules[str(node.target)]
        return next((h for types, h in self._types if isinstance(module, types)), None)

    # Layers

    def _layer(self, node: fx.Node, source: Layout) -> Layout:
        name = str(node.target)
        layer = cast(PrunableLayer, self._modules[name])
        linear = isinstance(layer, nn.Linear)
        dims = len(self._shapes[node])
        made = self._layouts.new(layer.weight.shape[0], dim=dims - 1 if linear else 1)
        known = self.found.rows.get(name), self.found.columns.get(name)
        if name in self.found.rows or name not in self._prunable or self._is_tied(layer):
            self._pin(f"{name} shares its weights", source, made, *known)
        elif not linear and cast(nn.Conv2d, layer).groups > 1:
            self._pin(f"{name} is a grouped convolution", source, made)
        elif source.dim != made.dim or len(source.channels) != layer.weight.shape[1]:
            self._pin(f"{name} reads another dimension than the channels", source)
        else:
            self.found.columns[name] = source
        self.found.rows.setdefault(name, made)
        return made

    def _is_tied(self, layer: PrunableLayer) -> bool:
        return self._owners[id(layer.weight)] > 1

    def _norm(self, node: fx.Node, source: Layout) -> Layout:
        name = str(node.target)
        if name in self.found.norms or source.dim != 1:
            self._pin(f"{name} is used in an unusual way", source, self.found.norms.get(name))
        if not cast(_BatchNorm, self._modules[name]).affine:
            self._layouts.shift(source)  # its mean is still subtracted
        self.found.norms.setdefault(name, source)
        return source

    # Operations

    def _keep(self, node: fx.Node, source: Layout) -> Layout:
        return source

    def _shift(self, node: fx.Node, source: Layout) -> Layout:
        self._layouts.shift(source)
        return source

    def _pool(self, node: fx.Node, source: Layout) -> _Value:
        # Without a batch dimension, or with the indices returned too, dim 1 is something else.
        rank = {"1": 3, "2": 4, "3": 5}[self._describe(node).rstrip("d")[-1]]
        if source.dim != 1 or len(self._shapes.get(node, ())) != rank:
            return self._unknown(node)
        return source

    def _flatten_module(self, node: fx.Node, source: Layout) -> _Value:
        module = cast(nn.Flatten, self._modules[str(node.target)])
        return self._flatten(node, source, module.start_dim, module.end_dim)

    def _flatten_function(self, node: fx.Node, source: Layout) -> _Value:
        start = self._argument(node, 1, "start_dim", 0)
        return self._flatten(node, source, start, self._argument(node, 2, "end_dim", -1))

    def _flatten(self, node: fx.Node, source: Layout, start: Any, end: Any) -> _Value:
        shape = self._shapes[self._first(node)]
        if source.dim == 1 and start == 1 and end in (-1, len(shape) - 1):
            return Layout(source.channels.repeat(math.prod(shape[2:])))
        return self._unknown(node)

    def _view(self, node: fx.Node, source: Layout) -> _Value:
        sizes = node.args[1:] if len(node.args) != 2 else node.args[1]
        if isinstance(sizes, tuple | list) and len(sizes) == 2:
            if isinstance(sizes[0], fx.Node) and sizes[1] == -1:
                return self._flatten(node, source, 1, -1)
            reason = f"{self._describe(node)} with a fixed size; torch.flatten(x, 1) would do"
            return self._unknown(node, reason)
        return self._unknown(node)

    def _mean(self, node: fx.Node, source: Layout) -> _Value:
        dims = self._argument(node, 1, "dim", None)
        if dims is None:
            return self._unknown(node)
        rank = len(self._shapes[self._first(node)])
        over = [d % rank for d in (dims if isinstance(dims, tuple | list) else [dims])]
        return source if min(over) > source.dim else self._unknown(node)

    def _arithmetic(self, node: fx.Node, source: Layout) -> _Value:
        operands = [self._values.get(a) if isinstance(a, fx.Node) else a for a in node.args[:2]]
        layouts = [o for o in operands if isinstance(o, Layout)]
        if len(layouts) == 2:
            if self._aligned(node, *layouts) and node.target not in operations.QUOTIENTS:
                self._layouts.join(*layouts)
                return layouts[0]
        elif len(layouts) == 1 and any(isinstance(o, int | float) for o in operands):
            if node.target in operations.SUMS or not isinstance(operands[0], Layout):
                self._layouts.shift(layouts[0])
            return layouts[0]
        return self._unknown(node)

    def _aligned(self, node: fx.Node, left: Layout, right: Layout) -> bool:
        """Returns whether two operands hold their channels along the same dimension."""
        ranks = {len(self._shapes[a]) for a in node.args[:2] if isinstance(a, fx.Node)}
        return (
            len(ranks) == 1
            and not node.kwargs
            and left.dim == right.dim
            and len(left.channels) == len(right.channels)
        )

    def _concatenate(self, node: fx.Node, source: Layout) -> _Value:
        parts = [self._values.get(a) for a in cast(list[fx.Node], node.args[0])]
        layouts = [p for p in parts if isinstance(p, Layout)]
        dim = self._argument(node, 1, "dim", 0)
        if len(layouts) == len(parts) and isinstance(dim, int):
            rank = len(self._shapes[node])
            if all(p.dim == dim % rank for p in layouts):
                return Layout(np.concatenate([p.channels for p in layouts]), source.dim)
        return self._unknown(node)

    # Sizes: harmless unless the number of channels itself is used.

    def _size(self, node: fx.Node, source: Layout) -> _Value:
        what = self._argument(node, 1, "dim", None)
        if node.target is getattr and what not in ("shape", "device", "dtype"):
            return self._unknown(node)
        if what in ("device", "dtype"):
            return None
        if isinstance(what, int):
            self._read_size(node, source, what)
            return None
        return _ShapeOf(source)

    def _item(self, node: fx.Node) -> _Value:
        source = self._values.get(self._first(node))
        if isinstance(source, _ShapeOf) and isinstance(node.args[1], int):
            self._read_size(node, source.layout, node.args[1])
            return None
        return self._unknown(node)

    def _read_size(self, node: fx.Node, source: Layout, dim: int) -> None:
        if dim % len(self._shapes[self._tensor(node)]) == source.dim and node.users:
            self._layouts.pin(source, "forward() reads the number of channels")

    # Everything else

    def _unknown(self, node: fx.Node, reason: str | None = None) -> _Value:
        reason = reason or f"{self._describe(node)} is not followed"
        self._pin_inputs(node, reason)
        return self._pinned(node, reason)

    def _pinned(self, node: fx.Node, reason: str) -> Layout | None:
        shape = self._shapes.get(node)
        if shape is None:
            return None
        made = self._layouts.new(shape[1] if len(shape) > 1 else 1)
        self._layouts.pin(made, reason)
        return made

    def _pin_inputs(self, node: fx.Node, reason: str) -> None:
        for source in node.all_input_nodes:
            value = self._values.get(source)
            if value is not None:
                self._layouts.pin(value.layout if isinstance(value, _ShapeOf) else value, reason)

    def _pin(self, reason: str, *layouts: Layout | None) -> None:
        for layout in layouts:
            if layout is not None:
                self._layouts.pin(layout, reason)

    def _input(self, node: fx.Node) -> Layout | None:
        value = self._values.get(self._first(node)) if node.all_input_nodes else None
        return value if isinstance(value, Layout) else None

    def _first(self, node: fx.Node) -> fx.Node:
        return node.all_input_nodes[0]

    def _tensor(self, node: fx.Node) -> fx.Node:
        """Returns the nearest tensor that a node descends from."""
        while node not in self._shapes:
            node = self._first(node)
        return node

    def _argument(self, node: fx.Node, index: int, name: str, default: Any) -> Any:
        return node.args[index] if len(node.args) > index else node.kwargs.get(name, default)

    def _describe(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return type(self._modules[str(node.target)]).__name__
        return str(getattr(node.target, "__name__", node.target))
