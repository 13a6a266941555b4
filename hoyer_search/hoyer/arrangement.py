"""Where a weight holds its filters and channels."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hoyer_search.errors import InputError
from hoyer_search.hoyer._blocks import add_product_, compute_dtype, limited


class Arrangement(NamedTuple):
    r"""How a layer's weight connects channels to filters.

    The default is that of a Linear or a Conv: weights of shape (filters, channels, \*kernel). With
    groups, as in a grouped or depthwise convolution, a filter reads the channels of its own group
    only: (filters, channels / groups, \*kernel). A transposed convolution holds
    (channels, filters / groups, \*kernel).
    """

    groups: int = 1
    """Groups of a convolution."""
    transposed: bool = False
    """Whether the convolution is a transposed one."""

    @property
    def plain(self) -> bool:
        """Returns whether filters are the first dimension, and channels the second."""
        return self.groups == 1 and not self.transposed

    def num_filters(self, weight: Tensor) -> int:
        """Returns how many filters a weight has."""
        return self.groups * weight.shape[1] if self.transposed else weight.shape[0]


PLAIN = Arrangement()


def arrangements(given: Sequence[Arrangement], weights: Sequence[Tensor]) -> Sequence[Arrangement]:
    """Returns an arrangement for each weight: those given, or plain ones if none are.

    Raises:
        InputError: There are some, but not as many as weights.
    """
    if not given:
        return [PLAIN] * len(weights)
    if len(given) != len(weights):
        raise InputError(
            f"got {len(given)} arrangements for {len(weights)} weights: give one for each, in the "
            "same order, or none if all are plain"
        )
    return given


def squared_norms(weight: Tensor, arrangement: Arrangement) -> tuple[Tensor, Tensor]:
    """Returns the squared norms of filters and of channels in any arrangement, float64."""
    squares = _blocks(weight, arrangement).double().square()
    kernel = tuple(range(3, squares.ndim))
    filters, channels = squares.sum((2, *kernel)), squares.sum((1, *kernel))
    return filters.flatten(), channels.flatten()


def add_arranged_gradient_(
    weight: Tensor,
    grad: Tensor,
    arrangement: Arrangement,
    *,
    factor: Tensor,
    filters: Tensor,
    channels: Tensor,
) -> None:
    """Does what ``_groups.add_group_gradient_`` does, in any arrangement."""
    dtype = compute_dtype([weight])
    blocks, target = _blocks(weight, arrangement).to(dtype), _blocks(grad, arrangement)
    groups, kernel = blocks.shape[0], (1,) * (blocks.ndim - 3)
    rows = limited(filters, dtype).view(groups, -1, 1, *kernel)
    columns = limited(channels, dtype).view(groups, 1, -1, *kernel)
    direction = (blocks * rows).addcmul_(blocks, columns)
    add_product_(target, direction, limited(factor, dtype))


def _blocks(weight: Tensor, arrangement: Arrangement) -> Tensor:
    r"""Returns a view of shape (groups, filters / groups, channels / groups, \*kernel)."""
    blocks = torch.unflatten(weight, 0, (arrangement.groups, -1))
    return blocks.transpose(1, 2) if arrangement.transposed else blocks
