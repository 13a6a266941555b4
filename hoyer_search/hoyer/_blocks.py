"""Tensors in blocks of rows that stay in cache, and the precision they are computed in."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

# Blocks and their temporaries stay in a core's L2: on ResNet-50 twice as fast as whole layers.
# A layer of up to two blocks is not worth the calls.
BLOCK_BYTES = 2**19
SMALLEST = torch.finfo(torch.float64).tiny


def compute_dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    """Returns the floating type to compute with: that of the tensors, float32 at least."""
    return reduce(torch.promote_types, (t.dtype for t in tensors), torch.float32)


def row_blocks(tensor: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Returns views of a tensor, split along its first dimension.

    Equal shapes give equal blocks, so a weight and its gradient can be walked together. Other
    devices than the CPU get one block: there a launch costs more than a pass over memory.

    Args:
        tensor: Any shape with at least one dimension.
        dtype: The type its elements will have in temporaries.
    """
    num_bytes = tensor.numel() * dtype.itemsize
    if tensor.device.type != "cpu" or num_bytes <= 2 * BLOCK_BYTES:
        return (tensor,)
    return torch.split(tensor, max(1, BLOCK_BYTES * tensor.shape[0] // num_bytes))


def limited(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns float64 values as another type, saturated where they would become infinite.

    A factor is infinite only where it meets weights that are zero (or subnormal), and infinity
    times zero would be NaN.
    """
    largest = torch.finfo(dtype).max
    return values.clamp(-largest, largest).to(dtype)


def per_layer(block_sums: Tensor, counts: Sequence[int]) -> Tensor:
    """Returns sums of blocks added up by layer; ``counts`` holds each layer's number of blocks."""
    if len(counts) == len(block_sums):
        return block_sums
    return torch.stack([part.sum() for part in torch.split(block_sums, list(counts))])


def add_product_(target: Tensor, values: Tensor, factor: Tensor) -> None:
    """Adds ``factor * values`` to a gradient, rounded once when it has fewer bits.

    ``values`` is used up.
    """
    if target.dtype == values.dtype:
        target.addcmul_(values, factor)
    else:
        target.add_(values.mul_(factor))
