"""Filter-wise and channel-wise groups of a layer's weight."""

from typing import NamedTuple

import torch
from torch import Tensor

from hoyer_search.errors import InputError
from hoyer_search.hoyer._blocks import (
    SMALLEST,
    add_product_,
    compute_dtype,
    limited,
    row_blocks,
)


class GroupNorms(NamedTuple):
    """L2 norms of a layer's groups, float64."""

    filters: Tensor
    """Shape (out,)."""
    channels: Tensor
    """Shape (in,)."""


def group_norms(weight: Tensor) -> GroupNorms:
    r"""Returns the L2 norms of a weight's filters and channels.

    They are summed in float64: a group may be smaller than its layer by any factor, and the
    direction of its gradient counts all the same.

    Args:
        weight: Shape (out, in, \*kernel).

    Raises:
        InputError: The weight has fewer than two dimensions.
    """
    if weight.dim() < 2:
        raise InputError(
            "filter and channel groups need a weight of shape (out, in, *kernel), got "
            f"{tuple(weight.shape)}: leave this parameter out or use an element-wise regularizer"
        )
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
    weight: Tensor, grad: Tensor, *, factor: Tensor, filters: Tensor, channels: Tensor
) -> None:
    r"""Adds ``factor * w * (filters[out] + channels[in])`` to a layer's gradient, in place.

    Args:
        weight: Shape (out, in, \*kernel).
        grad: Gradient of the same shape.
        factor: 0-dim, float64.
        filters: One coefficient a filter, float64 of shape (out,).
        channels: One coefficient a channel, float64 of shape (in,).
    """
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
