"""Bookkeeping of channels while a network is walked: which are one and the same, which must stay.

Every channel that a layer makes gets a number. A tensor's layout says which channel each position
along its channel dimension holds, so that flattening repeats numbers, concatenation appends them,
and an addition declares two of them one (union-find). What is declared one is a class: it is kept
or removed wherever it is made and read.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Channels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where a tensor holds its channels.

    Attributes:
        tensor: Number of the tensor in the flow.
        channels: Number of the channel at each position along ``dim``; repeated after a flatten.
        dim: The channel dimension, 1 for images.
    """

    tensor: int
    channels: Channels
    dim: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Balance:
    """Parts that must keep equally many channels, as the groups of a convolution.

    Attributes:
        inputs: Channels read by each part, shape (parts, n); classes once the walk is over.
        outputs: Channels made by each part, shape (parts, m), None where parts only split.
            A part with outputs may vanish whole; others keep at least one channel.
    """

    inputs: Channels
    outputs: Channels | None = None


@dataclass(slots=True)
class Layouts:
    """Collects channels, their unions and their restrictions."""

    _parents: list[int] = field(default_factory=list)  # union-find over channels
    _pins: dict[int, str] = field(default_factory=dict)
    _balances: list[Balance] = field(default_factory=list)

    def new(self, size: int) -> Channels:
        """Returns ``size`` new channels."""
        first = len(self._parents)
        self._parents.extend(range(first, first + size))
        return np.arange(first, first + size, dtype=np.int64)

    def join(self, left: Channels, right: Channels) -> None:
        """Declares that two layouts of the same length hold the same channels."""
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            one, other = self._find(a), self._find(b)
            self._parents[max(one, other)] = min(one, other)

    def pin(self, channels: Channels, reason: str) -> None:
        """Forbids removal of channels; the first reason is kept."""
        for channel in channels.tolist():
            self._pins.setdefault(channel, reason)

    def balance(self, inputs: Channels, outputs: Channels | None = None) -> None:
        """Demands that parts, the rows of ``inputs`` and ``outputs``, keep equally many."""
        self._balances.append(Balance(inputs, outputs))

    def classes(self) -> Channels:
        """Returns the class of each channel, numbered in the order of their first channels."""
        roots = np.array([self._find(c) for c in range(len(self._parents))], dtype=np.int64)
        return np.unique(roots, return_inverse=True)[1].astype(np.int64).reshape(-1)

    def pins(self, classes: Channels) -> dict[int, str]:
        """Returns why classes must stay, by class."""
        reasons: dict[int, str] = {}
        for channel, reason in self._pins.items():
            reasons.setdefault(int(classes[channel]), reason)
        return reasons

    def balances(self, classes: Channels) -> tuple[Balance, ...]:
        """Returns the balances in terms of classes."""
        return tuple(
            Balance(classes[b.inputs], None if b.outputs is None else classes[b.outputs])
            for b in self._balances
        )

    def _find(self, channel: int) -> int:
        parents = self._parents
        while parents[channel] != channel:
            parents[channel] = parents[parents[channel]]
            channel = parents[channel]
        return channel
