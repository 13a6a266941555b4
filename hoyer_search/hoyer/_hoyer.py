"""What the two Hoyer measures share: absolute and square sums of layers, and their gradient."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hoyer_search.hoyer._blocks import (
    add_product_,
    compute_dtype,
    limited,
    per_layer,
    row_blocks,
)


def absolute_and_square_sums(weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns sum(|w|) and sum(w^2) of every layer, float64 of shape (layers,).

    Relative error about 1e-7 for float32 weights of any magnitude. A float64 pass would cost four
    times as much, so squares are summed in the weights' own precision, over blocks divided by
    their absolute sum: nothing overflows, and what underflows does not count.

    Args:
        weights: At least one tensor, on one device.
    """
    dtype = compute_dtype(weights)
    tiny = torch.finfo(dtype).tiny
    counts, sums, square_sums = [], [], []
    for weight in weights:
        blocks = row_blocks(weight, dtype)
        counts.append(len(blocks))
        for block in blocks:
            magnitudes = block.to(dtype).abs()
            total = magnitudes.sum()
            shares = magnitudes.mul_(total.clamp_min(tiny).reciprocal_())
            sums.append(total)
            # Not vector_norm or dot: they add in sequence and lose digits, sum() adds in a tree.
            square_sums.append(shares.square_().sum())
    l1 = torch.stack(sums).double()
    l2_squared = torch.stack(square_sums) * l1.clamp_min(tiny).square_()
    return per_layer(l1, counts), per_layer(l2_squared, counts)


def add_hoyer_gradients_(
    weights: Sequence[Tensor], grads: Sequence[Tensor], *, factors: Tensor, slopes: Tensor
) -> None:
    """Adds ``factor * (sign(w) - slope * w)`` to every layer's gradient, in place.

    Args:
        weights: The layers.
        grads: Gradients of the same shapes.
        factors: float64 of shape (layers,).
        slopes: float64 of shape (layers,): sum(|w|) / sum(w^2), the inverse of the magnitude
            below which gradient descent shrinks a weight.
    """
    dtype = compute_dtype(weights)
    factors, slopes = limited(torch.stack([factors, -slopes]), dtype).unbind()
    for weight, grad, factor, slope in zip(weights, grads, factors, slopes, strict=True):
        pairs = zip(row_blocks(weight, dtype), row_blocks(grad, dtype), strict=True)
        for block, target in pairs:
            block = block.to(dtype)
            add_product_(target, block.sign().addcmul_(block, slope), factor)
