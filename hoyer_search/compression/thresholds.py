"""What of a layer survives a magnitude threshold."""

from typing import Literal

import torch
from torch import Tensor

from hoyer_search.compression.layers import from_blocks, to_blocks

Rule = Literal["std_ratio", "absolute"]
Granularity = Literal["element", "structural"]


def surviving(
    weight: Tensor,
    *,
    threshold: float,
    rule: Rule,
    granularity: Granularity,
    groups: int = 1,
    transposed: bool = False,
) -> Tensor:
    """Returns a mask of what survives a threshold in one layer. Never waits for the device.

    An element survives when it is not zero and ``|w| >= threshold``, or ``threshold * std(w)``
    (of the whole layer, ddof 0) under ``std_ratio``: the authors' rule. A filter or channel dies
    when every element of it does; surviving ones stay whole, so that the mask is the outer product
    of the two (Section 4.3 of the paper), within each group of a grouped convolution.

    Args:
        weight: A layer's weight, as ``layers.to_blocks`` takes it. A NaN does not survive.
        threshold: At least 0, in the unit of the rule.
        rule: ``std_ratio`` or ``absolute``.
        granularity: ``element`` or ``structural``.
        groups: Groups of the convolution.
        transposed: Whether the convolution is a transposed one.

    Returns:
        Zeros and ones in the weight's shape and dtype, on its device.
    """
    weight = weight.detach()
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    cutoff = threshold * unit(wide, rule)
    smallest = torch.finfo(wide.dtype).tiny  # so that a zero never survives
    alive = (wide.abs() >= cutoff.clamp(min=smallest)).to(weight.dtype)
    if granularity == "element":
        return alive
    matrix = to_blocks(alive, groups=groups, transposed=transposed).amax(3, keepdim=True)
    outer = matrix.amax(2, keepdim=True) * matrix.amax(1, keepdim=True)
    return from_blocks(outer, weight, transposed=transposed).expand(weight.shape)


def unit(weight: Tensor, rule: Rule) -> Tensor:
    """Returns what a threshold of the rule is a multiple of in a layer, 0-dim."""
    return weight.std(correction=0) if rule == "std_ratio" else weight.new_ones(())
