import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import LENETS, SMALL, seeded
from torch import nn

from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.cutting import Kept, cut, scatter
from hoyer_search.compression.exactness import exactness
from hoyer_search.compression.hollow import Hollow
from hoyer_search.compression.layers import prunable_layers
from hoyer_search.compression.masks import Masks, make_masks, masks_from_zeros
from hoyer_search.compression.measure import num_parameters, physical_macs
from hoyer_search.compression.shrink import shrink
from hoyer_search.errors import ShrinkError

EVERY = sorted(SMALL | LENETS)


def pruned(
    name: str, seed: int, density: float, granularity: str = "element"
) -> tuple[nn.Module, ChannelGraph, Masks, torch.Tensor]:
    """Returns a network with random dead filters, channels and weights, masked."""
    model, example = seeded(name, seed)
    generator = torch.Generator().manual_seed(seed)
    for layer in prunable_layers(model).values():
        shape = layer.weight.shape
        for size in ((shape[0], 1), (1, shape[1]), shape[:2]):
            keep = torch.rand(size, generator=generator) < density
            layer.weight.data *= keep.reshape(*keep.shape, *(1,) * (len(shape) - 2))
    graph = ChannelGraph.trace(model, example)
    masks = make_masks(model, graph, threshold=0.0, rule="absolute", granularity=granularity)
    masks.apply_(model)
    return model, graph, masks, example


@settings(max_examples=80)
@given(
    st.sampled_from(sorted(SMALL)), st.integers(0, 10**6), st.floats(0.0, 1.0),
    st.sampled_from(["element", "structural"]),
)  # fmt: skip
def test_a_shrunk_network_equals_the_masked_one(name, seed, density, granularity):
    model, graph, masks, example = pruned(name, seed, density, granularity)
    shrunk, report = shrink(model, graph, masks)
    assert exactness(model, shrunk, example.shape[1:]) <= 1e-10
    retraced = ChannelGraph.trace(shrunk, example)
    found = masks_from_zeros(shrunk, retraced)
    before = masks_from_zeros(model, graph).nonzeros()
    assert found.nonzeros() <= before
    # Zeros inside a structural group, or a constant that a ReLU makes zero, may let more go.
    if granularity == "element" and name != "shifting":
        assert found.nonzeros() == before
    for layer, choice in report.kept.items():
        module = shrunk.get_submodule(layer)
        if isinstance(module, Hollow):
            assert choice.columns == []
            continue
        weight = module.weight
        assert choice.rows is None or weight.shape[0] == len(choice.rows)
        groups = getattr(module, "groups", 1)
        assert choice.columns is None or weight.shape[1] * groups == len(choice.columns)


@pytest.mark.parametrize("granularity", ["element", "structural"])
@pytest.mark.parametrize("name", sorted(LENETS))
def test_lenets_shrink_to_their_live_channels(name, granularity):
    model, graph, masks, example = pruned(name, 1, 0.5, granularity)
    shrunk, report = shrink(model, graph, masks)
    assert exactness(model, shrunk, example.shape[1:]) <= 1e-10
    assert num_parameters(shrunk) < 0.6 * num_parameters(model)
    assert physical_macs(shrunk, example[:1]) < 0.6 * physical_macs(model, example[:1])
    assert list(report.kept) == list(graph.layers)
    if granularity == "element":
        *hidden, _ = prunable_layers(shrunk).values()
        assert all(layer.weight.flatten(1).any(1).all() for layer in hidden)


def test_lenet_5_loses_sixteen_columns_with_each_filter_of_conv2():
    model, example = seeded("lenet_5")
    with torch.no_grad():
        model.conv2.weight[10:] = 0
    graph = ChannelGraph.trace(model, example)
    masks = make_masks(model, graph, threshold=0.0, rule="absolute", granularity="element")
    masks.apply_(model)
    shrunk, report = shrink(model, graph, masks)
    assert shrunk.conv2.weight.shape == (10, 20, 5, 5)
    assert (shrunk.conv2.out_channels, shrunk.fc1.in_features) == (10, 160)
    assert report.kept["fc1"] == Kept(None, list(range(160)))
    assert exactness(model, shrunk, (1, 28, 28)) <= 1e-10


def test_what_stays_is_reported_with_its_reason():
    model, example = seeded("lenet_300_100")
    with torch.no_grad():
        model.fc1.weight[:, :84] = 0
        model.fc3.weight[2] = 0
    graph = ChannelGraph.trace(model, example)
    masks = make_masks(model, graph, threshold=0.0, rule="absolute", granularity="element")
    _, report = shrink(model, graph, masks)
    assert [(s.layer, s.side, s.count, s.reason) for s in report.stayed] == [
        ("fc1", "columns", 84, "model input"),
        ("fc3", "rows", 1, "model output"),
    ]


