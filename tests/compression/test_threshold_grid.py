import numpy as np
import pytest
import torch
from small_networks import seeded
from torch import Tensor, nn
from torch.nn import functional

from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.masks import make_masks
from hoyer_search.compression.threshold_grid import threshold_grid
from hoyer_search.compression.thresholds import surviving


class WideResidual(nn.Module):
    """Residual blocks whose channels live and die together."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(32, 32, 3, padding=1) for _ in range(6))
        self.fc = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            x = functional.relu(x + second(functional.relu(first(x))))
        return self.fc(x.mean((2, 3)))


def traced(model: nn.Module, inputs: int) -> ChannelGraph:
    return ChannelGraph.trace(model, torch.zeros(1, inputs))


def survivors(model, graph, grid, granularity):
    """The weights that each threshold leaves."""
    rest = {"rule": "std_ratio", "granularity": granularity}
    return np.array([int(make_masks(model, graph, threshold=t, **rest).nonzeros()) for t in grid])


@pytest.mark.parametrize("rule", ["std_ratio", "absolute"])
def test_element_grid_spreads_survivors_evenly_in_the_logarithm(rule):
    model = nn.Sequential(nn.Linear(100, 80), nn.ReLU(), nn.Linear(80, 60))
    for index, layer in enumerate((model[0], model[2])):
        layer.weight.data = torch.randn(
            layer.weight.shape, generator=torch.Generator().manual_seed(index)
        )
    grid = threshold_grid(model, traced(model, 100), rule=rule, granularity="element", points=20)
    assert grid == sorted(set(grid))
    assert len(grid) == 20
    survivors = np.array([
        sum(
            surviving(layer.weight, threshold=t, rule=rule, granularity="element").sum().item()
            for layer in (model[0], model[2])
        )
        for t in grid
    ])  # fmt: skip
    total = 100 * 80 + 80 * 60
    assert survivors[0] == pytest.approx(0.99 * total, rel=1e-3)
    assert survivors[-1] == pytest.approx(0.001 * total, abs=10)
    steps = np.diff(np.log(survivors))
    assert (steps < 0).all()
    assert steps[:10] == pytest.approx(steps[:10].mean(), rel=0.02)


@pytest.mark.parametrize("granularity", ["element", "structural"])
@pytest.mark.parametrize("name", ["lenet_300_100", "batch_norm", "residual"])
def test_grid_is_deterministic_rising_and_leaves_a_network(name, granularity):
    model, example = seeded(name)
    graph = ChannelGraph.trace(model, example)
    arguments = {"rule": "std_ratio", "granularity": granularity, "points": 12}
    grid = threshold_grid(model, graph, **arguments)
    assert 0 < len(grid) <= 12
    assert grid == sorted(set(grid)) == threshold_grid(model, graph, **arguments)
    assert survivors(model, graph, grid[-1:], granularity)[0] > 0
    if granularity == "element":
        for parameter in (p for p in model.parameters() if p.ndim > 1):
            rest = {"rule": "std_ratio", "granularity": granularity}
            assert surviving(parameter, threshold=grid[-1], **rest).any()


@pytest.mark.parametrize("name", ["lenet_5", "wide"])
def test_structural_grid_begins_with_all_weights_and_counts_what_filters_take_with_them(name):
    if name == "wide":
        torch.manual_seed(0)
        model, example = WideResidual(), torch.randn(1, 3, 4, 4)
    else:
        model, example = seeded(name)
    graph = ChannelGraph.trace(model, example)
    grid = threshold_grid(model, graph, rule="std_ratio", granularity="structural", points=20)
    left = survivors(model, graph, grid, "structural")
    total = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    assert left[0] == total
    assert len(grid) == 20
    assert left[-1] > 0
    steps = -np.diff(np.log(left))
    assert steps.max() < 1.5 * steps.mean()


def test_a_network_of_zeros_has_no_grid():
    model = nn.Linear(3, 3)
    nn.init.zeros_(model.weight)
    graph = traced(model, 3)
    for granularity in ("element", "structural"):
        assert (
            threshold_grid(model, graph, rule="std_ratio", granularity=granularity, points=5) == []
        )


def test_repeated_magnitudes_give_fewer_thresholds():
    model = nn.Linear(10, 10)
    model.weight.data = torch.arange(100).reshape(10, 10).remainder(3).float()
    grid = threshold_grid(
        model, traced(model, 10), rule="absolute", granularity="element", points=30
    )
    assert grid == [0.5, 1.5]


def test_excluded_layers_do_not_shape_the_grid():
    model, example = seeded("lenet_300_100")
    graph = ChannelGraph.trace(model, example)
    settings = {"rule": "absolute", "granularity": "element", "points": 5}
    before = threshold_grid(model, graph, exclude=["fc2"], **settings)
    with torch.no_grad():
        model.fc2.weight *= 100
    assert threshold_grid(model, graph, exclude=["fc2"], **settings) == before
    assert threshold_grid(model, graph, **settings) != before
