"""What a network does to its channels: a straight list of steps over numbered tensors.

A walk of the network's torch.fx graph makes it; masks, constants and shrinking run through it,
forwards or backwards. A tensor is here a vector with one entry for each position along its channel
dimension: whether it is zero, say, or read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Comes from outside: the model's input, a constant, the result of an unknown operation.

    Attributes:
        out: The tensor made.
        size: Its channels.
        varies: Whether it depends on the model's input.
    """

    out: int
    size: int
    varies: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Sink:
    """Is read by what is not followed, whole: an unknown operation or the model's output."""

    source: int
    output: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """A prunable layer: every output mixes the inputs of its group.

    Attributes:
        layer: Its name.
        source: The tensor read; None if its channels are not those that the weight's columns are.
        out: The tensor made.
        has_bias: Whether the layer has a bias.
    """

    layer: str
    source: int | None
    out: int
    has_bias: bool


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """A BatchNorm: scales and shifts channel by channel."""

    norm: str
    source: int
    out: int
    affine: bool


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """Works on every channel for itself, alike at every position or over positions.

    Attributes:
        source: The tensor read.
        out: The tensor made.
        keeps_zero: Whether a channel of zeros stays one.
        function: The operation on values of shape (n,), None if a channel of a constant other than
            zero may become uneven.
    """

    source: int
    out: int
    keeps_zero: bool
    function: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Combine:
    """Adds, subtracts or multiplies two tensors, position by position.

    Attributes:
        left: First operand.
        right: Second operand.
        out: The tensor made.
        product: Whether one zero operand is enough for a zero.
        function: The operation on values.
    """

    left: int
    right: int
    out: int
    product: bool
    function: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Concat:
    """Appends tensors along their channel dimension."""

    sources: tuple[int, ...]
    out: int


@dataclass(frozen=True, slots=True, eq=False)
class Pick:
    """Takes positions out of a tensor: repeated for a flatten, some of them for a slice.

    Attributes:
        source: The tensor read.
        out: The tensor made.
        index: Position of the source at each position, int64.
    """

    source: int
    out: int
    index: Tensor


Step: TypeAlias = Source | Sink | Mix | Scale | Map | Combine | Concat | Pick


def lasting(flow: Sequence[Step], sizes: Sequence[int], device: torch.device) -> dict[int, Tensor]:
    """Returns the positions of each tensor where a zero would not reach every reader as zero.

    They run into an operation that makes something else of zeros, or into one that is not followed.
    """
    flags = {t: torch.zeros(n, dtype=torch.bool, device=device) for t, n in enumerate(sizes)}
    for step in reversed(flow):
        match step:
            case Map():
                flags[step.source] |= flags[step.out] | (not step.keeps_zero)
            case Scale():
                flags[step.source] |= flags[step.out] | (not step.affine)
            case _:
                hand_back(step, flags)
    return flags


def hand_back(step: Step, flags: dict[int, Tensor]) -> None:
    """Sets flags of what a step reads, in place, where those of what it makes are set.

    For steps that only move positions: an output of the network, whose flags are all set, sums,
    concatenations and picks. Others are left alone.
    """
    match step:
        case Sink():
            flags[step.source] = torch.ones_like(flags[step.source])
        case Combine():
            flags[step.left] |= flags[step.out]
            flags[step.right] |= flags[step.out]
        case Concat():
            parts = torch.split(flags[step.out], [len(flags[s]) for s in step.sources])
            for source, part in zip(step.sources, parts, strict=True):
                flags[source] |= part
        case Pick():
            spread(flags[step.source], step.index, flags[step.out])


def spread(flags: Tensor, index: Tensor, values: Tensor) -> None:
    """Sets flags, in place, wherever one of their values is set; indices may repeat."""
    hits = torch.zeros(len(flags), device=flags.device)
    flags |= hits.index_add_(0, index, values.to(hits.dtype)) > 0
