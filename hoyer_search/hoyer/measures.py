"""How sparse a tensor is."""

import math

import torch
from torch import Tensor

from hoyer_search.errors import InputError
from hoyer_search.hoyer.hoyer_ratio import Hoyer


def hoyer_sparsity(x: Tensor) -> Tensor:
    """Returns the Hoyer sparsity of a tensor's elements (DeepHoyer, Equation 1).

    (sqrt(n) - sum(|x|) / sqrt(sum(x^2))) / (sqrt(n) - 1): 0 when all magnitudes are equal, 1 when
    a single element is not zero. Zero tensors and single elements, where the formula is 0 / 0,
    count as 1.

    Args:
        x: Floating tensor of any shape. NaN gives NaN.

    Returns:
        0-dim float64 tensor in [0, 1].

    Raises:
        InputError: The tensor is empty.
    """
    if x.numel() == 0:
        raise InputError(f"sparsity needs at least one element, got shape {tuple(x.shape)}")
    if x.numel() == 1:
        return torch.ones((), dtype=torch.float64, device=x.device)
    root = math.sqrt(x.numel())
    return ((root - Hoyer().value(x)) / (root - 1)).clamp(0, 1)
