"""Walks a network's torch.fx graph and says which channels flow from which layer to which.

Only operations whose effect on channels is known are followed. Any other pins what it reads and
makes, with its name as the reason: such channels are never removed, so an unknown operation costs
compression, never exactness.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hoyer_search.compression import following, operations, reshaping
from hoyer_search.compression.hollow import Hollow
from hoyer_search.compression.layers import PRUNABLE_TYPES
from hoyer_search.compression.shapes import tensor_shapes
from hoyer_search.compression.walking import Handler, Value, Walk

_MODULES: list[tuple[tuple[type[nn.Module], ...], Handler]] = [
    (PRUNABLE_TYPES, following.layer),
    ((Hollow,), following.hollow),
    ((_BatchNorm,), following.norm),
    (operations.KEEPING_MODULES, following.keep),
    (operations.SHIFTING_MODULES, following.shift),
    (operations.POOLING_MODULES, following.pool),
    ((nn.Flatten,), reshaping.flatten_module),
]
_FUNCTIONS: dict[Any, Handler] = {
    target: handler
    for targets, handler in (
        (operations.KEEPING_FUNCTIONS, following.keep),
        (operations.SHIFTING_FUNCTIONS, following.shift),
        (operations.POOLING_FUNCTIONS, following.pool),
        (operations.ARITHMETIC, following.arithmetic),
        (operations.CONCATENATIONS, reshaping.concatenate),
        (operations.FLATTENS, reshaping.flatten_function),
        (operations.MEANS, reshaping.mean),
        (operations.VIEWS, reshaping.view),
        (operations.PERMUTATIONS, reshaping.permute),
        (operations.CHUNKS, reshaping.chunk),
        (operations.ITEMS, reshaping.item),
        (operations.SIZES, reshaping.size),
    )
    for target in targets
}


class _Tracer(fx.Tracer):
    """Keeps our own modules whole, as those of torch are."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Hollow) or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> fx.Graph:
    """Returns a network's graph, our own modules whole.

    Raises:
        Exception: Whatever torch.fx raises for a network that it cannot trace.
    """
    return _Tracer().trace(model)


def walk(
    model: nn.Module,
    example_inputs: Sequence[Tensor],
    *,
    free_input: bool = False,
    free_output: bool = False,
) -> Walk:
    """Follows the channels of a network through its forward pass.

    Args:
        model: The network, in the mode to trace.
        example_inputs: Inputs that it accepts.
        free_input: Whether the channels of its input may go.
        free_output: Whether those of its output may.

    Raises:
        Exception: Whatever torch.fx raises for a network that it cannot trace.
    """
    traced = fx.GraphModule(model, trace(model))
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    state = Walk(
        dict(model.named_modules(remove_duplicate=False)),
        tensor_shapes(traced, example_inputs),
        device,
        free_input=free_input,
        free_output=free_output,
    )
    for node in traced.graph.nodes:
        if node.op == "get_attr":
            state.exposed.add(str(node.target).rpartition(".")[0])
    for node in traced.graph.nodes:
        _visit(state, node)
    return state


def _visit(state: Walk, node: fx.Node) -> None:
    if node.op == "placeholder":
        state.values[node] = state.given(node)
    elif node.op == "output":
        state.returned(node)
    elif node.op == "get_attr":
        state.values[node] = state.pinned(node, f"constant {node.target}", varies=False)
    else:
        state.values[node] = value = _follow(state, node)
        if node.all_input_nodes and _in_place(state, node):
            state.values[node.all_input_nodes[0]] = value  # later readers see the new values


def _follow(state: Walk, node: fx.Node) -> Value:
    handler = _handler(state, node)
    if handler is None or not node.all_input_nodes:
        return state.unknown(node)
    source = state.values.get(node.all_input_nodes[0])
    if handler is reshaping.item or handler is reshaping.concatenate:
        return handler(state, node, source)
    layout = state.layout(node.all_input_nodes[0])
    return state.unknown(node) if layout is None else handler(state, node, layout)


def _handler(state: Walk, node: fx.Node) -> Handler | None:
    if node.op == "call_module":
        module = state.module(node)
        return next((h for types, h in _MODULES if isinstance(module, types)), None)
    if getattr(node.target, "__name__", "") == "stochastic_depth":  # torchvision's, a leaf of fx
        return following.keep
    return _FUNCTIONS.get(node.target)


def _in_place(state: Walk, node: fx.Node) -> bool:
    """Returns whether a node writes its result into its first input."""
    if node.op == "call_module":
        return bool(getattr(state.module(node), "inplace", False))
    name = getattr(node.target, "__name__", str(node.target))
    return (
        bool(node.kwargs.get("inplace", False))
        or node.target in operations.IN_PLACE
        or (name.endswith("_") and not name.endswith("__"))
    )
