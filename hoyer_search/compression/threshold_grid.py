"""Which thresholds to try on a network."""

import bisect
import math
from collections.abc import Callable, Collection

import numpy as np
import torch
from torch import Tensor, nn

from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.layers import PrunableLayer, prunable_layers
from hoyer_search.compression.masks import make_masks
from hoyer_search.compression.thresholds import Granularity, Rule, unit

DENSEST, SPARSEST = 0.99, 0.001
"""Share of the weights at the two ends of a grid; whole filters begin with all of them."""

COUNTS = 2
"""Thresholds for each one wanted at which the weights that are left are counted."""


def threshold_grid(
    model: nn.Module,
    graph: ChannelGraph,
    *,
    rule: Rule,
    granularity: Granularity,
    points: int,
    exclude: Collection[str] = (),
) -> list[float]:
    """Returns thresholds that spread the number of surviving weights evenly in its logarithm.

    Of single weights they run from 99% of the nonzero ones to 0.1%, and end earlier where a layer
    would lose its last weight. Of filters and channels they run from all weights, since a single
    one may cost a network its accuracy, to 0.1%, and end earlier where the network would be cut in
    two. A filter takes others with it, those that it feeds or is added to, so the weights that are
    left are counted on masks, at some thresholds, and interpolated between.

    The same weights give the same thresholds. The cost is one sort of the weights, or that of
    twice as many masks as thresholds are wanted.

    Args:
        model: A network with prunable layers.
        graph: Its channel graph.
        rule: Unit of the thresholds.
        granularity: Whether single weights or whole filters and channels survive.
        points: Number of thresholds wanted, at least 1.
        exclude: Layers that the thresholds do not touch.

    Returns:
        Distinct rising thresholds: ``points`` of them, or fewer where single filters are too large
        a step or magnitudes repeat; none if every weight is zero, or the network is cut in two
        already.
    """
    magnitudes = [
        part
        for name, layer in prunable_layers(model).items()
        if name not in exclude
        for part in _by_group(_magnitudes(layer.weight, rule), layer)
    ]
    if granularity == "element":
        densest, (candidates, survivors) = DENSEST, _elements(magnitudes)
    else:

        def count(threshold: float) -> Tensor:
            return make_masks(
                model,
                graph,
                threshold=threshold,
                rule=rule,
                granularity=granularity,
                exclude=exclude,
            ).nonzeros()

        densest, (candidates, survivors) = 1.0, _filters(magnitudes, count, COUNTS * points)
    if len(candidates) == 0:
        return []
    most, least = densest * survivors[0].item(), SPARSEST * survivors[0].item()
    targets = torch.logspace(
        math.log10(most),
        math.log10(max(least, survivors[-1].item())),
        points,
        dtype=torch.float64,
    )
    targets[0] = most  # which the logarithm rounds
    # Survivors fall as thresholds rise: the first candidate that leaves no more than the target,
    # and of equal ones the first.
    places = torch.searchsorted(-survivors, -targets).clamp(max=len(candidates) - 1)
    places = torch.searchsorted(candidates, candidates[places])
    return sorted(set(_below(candidates, places).tolist()))


def _below(candidates: Tensor, places: Tensor) -> Tensor:
    """Returns thresholds halfway below candidates, so that rounding moves no weight across."""
    below = torch.where(places > 0, candidates[(places - 1).clamp(min=0)], 0.0)
    return (below.double() + candidates[places].double()) / 2


def _by_group(magnitude: Tensor, layer: PrunableLayer) -> tuple[Tensor, ...]:
    """Returns the groups of a convolution; the many of a depthwise one are taken as one."""
    groups = getattr(layer, "groups", 1)
    depthwise = groups > 1 and layer.weight.shape[1] == 1
    if groups == 1 or depthwise:
        return (magnitude,)
    return magnitude.chunk(groups)


def _magnitudes(weight: Tensor, rule: Rule) -> Tensor:
    """Returns |w| in units of the rule, in at least single precision.

    Of a constant layer, zeros are 0 and all else is infinite: it survives every ratio.
    """
    wide = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
    return torch.nan_to_num(wide.abs() / unit(wide, rule), nan=0.0, posinf=torch.inf)


def _elements(magnitudes: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns rising magnitudes, and how many weights are at least as large as each.

    They end where a layer would lose its last weight.
    """
    values = _rising(torch.cat([m.flatten() for m in magnitudes]))
    survivors = torch.arange(len(values), 0, -1, dtype=torch.float64)
    if not len(values):
        return values, survivors
    whole = torch.stack([m.max() for m in magnitudes if m.max() > 0]).min()
    useful = int((values <= whole.cpu()).sum())
    return values[:useful], survivors[:useful]


def _filters(
    magnitudes: list[Tensor], count: Callable[[float], Tensor], counts: int
) -> tuple[Tensor, Tensor]:
    """Returns the distinct maxima of filters and channels, and how many weights are left at each.

    They end where the network would be cut in two.

    Args:
        magnitudes: Those of the layers.
        count: Returns how many weights of the network a threshold leaves, 0-dim.
        counts: At how many of them to ask; between those it is interpolated.
    """
    pairs = [(m.flatten(1).amax(1), m.transpose(0, 1).flatten(1).amax(1)) for m in magnitudes]
    values = torch.unique_consecutive(_rising(torch.cat([one for pair in pairs for one in pair])))
    places = torch.arange(len(values))
    thresholds = _below(values, places).tolist()
    useful = bisect.bisect_left(thresholds, True, key=lambda at: bool(count(at) == 0))
    known = torch.linspace(0, useful - 1, min(counts, useful)).round().long()
    left = [count(thresholds[place]) for place in known.tolist()]
    if not left:
        return values[:0], values[:0]
    survivors = np.interp(places[:useful], known, torch.stack(left).cpu())
    return values[:useful], torch.from_numpy(survivors)


def _rising(values: Tensor) -> Tensor:
    useful = values[(values > 0) & values.isfinite()]
    return torch.from_numpy(np.sort(useful.cpu().numpy()))  # ten times faster than torch's on CPUs
