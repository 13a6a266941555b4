"""Tensors in blocks of rows that stay in cache, and the precision they are computed in."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

# Blocks and their temporaries stay in a core's L2: on ResNet-50 twice as fast as whole layers.
# A layer of up to two blocks is not worth the calls.
BLOCK_BYTES = 2**19
SMALLEST = torch.finfo(torch.float64).tiny
# Sums of squares between these neither overflow nor lose digits to underflow in float32.
SAFE_SQUARES = (1e-24, 1e36)
# Up to here a sum in sequence, as vector_norm forms it, is right to 1e-7.
LONGEST_ROW = 2**15


def on_host(tensors: Sequence[Tensor]) -> bool:
    """Returns whether these are plain float32 tensors whose numbers can be read without waiting.

    That is so on the CPU, outside a compiler.
    """
    return not torch.compiler.is_compiling() and all(
        t.device.type == "cpu" and t.dtype == torch.float32 and type(t) in (Tensor, nn.Parameter)
        for t in tensors
    )


def in_memory_order(tensor: Tensor) -> Tensor | None:
    """Returns a view of shape (rows, columns) whose rows are contiguous in memory.

    Rows are the first dimension. Columns are those of ``flatten(1)``, or of the same with the
    second dimension last where that is how the tensor lies in memory. None if neither is.
    """
    if tensor.is_contiguous():
        return tensor.flatten(1)
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1).flatten(1)
    return None


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
