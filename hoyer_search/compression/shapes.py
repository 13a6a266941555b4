"""Shapes of the tensors inside a traced network."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx


class _Recorder(fx.Interpreter):
    """Runs a graph and notes the shape of every tensor in it."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = tuple(result.shape)
        return result


def tensor_shapes(
    traced: fx.GraphModule, example_inputs: Sequence[Tensor]
) -> dict[fx.Node, tuple[int, ...]]:
    """Returns the shape of every node of a traced network that is a tensor, by one real run."""
    recorder = _Recorder(traced)
    recorder.run(*example_inputs)
    return recorder.shapes
