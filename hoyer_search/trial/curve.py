"""The raw curve of a network: accuracy and size over thresholds, before any finetuning."""

import copy
import time
from collections.abc import Generator, Sequence

import torch
from torch import nn

from hoyer_search.compression import masks
from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.layers import matching
from hoyer_search.compression.masks import Masks
from hoyer_search.compression.threshold_grid import threshold_grid
from hoyer_search.config import Pruning
from hoyer_search.results import CurvePoint, Progress
from hoyer_search.trial.milestones import GRID, milestone_quarters, probe
from hoyer_search.trial.training import Look, count_correct
from hoyer_search.trial.workbench import Workbench


def make_masks(
    model: nn.Module, graph: ChannelGraph, *, threshold: float, pruning: Pruning
) -> Masks:
    """Returns what survives a threshold under the rule and granularity of a search space."""
    return masks.make_masks(
        model,
        graph,
        threshold=threshold,
        rule=pruning.rule,
        granularity=pruning.granularity,
        exclude=matching(pruning.exclude, graph.layers),
    )


def evaluate_curve(
    model: nn.Module, graph: ChannelGraph, bench: Workbench, thresholds: Sequence[float]
) -> Generator[Progress, None, list[CurvePoint]]:
    """Returns a network's curve, in the order of the thresholds; the network is left as it was.

    Nothing waits for the device before the last threshold.

    Args:
        model: A regularized network, on the bench's device.
        graph: Its channels.
        bench: Rule of pruning and validation data.
        thresholds: At least one, in the unit of the rule.

    Yields:
        A step each second.
    """
    weights = copy.deepcopy(model.state_dict())
    counts: list[torch.Tensor] = []
    last = time.monotonic()
    for index, threshold in enumerate(thresholds):
        alive = make_masks(model, graph, threshold=threshold, pruning=bench.config.pruning)
        alive.apply_(model)
        correct = count_correct(model, bench.validation, topk=bench.topk)
        counts.append(torch.stack([correct, alive.nonzeros(), alive.macs()]))
        model.load_state_dict(weights)
        if time.monotonic() - last > 1:
            last = time.monotonic()
            yield Progress(
                stage="curve",
                epoch=index + 1,
                epochs=len(thresholds),
                metrics={},
                time=time.time(),
            )
    examples = bench.validation.num_examples
    return [
        CurvePoint(
            threshold=threshold,
            val_accuracy=correct / examples,
            nonzeros=nonzeros,
            macs=macs,
        )
        for threshold, (correct, nonzeros, macs) in zip(
            thresholds, torch.stack(counts).tolist(), strict=True
        )
    ]


def evaluate_point(
    model: nn.Module, graph: ChannelGraph, bench: Workbench, threshold: float
) -> CurvePoint:
    """Returns the point of a network's curve at one threshold; see ``evaluate_curve``."""
    steps = evaluate_curve(model, graph, bench, [threshold])
    while True:
        try:
            next(steps)
        except StopIteration as end:
            points: list[CurvePoint] = end.value
            return points[0]


def look_at_milestones(
    model: nn.Module, graph: ChannelGraph, bench: Workbench, epochs: int
) -> Look:
    """Returns what evaluates a few points of a network's curve at milestones, for early stopping.

    Which points depends on where accuracy falls (see ``milestones.probe``), so each waits for the
    device. The network is left as it was. In a sweep that stops no trial, nothing is evaluated.

    Args:
        model: The network that is being trained, on the bench's device.
        graph: Its channels.
        bench: Configuration and validation data.
        epochs: Epochs of the training.
    """
    pruning = bench.config.pruning
    due = milestone_quarters(epochs) if bench.config.stops_early else {}

    def look(epoch: int) -> list[CurvePoint]:
        if epoch not in due:
            return []
        points: dict[int, CurvePoint] = {}
        grid = threshold_grid(
            model,
            graph,
            rule=pruning.rule,
            granularity=pruning.granularity,
            points=GRID,
            exclude=matching(pruning.exclude, graph.layers),
        )

        def evaluate(index: int) -> float:
            points[index] = evaluate_point(model, graph, bench, grid[index])
            return points[index].val_accuracy

        return [points[index] for index in probe(evaluate, len(grid))]

    return look
