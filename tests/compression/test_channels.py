import pytest
import torch
from small_networks import seeded
from torch import nn

from hoyer_search.compression.channels import ChannelGraph, evaluating
from hoyer_search.errors import PluginError


def pins(graph: ChannelGraph) -> list[str | None]:
    return [space.pinned for space in graph.spaces]


def test_lenet_5_has_sixteen_columns_of_fc1_for_each_filter_of_conv2():
    graph = ChannelGraph.trace(*seeded("lenet_5"))
    assert [space.size for space in graph.spaces] == [1, 20, 50, 500, 10]
    assert pins(graph) == ["model input", None, None, None, "model output"]
    (columns,) = graph.layers["fc1"].columns
    assert columns.channels.tolist() == [c for c in range(50) for _ in range(16)]
    assert columns.space == graph.layers["conv2"].rows[0].space
    assert {name: layer.positions for name, layer in graph.layers.items()} == {
        "conv1": 576, "conv2": 64, "fc1": 1, "fc2": 1,
    }  # fmt: skip


def test_a_residual_addition_joins_the_filters_of_all_its_terms():
    graph = ChannelGraph.trace(*seeded("residual"))
    space = graph.layers["stem"].rows[0].space
    assert all(graph.layers[name].rows[0].space == space for name in ("a2", "b2"))
    assert all(graph.layers[name].columns[0].space == space for name in ("a1", "b1", "fc"))
    assert all(slots[0].space == space for slots in graph.norms.values())
    assert graph.rounds > 1


def test_a_concatenation_appends_spaces():
    graph = ChannelGraph.trace(*seeded("concatenating"))
    left, right = (graph.layers[name].rows[0].space for name in ("left", "right"))
    assert [slots.space for slots in graph.norms["bn"]] == [left, right]
    assert [(s.space, len(s.channels)) for s in graph.layers["head.1"].columns] == [
        (left, 12), (right, 16),
    ]  # fmt: skip


def test_a_sigmoid_does_not_keep_zeros():
    graph = ChannelGraph.trace(*seeded("shifting"))
    assert not graph.spaces[graph.layers["fc1"].rows[0].space].zero_preserving
    assert graph.spaces[graph.layers["fc2"].rows[0].space].zero_preserving


def test_what_is_not_followed_is_pinned_with_its_reason():
    graph = ChannelGraph.trace(*seeded("unknown"))
    assert graph.spaces[graph.layers["conv1"].rows[0].space].pinned == (
        "conv2 is a grouped convolution"
    )
    assert "view with a fixed size" in graph.spaces[graph.layers["conv3"].rows[0].space].pinned
    assert "softmax is not followed" in pins(graph)
    assert graph.spaces[graph.layers["fc1"].rows[0].space].pinned is None


def test_an_untraceable_network_has_no_spaces_and_says_why():
    graph = ChannelGraph.trace(*seeded("untraceable"))
    assert graph.spaces == ()
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


@pytest.mark.parametrize("factory", [Twice, Tied])
def test_shared_weights_are_pinned(factory):
    graph = ChannelGraph.trace(factory(), torch.randn(3, 4))
    assert graph.order == ()
    assert "fc1 shares its weights" in pins(graph)


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
    assert "forward() reads the number of channels" in pins(graph)


def test_linear_layers_over_the_last_dimension_are_followed():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    graph = ChannelGraph.trace(model, torch.randn(3, 5, 4))
    assert graph.spaces[graph.layers["0"].rows[0].space].pinned is None
    assert graph.layers["0"].positions == 5


def test_an_unaffine_batch_norm_does_not_keep_zeros():
    model = nn.Sequential(
        nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6, affine=False), nn.Linear(6, 2)
    )
    graph = ChannelGraph.trace(model, torch.randn(3, 4))
    assert not graph.spaces[graph.layers["0"].rows[0].space].zero_preserving


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
