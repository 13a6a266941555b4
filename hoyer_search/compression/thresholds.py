"""Magnitude thresholds: what survives one, and which ones to try."""

import math
from collections.abc import Collection
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from hoyer_search.compression.layers import (
    PrunableLayer,
    from_blocks,
    prunable_layers,
    to_blocks,
)

Rule = Literal["std_ratio", "absolute"]
Granularity = Literal["element", "structural"]

DENSEST, SPARSEST = 0.99, 0.001  # share of the weights at the two ends of a grid


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
    cutoff = threshold * _unit(wide, rule)
    smallest = torch.finfo(wide.dtype).tiny  # so that a zero never survives
    alive = (wide.abs() >= cutoff.clamp(min=smallest)).to(weight.dtype)
    if granularity == "element":
        return alive
    matrix = to_blocks(alive, groups=groups, transposed=transposed).amax(3, keepdim=True)
    outer = matrix.amax(2, keepdim=True) * matrix.amax(1, keepdim=True)
    return from_blocks(outer, weight, transposed=transposed).expand(weight.shape)


def threshold_grid(
    model: nn.Module,
    *,
    rule: Rule,
    granularity: Granularity,
    points: int,
    exclude: Collection[str] = (),
) -> list[float]:
    """Returns thresholds that spread the number of surviving weights evenly in its logarithm.

    They run from 99% of the nonzero weights to 0.1%, and end earlier where a layer would lose its
    last weight: a network cut in two is of no use. The same weights give the same thresholds. The
    cost is one sort of the weights.

    Args:
        model: A network with prunable layers.
        rule: Unit of the thresholds.
        granularity: Whether single weights or whole filters and channels survive.
        points: Number of thresholds wanted, at least 1.
        exclude: Layers that the thresholds do not touch.

    Returns:
        Distinct rising thresholds: ``points`` of them, or fewer where single filters are too large
        a step or magnitudes repeat; none if every weight is zero.
    """
    magnitudes = [
        part
        for name, layer in prunable_layers(model).items()
        if name not in exclude
        for part in _by_group(_magnitudes(layer.weight, rule), layer)
    ]
    count = _element_survivors if granularity == "element" else _structural_survivors
    candidates, survivors = count(magnitudes)
    if len(candidates) == 0:
        return []
    whole = torch.stack([m.max() for m in magnitudes if m.max() > 0]).min()
    useful = int((candidates <= whole.cpu()).sum())
    candidates, survivors = candidates[:useful], survivors[:useful].double()
    most, least = DENSEST * survivors[0].item(), SPARSEST * survivors[0].item()
    targets = torch.logspace(
        math.log10(most),
        math.log10(max(least, survivors[-1].item())),
        points,
        dtype=torch.float64,
    )
    # Survivors fall as thresholds rise: the first candidate that leaves no more than the target,
    # and of equal ones the first.
    places = torch.searchsorted(-survivors, -targets).clamp(max=useful - 1)
    places = torch.searchsorted(candidates, candidates[places])
    # Halfway below the smallest survivor, so that rounding cannot move a weight across.
    below = torch.where(places > 0, candidates[(places - 1).clamp(min=0)], 0.0)
    middle = (below.double() + candidates[places].double()) / 2
    return sorted(set(middle.tolist()))


def _by_group(magnitude: Tensor, layer: PrunableLayer) -> tuple[Tensor, ...]:
    """Returns the groups of a convolution; the many of a depthwise one are taken as one."""
    groups = getattr(layer, "groups", 1)
    depthwise = groups > 1 and layer.weight.shape[1] == 1
    if groups == 1 or depthwise:
        return (magnitude,)
    return magnitude.chunk(groups)


def _unit(weight: Tensor, rule: Rule) -> Tensor:
    return weight.std(correction=0) if rule == "std_ratio" else weight.new_ones(())


def _magnitudes(weight: Tensor, rule: Rule) -> Tensor:
    """Returns |w| in units of the rule, in at least single precision.

    Of a constant layer, zeros are 0 and all else is infinite: it survives every ratio.
    """
    wide = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
    return torch.nan_to_num(wide.abs() / _unit(wide, rule), nan=0.0, posinf=torch.inf)


def _element_survivors(magnitudes: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns rising magnitudes, and how many weights are at least as large as each."""
    values = _rising(torch.cat([m.flatten() for m in magnitudes]))
    return values, torch.arange(len(values), 0, -1)


def _structural_survivors(magnitudes: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns rising maxima of filters and channels, and the weights that each leaves."""
    maxima = [
        (m.flatten(1).amax(1).cpu(), m.transpose(0, 1).flatten(1).amax(1).cpu()) for m in magnitudes
    ]
    values = _rising(torch.cat([group for pair in maxima for group in pair]))
    survivors = torch.zeros(len(values), dtype=torch.int64)
    for magnitude, (rows, columns) in zip(magnitudes, maxima, strict=True):
        kernel = magnitude[0, 0].numel()
        survivors += _at_least(rows, values) * _at_least(columns, values) * kernel
    return values, survivors


def _rising(values: Tensor) -> Tensor:
    useful = values[(values > 0) & values.isfinite()]
    return torch.from_numpy(np.sort(useful.cpu().numpy()))  # ten times faster than torch's on CPUs


def _at_least(maxima: Tensor, values: Tensor) -> Tensor:
    return len(maxima) - torch.searchsorted(maxima.sort().values, values)
