import pytest
import torch
from small_networks import seeded
from torch import nn

from hoyer_search.compression.channels import ChannelGraph, evaluating
from hoyer_search.errors import PluginError


def rows(graph: ChannelGraph, layer: str) -> list[int]:
    return graph.layers[layer].rows.tolist()


def columns(graph: ChannelGraph, layer: str) -> list[int]:
    return graph.layers[layer].columns.tolist()


def pins(graph: ChannelGraph, channels: list[int]) -> set[str | None]:
    return {graph.pins.get(channel) for channel in channels}


def test_lenet_5_has_sixteen_columns_of_fc1_for_each_filter_of_conv2():
    graph = ChannelGraph.trace(*seeded("lenet_5"))
    assert graph.num_channels == 1 + 20 + 50 + 500 + 10
    assert columns(graph, "fc1") == [c for c in rows(graph, "conv2") for _ in range(16)]
    assert pins(graph, columns(graph, "conv1")) == {"model input"}
    assert pins(graph, rows(graph, "fc2")) == {"model output"}
    assert len(graph.pins) == 11
    assert {name: layer.positions for name, layer in graph.layers.items()} == {
        "conv1": 576, "conv2": 64, "fc1": 1, "fc2": 1,
    }  # fmt: skip


def test_a_residual_addition_joins_the_filters_of_all_its_terms():
    graph = ChannelGraph.trace(*seeded("residual"))
    stream = rows(graph, "stem")
    assert all(rows(graph, name) == stream for name in ("a2", "b2"))
    assert all(columns(graph, name) == stream for name in ("a1", "b1", "fc"))
    assert all(channels.tolist() == stream for channels in graph.norms.values())


def test_a_concatenation_appends_channels():
    graph = ChannelGraph.trace(*seeded("concatenating"))
    left, right = rows(graph, "left"), rows(graph, "right")
    assert graph.norms["bn"].tolist() == left + right
    assert columns(graph, "head.1") == [c for c in left + right for _ in range(4)]


def test_what_is_not_followed_is_pinned_with_its_reason():
    graph = ChannelGraph.trace(*seeded("unknown"))
    assert pins(graph, rows(graph, "conv1")) == {None}
    assert pins(graph, rows(graph, "conv2")) == {"softmax is not followed"}
    assert pins(graph, rows(graph, "conv3")) == {
        "view with a fixed size; torch.flatten(x, 1) would do"
    }
    assert pins(graph, rows(graph, "fc1")) == {None}


def test_a_depthwise_convolution_makes_the_channels_that_it_reads():
    model = nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.Conv2d(3, 6, 3, groups=3), nn.Conv2d(6, 4, 1, groups=2)
    )
    graph = ChannelGraph.trace(model, torch.randn(1, 2, 5, 5))
    assert rows(graph, "1") == [c for c in rows(graph, "0") for _ in range(2)]
    assert [b.inputs.shape for b in graph.balances] == [(3, 1), (2, 3)]


def test_an_untraceable_network_has_no_spaces_and_says_why():
    graph = ChannelGraph.trace(*seeded("untraceable"))
    assert graph.num_channels == 0
    assert "control flow" in graph.untraced
    assert [layer.positions for layer in graph.layers.values()] == [1, 1]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(torch.relu(self.fc1(x)))))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.fc2.weight = self.fc1.weight

    def forward(self, x):
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


def test_shared_weights_are_pinned():
    graph = ChannelGraph.trace(Tied(), torch.randn(3, 4))
    assert "fc1 shares its weights" in graph.pins.values()
    assert graph.layers["fc1"].rows is None


def test_a_shared_weight_counts_its_positions_wherever_it_is_used():
    graph = ChannelGraph.trace(Tied(), torch.randn(3, 4))
    assert {name: layer.positions for name, layer in graph.layers.items()} == {"fc1": 2, "fc3": 1}


def test_a_layer_whose_bias_another_one_uses_keeps_its_filters():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model[2].bias = model[0].bias
    graph = ChannelGraph.trace(model, torch.randn(3, 4))
    assert {"0 shares its weights", "2 shares its weights"} <= set(graph.pins.values())
    assert graph.layers["0"].rows is None


def test_a_layer_called_twice_joins_what_it_reads_and_makes():
    model = nn.Sequential(nn.Linear(2, 4), Twice())
    graph = ChannelGraph.trace(model, torch.randn(3, 2))
    assert rows(graph, "1.fc1") == columns(graph, "1.fc1") == rows(graph, "0")
    assert pins(graph, rows(graph, "0")) == {None}


def test_a_layer_called_twice_counts_its_positions_twice():
    graph = ChannelGraph.trace(Twice(), torch.randn(3, 4))
    assert graph.layers["fc1"].positions == 2


class ReadsChannels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.fc1(x)
        return self.fc2(x / x.shape[1])


def test_a_network_that_reads_its_number_of_channels_keeps_them():
    graph = ChannelGraph.trace(ReadsChannels(), torch.randn(3, 4))
    assert "forward() reads the number of channels" in graph.pins.values()


def test_linear_layers_over_the_last_dimension_are_followed():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    graph = ChannelGraph.trace(model, torch.randn(3, 5, 4))
    assert pins(graph, rows(graph, "0")) == {None}
    assert graph.layers["0"].positions == 5


def test_tracing_leaves_modes_and_statistics_alone():
    model, example = seeded("batch_norm")
    model.bn1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ChannelGraph.trace(model, example)
    assert model.training
    assert not model.bn1.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_network_that_refuses_the_example_is_an_input_error():
    model, _ = seeded("lenet_5")
    with pytest.raises(PluginError, match=r"batch of shape \(2, 3, 28, 28\).*RuntimeError"):
        ChannelGraph.trace(model, torch.randn(2, 3, 28, 28))


def test_evaluating_restores_modes_after_an_error():
    model, example = seeded("conv1d")
    with pytest.raises(ValueError, match="not enough values"), evaluating(model):
        model(example[0])
    assert model.training
