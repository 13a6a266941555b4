"""The Hoyer measures of large layers in two kernels, made by torch.compile.

They serve layers of every shape: a layer is walked in the order of memory, as rows of ``CHUNK``
elements. They are made once a process, in tens of seconds. Eager calls pass over memory once for
each operation, the kernels twice in all. (Group-HS gains nothing so: most of it is arithmetic.)
"""

import functools
import logging
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hoyer_search.hoyer._blocks import SAFE_SQUARES

CHUNK = 1024
SMALLEST_LAYER = 64 * CHUNK  # smaller ones stay in the cache, and eager calls are as fast
_log = logging.getLogger(__name__)


class Kernels(NamedTuple):
    """The compiled forms of ``_sums_of_rows`` and ``_add``."""

    sums: Callable[[Tensor], Tensor]
    add: Callable[[Tensor, Tensor, Tensor], None]


def add_compiled_(weight: Tensor, grad: Tensor, scale: float, *, power: int) -> float | None:
    """Adds scale * dR/dw to a layer's gradient and returns R, or None where it does not apply.

    Args:
        weight: A layer on the CPU, float32.
        grad: Its gradient, float32.
        scale: Factor of the gradient.
        power: 1 or 2; see ``_hoyer``.

    Returns:
        R; None for a small layer, one that does not lie in memory without gaps, one whose sums
        would lose digits in float32, or where torch.compile cannot make kernels.
    """
    dense = weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)
    if weight.numel() < SMALLEST_LAYER or not dense or weight.stride() != grad.stride():
        return None
    kernels = _kernels()
    if kernels is None:
        return None
    size = weight.numel()
    whole = size // CHUNK * CHUNK
    values = _plain(weight, 0, whole)
    sums = kernels.sums(values)
    if whole < size:
        rest = _plain(weight, whole, size)
        sums += _sums(rest)
    l1, l2_squared = sums.tolist()
    if not SAFE_SQUARES[0] < l2_squared < SAFE_SQUARES[1]:
        return None
    slope = l1 / l2_squared
    value: float = (l1 * slope) ** (power / 2)
    numbers = torch.tensor([scale * power * value / l1, slope])
    kernels.add(values, _plain(grad, 0, whole), numbers)
    if whole < size:
        _add(rest, _plain(grad, whole, size), numbers)
    return value


def available() -> bool:
    """Returns whether torch.compile can make kernels here: it needs a C++ compiler."""
    return _kernels() is not None


@functools.cache
@torch.no_grad()
def _kernels() -> Kernels | None:
    kernels = Kernels(
        torch.compile(_sums_of_rows, dynamic=True, fullgraph=True),
        torch.compile(_add, dynamic=True, fullgraph=True),
    )
    try:
        for chunks in (2, 3):  # two sizes, so that nothing is left to be compiled later
            values, target = (torch.zeros(chunks * CHUNK) for _ in range(2))
            kernels.sums(values)
            kernels.add(values, target, torch.zeros(2))
    except Exception as error:  # whatever Dynamo, Inductor and the C++ compiler raise
        reason = str(error).strip().partition("\n")[0]
        _log.warning("regularizing without compiled kernels: torch.compile failed: %s", reason)
        return None
    return kernels


def _sums_of_rows(values: Tensor) -> Tensor:
    """Returns sum(|w|) and sum(w^2), float64; rows are short enough to be summed in float32."""
    rows = values.view(-1, CHUNK)
    return torch.stack([rows.abs().sum(1).double().sum(), (rows * rows).sum(1).double().sum()])


def _sums(values: Tensor) -> Tensor:
    wide = values.double()
    return torch.stack([wide.abs().sum(), wide.square().sum()])


def _add(values: Tensor, target: Tensor, numbers: Tensor) -> None:
    """Adds ``factor * (sign(w) - slope * w)``."""
    target.add_((values.sign() - values * numbers[1]) * numbers[0])


def _plain(tensor: Tensor, start: int, end: int) -> Tensor:
    """Returns elements of a tensor without gaps, in the order of memory.

    It is no view: Dynamo would compile a kernel for each shape that it is a view of.
    """
    plain = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    offset = tensor.storage_offset() + start
    return plain.set_(tensor.untyped_storage(), offset, (end - start,), (1,))
