"""Sizes of a pruned network: the paper's counts, and those of the network as it runs."""

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hoyer_search.compression.channels import evaluating
from hoyer_search.compression.masks import Masks
from hoyer_search.results import LayerResult


def layer_results(masks: Masks) -> list[LayerResult]:
    """Returns the paper's counts of every prunable layer, in the network's order.

    Of a network without masks, ``masks_from_zeros`` gives the masks to count.
    """
    counts = masks.counts().tolist()
    return [
        LayerResult(
            name=name,
            weights=masks.weight(name).numel(),
            nonzeros=nonzeros,
            rows=rows,
            columns=columns,
            macs=macs,
        )
        for name, (nonzeros, rows, columns, macs) in zip(masks.graph.layers, counts, strict=True)
    ]


def structure(masks: Masks) -> str:
    """Returns the surviving widths in the notation of the paper's Table 2, e.g. ``353-45-11``.

    Every layer but the last gives its surviving filters. A linear layer whose inputs are not the
    filters of the layer before it (the network's input, or a flatten of several positions) gives
    its surviving columns first: dense LeNet-5 is ``20-50-800-500``.
    """
    widths: list[int] = []
    filters = None
    layers = layer_results(masks)
    for layer in layers:
        mask = masks.weight(layer.name)
        if mask.ndim == 2 and mask.shape[1] != filters:
            widths.append(layer.columns)
        if layer is not layers[-1]:
            widths.append(layer.rows)
        filters = mask.shape[0]
    return "-".join(map(str, widths))


def physical_macs(model: nn.Module, example_input: Tensor) -> int:
    """Returns the multiply-accumulates of one forward pass as it runs, zeros included.

    Counted by ``torch.utils.flop_counter``, which counts two operations for each. Give a batch of
    one for the MACs of one example.
    """
    device = next(model.parameters()).device
    with evaluating(model), FlopCounterMode(display=False) as counter:
        model(example_input.to(device))
    return int(counter.get_total_flops()) // 2


def num_parameters(model: nn.Module) -> int:
    """Returns the number of parameters, biases and zeros included, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
