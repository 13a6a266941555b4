"""Histograms of a network's weights."""

import torch
from torch import Tensor, nn

from hoyer_search.compression.layers import prunable_layers
from hoyer_search.histograms import Histogram

BINS = 41
"""Bins of a histogram; an odd number, so that the weights next to zero share the middle one."""

_PART = 1 << 22  # histc counts in single precision, which holds whole numbers up to 2**24


@torch.no_grad()
def weight_histograms(model: nn.Module) -> dict[str, Histogram]:
    """Returns the histogram of each prunable layer's nonzero weights, by layer name.

    Args:
        model: The network, on any device; its weights are finite.
    """
    return {name: _histogram(layer.weight) for name, layer in prunable_layers(model).items()}


def _histogram(weight: Tensor) -> Histogram:
    nonzero = weight[weight != 0].float()
    if not len(nonzero):
        return Histogram(limit=0.0, counts=[0] * BINS)
    limit = float(nonzero.abs().max())
    parts = [
        torch.histc(part, bins=BINS, min=-limit, max=limit).long()
        for part in nonzero.chunk(1 + len(nonzero) // _PART)
    ]
    return Histogram(limit=limit, counts=torch.stack(parts).sum(0).tolist())