def test_layers_that_read_nothing_lose_their_weights():
    model, example = seeded("residual")
    with torch.no_grad():
        for layer in prunable_layers(model).values():
            layer.weight.zero_()
    graph = ChannelGraph.trace(model, example)
    masks = make_masks(model, graph, threshold=0.0, rule="absolute", granularity="element")
    masks.apply_(model)
    shrunk, _ = shrink(model, graph, masks)
    assert all(isinstance(shrunk.get_submodule(name), Hollow) for name in graph.layers)
    assert [name for name, _ in shrunk.named_parameters() if "weight" in name] == [
        "bn.weight", "abn.weight",
    ]  # fmt: skip
    assert exactness(model, shrunk, example.shape[1:]) <= 1e-10


def test_an_untraceable_network_keeps_its_shape_and_loses_its_weights():
    model, graph, masks, _ = pruned("untraceable", 0, 0.5)
    shrunk, report = shrink(model, graph, masks)
    assert report.kept == {}
    assert all("cannot trace" in stayed.reason for stayed in report.stayed)
    assert num_parameters(shrunk) == num_parameters(model)


def test_the_given_network_is_not_changed_and_the_copy_keeps_mode_and_gradients():
    model, graph, masks, _ = pruned("batch_norm", 2, 0.6)
    model.conv1.weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    shrunk, _ = shrink(model, graph, masks)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert shrunk.training
    assert not shrunk.conv1.weight.requires_grad
    assert shrunk.conv2.weight.requires_grad


def test_a_shrunk_network_trains_on():
    model, graph, masks, example = pruned("residual", 4, 0.7)
    shrunk, _ = shrink(model, graph, masks)
    optimizer = torch.optim.SGD(shrunk.parameters(), lr=0.01)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = shrunk(example).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_memory_layout_of_convolutions_is_kept():
    model, graph, masks, _ = pruned("lenet_5", 1, 0.5)
    shrunk, _ = shrink(model.to(memory_format=torch.channels_last), graph, masks)
    assert shrunk.conv2.weight.shape[0] < 50
    assert shrunk.conv2.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", EVERY)
def test_scattering_undoes_cutting(name):
    model, graph, masks, example = pruned(name, 5, 0.6)
    shrunk, report = shrink(model, graph, masks)
    full, _ = seeded(name, 99)
    scatter(shrunk.state_dict(), full, report.kept)
    for parameter, value in model.named_parameters():
        assert torch.equal(full.get_parameter(parameter), value)
    assert exactness(model, full, example.shape[1:]) == 0.0


class Aliased(nn.Module):
    """Calls one layer by two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.again = self.body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.again(torch.relu(self.body(torch.relu(self.stem(x))))))


@pytest.mark.parametrize("dead", [slice(0, 2), slice(None)])
def test_a_layer_with_two_names_is_cut_under_both(dead):
    torch.manual_seed(0)
    model, example = Aliased().eval(), torch.randn(2, 4)
    with torch.no_grad():
        for layer in (model.stem, model.body):
            layer.weight[dead], layer.bias[dead] = 0, 0
        model.body.weight[:, dead] = 0
    graph = ChannelGraph.trace(model, example)
    shrunk, report = shrink(model, graph, masks_from_zeros(model, graph))
    assert shrunk.again is shrunk.body
    assert exactness(model, shrunk, (4,)) <= 1e-10
    full = Aliased().eval()
    scatter(shrunk.state_dict(), full, report.kept)
    assert exactness(model, full, (4,)) <= 1e-10


def test_exactness_refuses_other_outputs():
    model, graph, masks, _ = pruned("shifting", 0, 1.0)
    shrunk, _ = shrink(model, graph, masks)
    with torch.no_grad():
        shrunk.fc3.bias += 1e-6
    with pytest.raises(ShrinkError, match="within 1e-09, but they differ by"):
        exactness(model, shrunk, (6,))
    difference = exactness(model, shrunk, (6,), tolerance=1e-4)
    for layer in (model, shrunk):
        layer.fc3.weight.data *= 10  # relative to the largest output
        layer.fc3.bias.data *= 10
    assert exactness(model, shrunk, (6,), tolerance=1e-4) == pytest.approx(difference, rel=0.01)
    with torch.no_grad():
        shrunk.fc3.bias.fill_(torch.nan)
    with pytest.raises(ShrinkError, match="differ by inf"):
        exactness(model, shrunk, (6,))


def test_exactness_names_a_network_that_cannot_run():
    model, _ = seeded("shifting")
    broken, _ = seeded("shifting")
    cut(broken, {"fc1": Kept([0, 1])})
    with pytest.raises(ShrinkError, match="fixed number of channels"):
        exactness(model, broken, (6,))


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"nowhere": Kept([0])}, "no module 'nowhere'"),
        ({"head": Kept([0])}, "Sequential, which is never cut"),
        ({"left": Kept([])}, "must rise within"),
        ({"left": Kept([1, 1])}, "must rise within"),
        ({"left": Kept([-1, 0])}, "must rise within"),
        ({"left": Kept([0, 3])}, r"within \[0, 3\)"),
        ({"left": Kept(None, [2])}, r"within \[0, 2\)"),
        ({"bn": Kept(None, [0])}, r"within \[0, 0\)"),
    ],
)
def test_cutting_refuses_what_does_not_fit(kept, message):
    model, _ = seeded("concatenating")
    with pytest.raises(ValueError, match=message):
        cut(model, kept)
