"""What regularizers share that are sums of one function of every weight."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hoyer_search.hoyer._blocks import (
    add_product_,
    compute_dtype,
    limited,
    per_layer,
    row_blocks,
)

Elementwise = Callable[[Tensor], Tensor]


def sums(function: Elementwise, weights: Sequence[Tensor]) -> Tensor:
    """Returns the sum of function(w) of every layer, float64 of shape (layers,)."""
    dtype = compute_dtype(weights)
    layers = [row_blocks(weight, dtype) for weight in weights]
    block_sums = [function(block.to(dtype)).sum() for layer in layers for block in layer]
    return per_layer(torch.stack(block_sums).double(), [len(layer) for layer in layers])


def add_derivatives_(
    derivative: Elementwise, weights: Sequence[Tensor], grads: Sequence[Tensor], factors: Tensor
) -> None:
    """Adds factor * derivative(w) to every layer's gradient, in place.

    Args:
        derivative: Returns a new tensor.
        weights: The layers.
        grads: Gradients of the same shapes.
        factors: One factor a layer, float64 of shape (layers,).
    """
    dtype = compute_dtype(weights)
    for weight, grad, factor in zip(weights, grads, limited(factors, dtype), strict=True):
        pairs = zip(row_blocks(weight, dtype), row_blocks(grad, dtype), strict=True)
        for block, target in pairs:
            add_product_(target, derivative(block.to(dtype)), factor)
