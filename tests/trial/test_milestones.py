"""When a training is looked at, and where on its curve."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hoyer_search import datasets
from hoyer_search.trial.curve import look_at_milestones
from hoyer_search.trial.milestones import NUM_POINTS, milestone_quarters, probe
from hoyer_search.trial.workbench import Workbench


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (60, {15: 1, 30: 2, 45: 3}),
        (8, {2: 1, 4: 2, 6: 3}),
        (4, {1: 1, 2: 2, 3: 3}),
        (3, {1: 1, 2: 2}),
        (2, {1: 2}),
        (1, {}),
        (0, {}),
    ],
)
def test_quarters_but_the_last(epochs, expected):
    assert milestone_quarters(epochs) == expected


@given(
    accuracies=st.lists(st.floats(0, 1), max_size=40).map(lambda a: sorted(a, reverse=True)),
    points=st.integers(1, 12),
)
def test_each_place_is_evaluated_once(accuracies, points):
    seen = []

    def evaluate(index):
        seen.append(index)
        return accuracies[index]

    indices = probe(evaluate, len(accuracies), points)
    assert sorted(seen) == indices == sorted(set(indices))
    assert len(indices) == min(points, len(accuracies))
    if points > 1 and accuracies:
        assert {indices[0], indices[-1]} == {0, len(accuracies) - 1}


@pytest.mark.parametrize("edge", [5, 11, 16, 27])
def test_most_places_are_where_the_curve_falls(edge):
    def evaluate(index):
        return 0.98 if index < edge else 0.1

    indices = probe(evaluate, 33)
    assert len(indices) == NUM_POINTS
    assert {edge - 1, edge} <= set(indices), "the fall is pinned down to one step"


def test_layers_that_are_not_pruned_do_not_bound_the_thresholds(toy_config):
    config = toy_config(
        model__factory="toys:mlp",
        early_stopping="curve",
        pruning={"granularity": "element", "rule": "absolute", "exclude": ["1"]},
    )
    bench = Workbench(config, datasets.load(config.data, seed=0, protocol="honest"))
    model = bench.model()
    with torch.no_grad():
        model[1].weight.mul_(1e-3)  # a threshold that empties it leaves the others whole
    curve = look_at_milestones(model, bench.graph(model), bench, epochs=4)(1)
    others = sum(layer.weight.numel() for layer in model if hasattr(layer, "weight"))
    others -= model[1].weight.numel()
    assert curve[-1].nonzeros - model[1].weight.numel() < 0.1 * others
