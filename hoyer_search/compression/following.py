"""How layers, normalisation, activations, pooling and arithmetic treat channels.

Each function takes a walk, a node and the layout of its first input, and returns its result's.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hoyer_search.compression import operations
from hoyer_search.compression.flow import Combine, Map, Mix, Scale
from hoyer_search.compression.layers import PrunableLayer, num_filters
from hoyer_search.compression.layouts import Layout
from hoyer_search.compression.walking import Value, Walk


def layer(walk: Walk, node: fx.Node, source: Layout) -> Value:
    """A prunable layer. Called again, or under another name, its channels are the same."""
    name = walk.name(node)
    module = cast(PrunableLayer, walk.module(node))
    if name not in walk.prunable:
        return walk.unknown(node, f"{name} has no weight of its own")
    if walk.shares(module) or name in walk.exposed:
        return walk.unknown(node, f"{name} shares its weights")
    linear = isinstance(module, nn.Linear)
    dim = len(walk.shapes[node]) - 1 if linear else 1
    channels = module.in_features if isinstance(module, nn.Linear) else module.in_channels
    followed = source.dim == dim and len(source.channels) == channels
    if not followed or (name in walk.rows and name not in walk.columns):
        walk.read(source, f"{name} reads another dimension than the channels")
        _forget_columns(walk, name)
    elif name in walk.columns:
        walk.layouts.join(walk.columns[name], source.channels)
    else:
        walk.columns[name] = source.channels
    if name not in walk.rows:
        walk.rows[name] = walk.layouts.new(num_filters(module))
        _group(walk, name, module)
    made = walk.tensor(walk.rows[name], dim)
    read = source.tensor if name in walk.columns else None
    walk.steps.append(Mix(name, read, made.tensor, module.bias is not None))
    return made


def _forget_columns(walk: Walk, name: str) -> None:
    if name in walk.columns:
        walk.layouts.pin(walk.columns.pop(name), f"{name} reads several dimensions")
        walk.steps = [
            Mix(step.layer, None, step.out, step.has_bias)
            if isinstance(step, Mix) and step.layer == name
            else step
            for step in walk.steps
        ]


def _group(walk: Walk, name: str, module: PrunableLayer) -> None:
    """Ties or balances the channels of a grouped convolution."""
    groups = 1 if isinstance(module, nn.Linear) else module.groups
    if groups == 1:
        return
    rows = walk.rows[name].reshape(groups, -1)
    if name not in walk.columns:
        walk.layouts.pin(rows.flatten(), f"{name} is a grouped convolution of unknown channels")
        return
    columns = walk.columns[name].reshape(groups, -1)
    if columns.shape[1] == 1:  # depthwise: a channel and the filters that read it are one
        walk.layouts.join(np.repeat(columns[:, 0], rows.shape[1]), rows.flatten())
    walk.layouts.balance(columns, rows)


def hollow(walk: Walk, node: fx.Node, source: Layout) -> Value:
    """What an earlier shrinking left of a layer: it takes any input, and its outputs stay."""
    return walk.pinned(node, f"{walk.name(node)} was hollowed out before", varies=False)


def norm(walk: Walk, node: fx.Node, source: Layout) -> Value:
    """A BatchNorm. Without affine parameters its mean is still subtracted."""
    name = walk.name(node)
    module = cast(_BatchNorm, walk.module(node))
    if source.dim != 1 or name in walk.exposed or walk.shares(module):
        return walk.unknown(node, f"{name} is used in an unusual way")
    if name in walk.norms:
        walk.layouts.join(walk.norms[name], source.channels)
    else:
        walk.norms[name] = source.channels
    made = walk.like(source)
    walk.steps.append(Scale(name, source.tensor, made.tensor, module.affine))
    return made


def keep(walk: Walk, node: fx.Node, source: Layout) -> Value:
    """An activation that leaves zeros alone."""
    return _map(walk, node, source, keeps_zero=True)


def shift(walk: Walk, node: fx.Node, source: Layout) -> Value:
    """An activation that makes something else of zeros."""
    return _map(walk, node, source, keeps_zero=False)


def pool(walk: Walk, node: fx.Node, source: Layout) -> Value:
    """A pooling over positions."""
    # Without a batch dimension, or with the indices returned too, dim 1 is something else.
    rank = {"1": 3, "2": 4, "3": 5}[walk.describe(node).rstrip("d")[-1]]
    if source.dim != 1 or len(walk.shapes.get(node, ())) != rank:
        return walk.unknown(node)
    made = walk.like(source)
    padded = "avg" in walk.describe(node).lower() and "adaptive" not in walk.describe(node).lower()
    function = None if padded else _unchanged
    walk.steps.append(Map(source.tensor, made.tensor, keeps_zero=True, function=function))
    return made


def arithmetic(walk: Walk, node: fx.Node, source: Layout) -> Value:
    """A sum, difference, product or quotient with a tensor or a number."""
    left, right = node.args[:2] if len(node.args) >= 2 else (None, None)
    layouts = [layout for a in (left, right) if (layout := walk.layout(a)) is not None]
    numbers = [a for a in (left, right) if isinstance(a, int | float)]
    if len(layouts) == 2 and _aligned(walk, node, *layouts):
        return _combine(walk, node, *layouts)
    if len(layouts) == 1 and len(numbers) == 1 and not node.kwargs:
        keeps_zero = node.target not in operations.SUMS and walk.layout(left) is not None
        return _map(walk, node, layouts[0], keeps_zero=keeps_zero)
    return walk.unknown(node)


def _combine(walk: Walk, node: fx.Node, left: Layout, right: Layout) -> Layout:
    walk.layouts.join(left.channels, right.channels)
    made = walk.like(left)
    product = node.target in operations.PRODUCTS
    call = _call(walk, node)
    walk.steps.append(
        Combine(left.tensor, right.tensor, made.tensor, product, lambda a, b: call(a, b))
    )
    return made


def _aligned(walk: Walk, node: fx.Node, left: Layout, right: Layout) -> bool:
    """Returns whether two operands hold their channels along the same dimension."""
    ranks = {len(walk.shapes[a]) for a in node.args[:2] if isinstance(a, fx.Node)}
    return (
        len(ranks) == 1
        and not node.kwargs
        and node.target not in operations.QUOTIENTS
        and left.dim == right.dim
        and len(left.channels) == len(right.channels)
    )


def _map(walk: Walk, node: fx.Node, source: Layout, *, keeps_zero: bool) -> Layout:
    made = walk.like(source)
    random = any(word in walk.describe(node).lower() for word in ("drop", "stochastic"))
    walk.steps.append(
        Map(source.tensor, made.tensor, keeps_zero, None if random else _call(walk, node))
    )
    return made


def _unchanged(values: Tensor) -> Tensor:
    return values


def _call(walk: Walk, node: fx.Node) -> Callable[..., Tensor]:
    """Returns a node's operation on values in place of its tensors; others make it undefined."""

    def call(*values: Tensor) -> Tensor:
        if sum(isinstance(a, fx.Node) for a in node.args) != len(values):
            return torch.full_like(values[0], torch.nan)
        remaining = iter([value.clone() for value in values])
        args: list[Any] = [next(remaining) if isinstance(a, fx.Node) else a for a in node.args]
        if node.op == "call_module":
            function: Callable[..., Any] = walk.module(node)
        elif node.op == "call_method":
            function = getattr(torch.Tensor, str(node.target))
        else:
            function = cast(Callable[..., Any], node.target)
        return cast(Tensor, function(*args, **node.kwargs))

    return call
