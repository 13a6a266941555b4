"""Bookkeeping of channels while a network is walked: which are one and the same, which must stay.

Every channel that a layer makes gets a number. A tensor's layout says which channel each position
along its channel dimension holds, so that flattening repeats numbers, concatenation appends them,
and an addition declares two of them one (union-find).
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Channels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a tensor holds its channels.

    Attributes:
        channels: Number of the channel at each position along ``dim``; repeated after a flatten.
        dim: The channel dimension, 1 for images.
    """

    channels: Channels
    dim: int = 1


@dataclass(frozen=True, slots=True)
class Slots:
    """A stretch of a layer's rows or columns that belongs to one channel space.

    Attributes:
        space: Index of the space.
        channels: Channel of the space at each row or column, int64, shape (n,).
    """

    space: int
    channels: Tensor


@dataclass(frozen=True, slots=True)
class ChannelSpace:
    """Channels that can only be kept or removed together, over all layers that make or read them.

    Attributes:
        size: Number of channels.
        pinned: Why none may be removed (``"model input"``, an unknown operation), or None.
        zero_preserving: Whether zeros from the producers reach the consumers as zeros.
    """

    size: int
    pinned: str | None
    zero_preserving: bool


@dataclass(slots=True)
class Layouts:
    """Collects channels, their unions and their restrictions."""

    _channels: list[int] = field(default_factory=list)  # union-find over channels
    _blocks: list[int] = field(default_factory=list)  # union-find over what was made at once
    _block_of: list[int] = field(default_factory=list)
    _pins: dict[int, str] = field(default_factory=dict)
    _shifted: set[int] = field(default_factory=set)

    def new(self, size: int, *, dim: int = 1) -> Layout:
        """Returns the layout of a tensor with ``size`` channels of its own."""
        first = len(self._channels)
        self._channels.extend(range(first, first + size))
        self._block_of.extend([len(self._blocks)] * size)
        self._blocks.append(len(self._blocks))
        return Layout(np.arange(first, first + size, dtype=np.int64), dim)

    def join(self, left: Layout, right: Layout) -> None:
        """Declares that two layouts of the same length hold the same channels."""
        for a, b in zip(left.channels.tolist(), right.channels.tolist(), strict=True):
            _union(self._channels, a, b)
            _union(self._blocks, self._block_of[a], self._block_of[b])

    def pin(self, layout: Layout, reason: str) -> None:
        """Forbids removal of a layout's channels; the first reason is kept."""
        for block in self._blocks_in(layout):
            self._pins.setdefault(block, reason)

    def shift(self, layout: Layout) -> None:
        """Notes that an operation on these channels turns zeros into something else."""
        self._shifted.update(self._blocks_in(layout))

    def spaces(self) -> list[ChannelSpace]:
        """Returns the channel spaces, in the order in which their first channel was made."""
        indices, numbers = self._places()
        sizes = np.zeros(max(indices, default=-1) + 1, dtype=np.int64)
        np.maximum.at(sizes, indices, np.asarray(numbers, dtype=np.int64) + 1)
        space_of_block = dict(zip(self._block_of, indices, strict=True))
        pins: dict[int, str] = {}
        for block, reason in self._pins.items():
            pins.setdefault(space_of_block[block], reason)
        shifted = {space_of_block[block] for block in self._shifted}
        return [
            ChannelSpace(int(size), pins.get(index), index not in shifted)
            for index, size in enumerate(sizes)
        ]

    def slots(self, layouts: dict[str, Layout], device: torch.device) -> dict[str, list[Slots]]:
        """Returns each layout as stretches of spaces, with its channels numbered within them."""
        indices, numbers = (np.asarray(v, dtype=np.int64) for v in self._places())
        result = {}
        for name, layout in layouts.items():
            spaces, channels = indices[layout.channels], numbers[layout.channels]
            cuts = np.flatnonzero(np.diff(spaces)) + 1
            result[name] = [
                Slots(int(space[0]), torch.from_numpy(part).to(device))
                for space, part in zip(
                    np.split(spaces, cuts), np.split(channels, cuts), strict=True
                )
            ]
        return result

    def _blocks_in(self, layout: Layout) -> list[int]:
        return list(dict.fromkeys(self._block_of[c] for c in layout.channels.tolist()))

    def _places(self) -> tuple[list[int], list[int]]:
        """Returns each channel's space, and its number within that space."""
        space_of_root: dict[int, int] = {}
        number_of_root: dict[int, int] = {}
        sizes: list[int] = []
        indices, numbers = [], []
        for channel, block in enumerate(self._block_of):
            space = space_of_root.setdefault(_find(self._blocks, block), len(sizes))
            if space == len(sizes):
                sizes.append(0)
            root = _find(self._channels, channel)
            if root not in number_of_root:
                number_of_root[root] = sizes[space]
                sizes[space] += 1
            indices.append(space)
            numbers.append(number_of_root[root])
        return indices, numbers


def _find(parents: list[int], item: int) -> int:
    while parents[item] != item:
        parents[item] = parents[parents[item]]
        item = parents[item]
    return item


def _union(parents: list[int], left: int, right: int) -> None:
    a, b = _find(parents, left), _find(parents, right)
    parents[max(a, b)] = min(a, b)
