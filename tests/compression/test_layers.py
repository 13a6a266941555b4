import pytest
import torch
from torch import nn

from hoyer_search.compression.layers import (
    by_pattern,
    matching,
    parameter_name,
    prunable_layers,
)
from hoyer_search.errors import ConfigError


def test_prunable_layers_are_linear_and_convolutional_ones_in_order():
    model = nn.Sequential(
        nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Conv2d(1, 2, 3), nn.Conv3d(1, 2, 3),
        nn.Linear(4, 5), nn.LayerNorm(5), nn.Embedding(3, 4),
    )  # fmt: skip
    assert list(prunable_layers(model)) == ["0", "2", "3", "4"]


def test_shared_modules_and_shared_weights_appear_once():
    model = nn.Module()
    model.first = nn.Linear(3, 3)
    model.again = model.first
    model.tied = nn.Linear(3, 3)
    model.tied.weight = model.first.weight
    assert list(prunable_layers(model)) == ["first"]


def test_a_layer_with_a_computed_weight_is_left_out():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    nn.utils.parametrizations.weight_norm(model[1])
    assert list(prunable_layers(model)) == ["0"]


def test_a_lone_layer_has_the_empty_name():
    layer = nn.Linear(2, 2)
    assert list(prunable_layers(layer)) == [""]
    assert torch.equal(layer.get_parameter(parameter_name("", "weight")), layer.weight)


def test_patterns_match_names_in_the_order_of_the_network():
    names = ["conv1", "layer1.0.conv1", "layer2.0.conv1", "fc"]
    assert matching(["fc", "layer?.*"], names) == ["layer1.0.conv1", "layer2.0.conv1", "fc"]
    assert matching([], names) == matching(["conv"], names) == []


def test_values_by_pattern_give_way_to_those_by_name():
    names = ["conv1", "layer4.0.conv1", "layer4.1.conv1", "fc"]
    values = {"layer4.*": 0.5, "layer4.1.conv1": 0.0, "fc": 2.0}
    assert by_pattern(values, names) == {"layer4.0.conv1": 0.5, "layer4.1.conv1": 0.0, "fc": 2.0}
    assert by_pattern({}, names) == {}


def test_two_patterns_for_one_layer_are_refused_unless_it_is_named():
    values = {"layer4.*": 0.5, "*.conv1": 2.0}
    with pytest.raises(ConfigError, match=r"'layer4.0.conv1' is described by 'layer4.\*' and "):
        by_pattern(values, ["conv1", "layer4.0.conv1"])
    values["layer4.0.conv1"] = 1.0
    assert by_pattern(values, ["conv1", "layer4.0.conv1"]) == {"layer4.0.conv1": 1.0}
