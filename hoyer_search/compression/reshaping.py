"""How concatenations, slices, flattening and other changes of shape treat channels.

Each function takes a walk, a node and the value of its first input, and returns its result's.
"""

import math
from typing import Any, cast

import numpy as np
from torch import fx, nn

from hoyer_search.compression.flow import Concat, Map
from hoyer_search.compression.layouts import Layout
from hoyer_search.compression.walking import ShapeOf, Value, Walk, argument


def concatenate(walk: Walk, node: fx.Node, source: Value) -> Value:
    """Appends channels, if along their dimension."""
    given = argument(node, 0, "tensors", ())
    layouts = [walk.layout(part) for part in given] if isinstance(given, list | tuple) else []
    parts = [layout for layout in layouts if layout is not None]
    dim = argument(node, 1, "dim", 0)
    rank = len(walk.shapes.get(node, ()))
    if not parts or len(parts) < len(layouts) or not isinstance(dim, int):
        return walk.unknown(node)
    if any(part.dim != dim % rank for part in parts):
        return walk.unknown(node)
    made = walk.tensor(np.concatenate([part.channels for part in parts]), parts[0].dim)
    walk.steps.append(Concat(tuple(part.tensor for part in parts), made.tensor))
    return made


def chunk(walk: Walk, node: fx.Node, source: Layout) -> Value:
    """Splits channels into equal parts, which must then stay equal."""
    parts, dim = argument(node, 1, "chunks", None), argument(node, 2, "dim", 0)
    rank = len(walk.shapes[node.all_input_nodes[0]])
    size = len(source.channels)
    if not isinstance(parts, int) or not isinstance(dim, int) or size % max(1, parts) or parts < 1:
        return walk.unknown(node)
    if dim % rank != source.dim:
        return (
            tuple(_same(walk, source) for _ in range(parts)) if dim % rank else walk.unknown(node)
        )
    places = np.arange(size, dtype=np.int64).reshape(parts, -1)
    walk.layouts.balance(source.channels[places])
    return tuple(walk.pick(source, index) for index in places)


def item(walk: Walk, node: fx.Node, source: Value) -> Value:
    """A size, a part of a split tensor, or a slice."""
    index = node.args[1]
    if isinstance(source, ShapeOf) and isinstance(index, int):
        _read_size(walk, node, source.layout, index)
        return None
    if isinstance(source, tuple) and isinstance(index, int):
        return source[index]
    if isinstance(source, Layout):
        return _slice(walk, node, source, index if isinstance(index, tuple) else (index,))
    return walk.unknown(node)


def _slice(walk: Walk, node: fx.Node, source: Layout, index: tuple[Any, ...]) -> Value:
    """A slice along any dimension; its bounds within the channels stay what forward() says."""
    rank = len(walk.shapes[node.all_input_nodes[0]])
    if Ellipsis in index:
        place = index.index(Ellipsis)
        whole = (slice(None),) * (rank - len(index) + 1)
        index = index[:place] + whole + index[place + 1 :]
    if len(index) > rank or not all(isinstance(part, slice) for part in index):
        return walk.unknown(node)
    part = index[source.dim] if len(index) > source.dim else slice(None)
    bounds = (part.start, part.stop, part.step)
    if not all(bound is None or isinstance(bound, int) for bound in bounds):
        return walk.unknown(node)
    places = np.arange(len(source.channels), dtype=np.int64)
    chosen = places[part]
    if len(chosen) == 0 or part.step not in (None, 1) or min(part.start or 0, part.stop or 0) < 0:
        return walk.unknown(node)
    if part.start or part.stop is not None:
        # What lies before a bound must stay where it is, and what lies beyond must not run out.
        fixed = places[: part.stop] if part.stop is not None else places[: part.start + 1]
        walk.layouts.pin(source.channels[fixed], "forward() slices channels at a fixed place")
    return walk.pick(source, chosen)


def flatten_module(walk: Walk, node: fx.Node, source: Layout) -> Value:
    """An nn.Flatten."""
    module = cast(nn.Flatten, walk.module(node))
    return _flatten(walk, node, source, module.start_dim, module.end_dim)


def flatten_function(walk: Walk, node: fx.Node, source: Layout) -> Value:
    """A torch.flatten, by function or method."""
    start = argument(node, 1, "start_dim", 0)
    return _flatten(walk, node, source, start, argument(node, 2, "end_dim", -1))


def _flatten(walk: Walk, node: fx.Node, source: Layout, start: Any, end: Any) -> Value:
    shape = walk.shapes[node.all_input_nodes[0]]
    if not isinstance(start, int) or not isinstance(end, int):
        return walk.unknown(node)
    start, end = start % len(shape), end % len(shape)
    if source.dim == start == 1 and end == len(shape) - 1:
        places = np.arange(len(source.channels), dtype=np.int64).repeat(math.prod(shape[2:]))
        return walk.pick(source, places)
    return _same(walk, source) if source.dim < start else walk.unknown(node)


def view(walk: Walk, node: fx.Node, source: Layout) -> Value:
    """A view that flattens all but the batch."""
    sizes = node.args[1:] if len(node.args) != 2 else node.args[1]
    if isinstance(sizes, tuple | list) and len(sizes) == 2:
        if isinstance(sizes[0], fx.Node) and sizes[1] == -1:
            return _flatten(walk, node, source, 1, -1)
        reason = f"{walk.describe(node)} with a fixed size; torch.flatten(x, 1) would do"
        return walk.unknown(node, reason)
    return walk.unknown(node)


def permute(walk: Walk, node: fx.Node, source: Layout) -> Value:
    """A change of the dimensions' order."""
    order = node.args[1] if len(node.args) == 2 else node.args[1:]
    if not isinstance(order, tuple | list) or not all(isinstance(d, int) for d in order):
        return walk.unknown(node)
    dims = [cast(int, d) % len(order) for d in order]
    return _same(walk, source, dim=dims.index(source.dim))


def mean(walk: Walk, node: fx.Node, source: Layout) -> Value:
    """A mean over positions."""
    dims = argument(node, 1, "dim", None)
    over = dims if isinstance(dims, tuple | list) else [dims]
    if not all(isinstance(d, int) for d in over):
        return walk.unknown(node)
    rank = len(walk.shapes[node.all_input_nodes[0]])
    return _same(walk, source) if min(d % rank for d in over) > source.dim else walk.unknown(node)


def _same(walk: Walk, source: Layout, *, dim: int | None = None) -> Layout:
    made = walk.tensor(source.channels, source.dim if dim is None else dim)
    walk.steps.append(Map(source.tensor, made.tensor, keeps_zero=True, function=lambda v: v))
    return made


# Sizes: harmless unless the number of channels itself is used.


def size(walk: Walk, node: fx.Node, source: Layout) -> Value:
    """A tensor's size, device or type."""
    what = argument(node, 1, "dim", None)
    if node.target is getattr and what not in ("shape", "device", "dtype"):
        return walk.unknown(node)
    if what in ("device", "dtype"):
        return None
    if isinstance(what, int):
        _read_size(walk, node, source, what)
        return None
    return ShapeOf(source)


def _read_size(walk: Walk, node: fx.Node, source: Layout, dim: int) -> None:
    if dim % len(walk.nearest_shape(node)) == source.dim and node.users:
        walk.layouts.pin(source.channels, "forward() reads the number of channels")
