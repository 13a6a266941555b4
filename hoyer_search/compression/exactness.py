"""Whether two networks give the same outputs."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hoyer_search.compression.channels import evaluating
from hoyer_search.errors import ShrinkError

TOLERANCE = 1e-9
BATCHES = (1, 3)
Channels = Sequence[int] | None


def exactness(
    masked: nn.Module,
    shrunk: nn.Module,
    *examples: Sequence[int] | Tensor,
    tolerance: float = TOLERANCE,
    inputs: Channels = None,
    outputs: Channels = None,
) -> float:
    """Returns the largest difference between the outputs of a masked and a shrunk network.

    Both are copied to double precision and run in evaluation mode on random inputs, in a batch of
    one and a batch of three. The inputs are the same at every call.

    Args:
        masked: The full-size network with its zeros.
        shrunk: The smaller network.
        examples: Shape of one example, of each input; or, of an input of whole numbers as tokens
            are, a batch of examples to draw from.
        tolerance: Largest difference allowed.
        inputs: Channels of the input that the shrunk network takes; None if it takes all.
        outputs: Channels of the output that it returns, likewise; the others must be zero.

    Returns:
        The difference relative to the largest output of the masked network.

    Raises:
        ShrinkError: They differ by more than ``tolerance``, in shape, or by a NaN.
    """
    device = next(masked.parameters()).device
    left, right = (copy.deepcopy(model).to(device).double() for model in (masked, shrunk))
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    with evaluating(left), evaluating(right):
        for batch in BATCHES:
            given = [_draw(one, batch, generator).to(device) for one in examples]
            expected = _tensors(left(*given))
            found = _outputs(right, [_part(one, inputs) for one in given])
            worst = max(worst, _difference(expected, found, outputs))
    if not worst <= tolerance:
        raise ShrinkError(
            f"a shrunk network must give the masked one's outputs within {tolerance:g}, but they "
            f"differ by {worst:g}. Report the network's forward(): an operation in it mixes "
            "channels in a way that was not recognised"
        )
    return worst


def _draw(example: Sequence[int] | Tensor, batch: int, generator: torch.Generator) -> Tensor:
    if isinstance(example, Tensor):
        rows = torch.randint(len(example), (batch,), generator=generator)
        return example[rows.to(example.device)]
    return torch.randn((batch, *example), generator=generator, dtype=torch.float64)


def _outputs(shrunk: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    try:
        return _tensors(shrunk(*inputs))
    except RuntimeError as error:
        raise ShrinkError(
            f"a shrunk network must accept the masked one's inputs, but it raised: {error}. "
            "Its forward() may hold a fixed number of channels: read it from the tensors instead"
        ) from error


def _part(tensor: Tensor, channels: Channels) -> Tensor:
    return tensor if channels is None else tensor[:, list(channels)]


def _difference(expected: Sequence[Tensor], found: Sequence[Tensor], channels: Channels) -> float:
    if [_part(one, channels).shape for one in expected] != [one.shape for one in found]:
        return math.inf
    worst = 0.0
    for one, part in zip(expected, found, strict=True):
        other = part
        if channels is not None:
            other = torch.zeros_like(one)
            other[:, list(channels)] = part
        largest = one.abs().max().item() if one.numel() else 0.0
        difference = (one - other).abs().max().item() if one.numel() else 0.0
        worst = max(worst, _relative(difference, largest))
    return worst


def _relative(difference: float, largest: float) -> float:
    if math.isnan(difference) or math.isnan(largest):
        return math.inf
    return difference / largest if largest else difference


def _tensors(outputs: Any) -> list[Tensor]:
    """Returns the floating tensors in a network's output, in order."""
    if isinstance(outputs, Tensor):
        return [outputs.double()]
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    if isinstance(outputs, list | tuple):
        return [tensor for part in outputs for tensor in _tensors(part)]
    return []
