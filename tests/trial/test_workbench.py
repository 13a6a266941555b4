"""Which layers a sweep regularizes, how much, and in which groups."""

import pytest
import torch
from torch import nn

from hoyer_search import datasets
from hoyer_search.hoyer import Arrangement, GroupHS
from hoyer_search.trial.workbench import Workbench


def varied() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 3, padding=1, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 4),
    )


@pytest.fixture
def penalty(toy_config):
    def make(**changes):
        settings = {
            "regularizer__name": "group_hs",
            "regularizer__decay": 0.1,
            "pruning__granularity": "structural",
        }
        config = toy_config(**settings | changes)
        bench = Workbench(config, datasets.load(config.data, seed=0, protocol="honest"))
        torch.manual_seed(0)
        model = varied()
        return bench.penalty(model), model

    return make


def test_only_weights_of_images_lie_channels_last(toy_config):
    config = toy_config(model__factory="toys:volumes")
    bench = Workbench(config, datasets.load(config.data, seed=0, protocol="honest"))
    model = bench.model()
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[2].weight.is_contiguous()
    assert model(bench.example).shape == (1, 4)


@pytest.mark.parametrize("groups", ["layer", "coupled"])
def test_groups_of_every_layer_are_its_own_filters_and_channels(penalty, groups):
    found, model = penalty(regularizer__groups=groups)
    value = float(found.add_gradient_())
    arrangements = (Arrangement(), Arrangement(6), Arrangement(2, True), Arrangement())
    weights = [model[i].weight for i in (0, 1, 3, 6)]
    with torch.no_grad():
        alone = float(0.1 * GroupHS(arrangements=arrangements).values(weights).sum())
    if groups == "layer":
        assert value == pytest.approx(alone)
    else:  # a filter of the first layer and the depthwise one behind it make one channel
        assert value != pytest.approx(alone)
        stream = [model[0].weight.grad[2], model[1].weight.grad[2]]
        assert all(bool(grad.any()) for grad in stream)


def test_layer_weights_are_given_by_name_or_pattern(penalty):
    found, model = penalty(regularizer__layer_weights={"[0-3]": 0.5, "1": 0, "6": 3.0})
    assert [id(w) for w in found.weights] == [id(model[i].weight) for i in (0, 3, 6)]
    assert found.layer_weights == [0.5, 0.5, 3.0]
