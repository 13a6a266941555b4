"""Filter-wise and channel-wise groups of a layer's weight."""

from typing import NamedTuple

import torch
from torch import Tensor

from hoyer_search.errors import InputError
from hoyer_search.hoyer._blocks import (
    SAFE_SQUARES,
    SMALLEST,
    add_product_,
    compute_dtype,
    in_memory_order,
    limited,
    on_host,
    row_blocks,
)
from hoyer_search.hoyer.arrangement import (
    PLAIN,
    Arrangement,
    add_arranged_gradient_,
    squared_norms,
)

# Coefficients of groups with safe squares: their sums and products stay within float32.
SAFE_COEFFICIENT = SAFE_SQUARES[0] ** -0.5


class GroupNorms(NamedTuple):
    """L2 norms of a layer's groups, float64."""

    filters: Tensor
    """Shape (filters,)."""
    channels: Tensor
    """Shape (channels,), over all groups of a convolution."""


def group_norms(weight: Tensor, arrangement: Arrangement = PLAIN) -> GroupNorms:
    r"""Returns the L2 norms of a weight's filters and channels.

    They are summed in float64: a group may be smaller than its layer by any factor, and the
    direction of its gradient counts all the same.

    Args:
        weight: Shape (out, in, \*kernel), or as its arrangement says.
        arrangement: Where it holds filters and channels.

    Raises:
        InputError: The weight has fewer than two dimensions.
    """
    if weight.dim() < 2:
        raise InputError(
            "filter and channel groups need a weight of shape (out, in, *kernel), got "
            f"{tuple(weight.shape)}: leave this parameter out or use an element-wise regularizer"
        )
    if not arrangement.plain:
        return GroupNorms(*(squares.sqrt_() for squares in squared_norms(weight, arrangement)))
    squares_on_host = _squares_on_host(weight)
    if squares_on_host is not None:
        return GroupNorms(*(squares.sqrt_() for squares in squares_on_host))
    row_sums, column_sums = [], []
    for block in row_blocks(weight, torch.float64):
        squares = block.flatten(1).to(torch.float64, copy=True).square_()
        row_sums.append(squares.sum(1))
        column_sums.append(squares.sum(0))
    filters = torch.cat(row_sums)
    columns = column_sums[0] if len(column_sums) == 1 else torch.stack(column_sums).sum(0)
    channels = columns.view(weight.shape[1], -1).sum(1)
    return GroupNorms(filters.sqrt_(), channels.sqrt_())


def inverse(norms: Tensor) -> Tensor:
    """Returns 1 / norm; of a zero group a finite number, which only ever meets zero weights."""
    return norms.clamp_min(SMALLEST).reciprocal_()


def add_group_gradient_(
    weight: Tensor,
    grad: Tensor,
    arrangement: Arrangement = PLAIN,
    *,
    factor: Tensor,
    filters: Tensor,
    channels: Tensor,
) -> None:
    r"""Adds ``factor * w * (filters[out] + channels[in])`` to a layer's gradient, in place.

    Args:
        weight: Shape (out, in, \*kernel), or as its arrangement says.
        grad: Gradient of the same shape.
        arrangement: Where it holds filters and channels.
        factor: 0-dim, float64.
        filters: One coefficient a filter, float64 of shape (filters,).
        channels: One coefficient a channel, float64 of shape (channels,).
    """
    if not arrangement.plain:
        add_arranged_gradient_(
            weight, grad, arrangement, factor=factor, filters=filters, channels=channels
        )
        return
    if _add_on_host(weight, grad, factor=factor, filters=filters, channels=channels):
        return
    dtype = compute_dtype([weight])
    factor = limited(factor, dtype)
    kernel_size = weight.shape[2:].numel()
    columns = limited(channels, dtype).unsqueeze(1).expand(-1, kernel_size).flatten()
    blocks = row_blocks(weight, torch.float64)  # half as large: it holds more temporaries
    rows = torch.split(limited(filters, dtype).unsqueeze(1), [len(block) for block in blocks])
    for block, target, row in zip(blocks, row_blocks(grad, torch.float64), rows, strict=True):
        flat = block.flatten(1).to(dtype)
        direction = (flat * row).addcmul_(flat, columns)
        add_product_(target, direction.view(target.shape), factor)


def _squares_on_host(weight: Tensor) -> GroupNorms | None:
    """Returns the squared norms at half the cost of float64, or None where float32 loses digits.

    Blocks are summed in float32, by sum() in a tree and not by BLAS in sequence: the gradient is a
    small difference of the norms. Sums of blocks are float64.
    """
    matrix = in_memory_order(weight) if on_host([weight]) else None
    if matrix is None or matrix.numel() == 0:
        return None
    columns = matrix.new_zeros(matrix.shape[1], dtype=torch.float64)
    rows = []
    for block in row_blocks(matrix, torch.float32):
        squares = block.square()
        rows.append(squares.sum(1))
        columns += squares.sum(0)
    filters = torch.cat(rows).double()
    channels = _fold(columns, weight)
    sums = torch.cat([filters, channels])
    # A group of zeros, or one smaller than its layer by a large factor, needs float64.
    smallest, largest = torch.aminmax(sums)
    if not (SAFE_SQUARES[0] < float(smallest) and float(largest) < SAFE_SQUARES[1]):
        return None
    return GroupNorms(filters, channels)


def _add_on_host(
    weight: Tensor, grad: Tensor, *, factor: Tensor, filters: Tensor, channels: Tensor
) -> bool:
    """Does what ``add_group_gradient_`` does in two passes, or returns False where it cannot."""
    if not on_host([weight, grad]) or weight.stride() != grad.stride():
        return False
    matrix, target = in_memory_order(weight), in_memory_order(grad)
    largest = max(float(filters.abs().max()), float(channels.abs().max()))
    if matrix is None or target is None or not largest < SAFE_COEFFICIENT:
        return False
    scale = float(limited(factor, torch.float32))
    columns = _unfold(channels.float(), weight)
    blocks = row_blocks(matrix, torch.float32)
    rows = torch.split(filters.float().unsqueeze(1), [len(block) for block in blocks])
    for block, out, row in zip(blocks, row_blocks(target, torch.float32), rows, strict=True):
        out.addcmul_(block, row + columns, value=scale)
    return True


def _fold(columns: Tensor, weight: Tensor) -> Tensor:
    """Returns sums by channel of sums by column of ``in_memory_order``."""
    kernel_size = weight.shape[2:].numel()
    if weight.is_contiguous():
        return columns.view(weight.shape[1], kernel_size).sum(1)
    return columns.view(kernel_size, weight.shape[1]).sum(0)


def _unfold(channels: Tensor, weight: Tensor) -> Tensor:
    """Returns every channel's value for each of its columns in ``in_memory_order``."""
    kernel_size = weight.shape[2:].numel()
    if weight.is_contiguous():
        return channels.unsqueeze(1).expand(-1, kernel_size).flatten()
    return channels.repeat(kernel_size)
