"""What is left of a layer that reads nothing: its bias, at every output position."""

from typing import Any

from torch import Tensor, nn

from hoyer_search.compression.layers import TRANSPOSED_TYPES, PrunableLayer


class Hollow(nn.Module):
    """A layer without weights: the same output for every input, of the shape the layer gave.

    It takes the place of a layer whose every column is dead, as those of an emptied residual branch
    are, and costs no multiplication. Its state dict holds the layer's bias, if it had one.
    """

    def __init__(self, layer: PrunableLayer, filters: int) -> None:
        """Takes over a layer's bias and geometry.

        Args:
            layer: The layer, its bias already cut.
            filters: Number of outputs.
        """
        super().__init__()
        self.bias = layer.bias
        self.filters = filters
        self.linear = isinstance(layer, nn.Linear)
        self.transposed = isinstance(layer, TRANSPOSED_TYPES)
        self.geometry: dict[str, Any] = {
            name: getattr(layer, name)
            for name in ("kernel_size", "stride", "padding", "dilation", "output_padding")
            if hasattr(layer, name)
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the bias, zero without one, at every position of the layer's output."""
        if self.linear:
            outputs = inputs.new_zeros((*inputs.shape[:-1], self.filters))
            return outputs if self.bias is None else outputs + self.bias
        sizes = [self._size(int(n), dim) for dim, n in enumerate(inputs.shape[2:])]
        outputs = inputs.new_zeros((inputs.shape[0], self.filters, *sizes))
        if self.bias is None:
            return outputs
        return outputs + self.bias.reshape(-1, *(1,) * len(sizes))

    def extra_repr(self) -> str:
        """Returns what is printed of it."""
        return f"{self.filters}, bias={self.bias is not None}"

    def _size(self, size: int, dim: int) -> int:
        kernel, stride, dilation = (
            self.geometry[name][dim] for name in ("kernel_size", "stride", "dilation")
        )
        padding = self.geometry["padding"]
        reach = dilation * (kernel - 1)
        if padding == "same":
            return size
        around = 0 if padding == "valid" else 2 * padding[dim]
        if self.transposed:
            extra = self.geometry["output_padding"][dim]
            return int((size - 1) * stride - around + reach + extra + 1)
        return int((size + around - reach - 1) // stride + 1)
