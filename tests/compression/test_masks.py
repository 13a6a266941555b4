import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import LENETS, SMALL, seeded
from torch import nn

from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.layers import prunable_layers
from hoyer_search.compression.masks import Masks, make_masks, masks_from_zeros

EVERY = sorted(SMALL | LENETS)


def sparse(name: str, seed: int, density: float) -> tuple[nn.Module, torch.Tensor]:
    """Returns a network with filters, channels and single weights of tiny magnitude."""
    model, example = seeded(name, seed)
    generator = torch.Generator().manual_seed(seed)
    for layer in prunable_layers(model).values():
        for dim in (0, 1):
            keep = torch.rand(layer.weight.shape[dim], generator=generator) < density
            shape = [-1 if d == dim else 1 for d in range(layer.weight.ndim)]
            layer.weight.data *= torch.where(keep, 1.0, 1e-6).reshape(shape)
    return model, example


@pytest.mark.parametrize("name", EVERY)
def test_a_threshold_of_zero_keeps_a_dense_network_whole(name):
    model, example = seeded(name)
    graph = ChannelGraph.trace(model, example)
    masks = make_masks(model, graph, threshold=0.0, rule="std_ratio", granularity="structural")
    assert all(bool((mask == 1).all()) for mask in masks.values())
    assert masks.nonzeros() == sum(w.weight.numel() for w in prunable_layers(model).values())


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(SMALL)), st.integers(0, 10**6), st.floats(0.2, 1.0),
    st.sampled_from(["element", "structural"]),
)  # fmt: skip
def test_propagation_changes_no_output_beyond_the_structural_groups(
    name, seed, density, granularity
):
    """Masks of weights, then of the biases and norms of dead filters: the rest is free."""
    model, example = sparse(name, seed, density)
    graph = ChannelGraph.trace(model, example)
    masks = make_masks(model, graph, threshold=1e-3, rule="absolute", granularity=granularity)
    model.double().eval()
    masked, grouped = copy.deepcopy(model), copy.deepcopy(model)
    Masks({n: m.double() for n, m in masks.items()}, graph).apply_(masked)
    with torch.no_grad():
        for layer_name, layer in prunable_layers(grouped).items():
            layer.weight[layer.weight.abs() < 1e-3] = 0  # what the threshold itself zeroes
            kept = masks.weight(layer_name)
            assert bool((layer.weight[kept != 0] != 0).all()) or granularity == "structural"
        for parameter, mask in masks.items():
            if grouped.get_parameter(parameter).ndim == 1:
                grouped.get_parameter(parameter).mul_(mask)
        if granularity == "structural":  # surviving groups stay dense
            for layer_name, layer in prunable_layers(grouped).items():
                original = model.get_submodule(layer_name).weight
                alive = original.abs() >= 1e-3
                rows = alive.flatten(1).any(1)
                columns = alive.transpose(0, 1).flatten(1).any(1)
                shape = (1,) * (original.ndim - 2)
                layer.weight.copy_(
                    original * rows.reshape(-1, 1, *shape) * columns.reshape(1, -1, *shape)
                )
        x = torch.randn(3, *example.shape[1:], dtype=torch.float64)
        torch.testing.assert_close(masked(x), grouped(x), rtol=0, atol=1e-10)


@settings(max_examples=40)
@given(st.sampled_from(sorted(SMALL)), st.integers(0, 10**6), st.floats(0.2, 0.9))
def test_masks_are_a_fixpoint(name, seed, density):
    model, example = sparse(name, seed, density)
    graph = ChannelGraph.trace(model, example)
    masks = make_masks(model, graph, threshold=1e-3, rule="absolute", granularity="element")
    masks.apply_(model)
    again = make_masks(model, graph, threshold=1e-3, rule="absolute", granularity="element")
    assert all(torch.equal(masks[name], again[name]) for name in masks)
    found = masks_from_zeros(model, graph)
    assert found.keys() == masks.keys()
    assert found.nonzeros() == masks.nonzeros()
    assert found.macs() == masks.macs()


def test_an_excluded_layer_keeps_what_its_neighbours_leave():
    model, example = seeded("lenet_300_100")
    with torch.no_grad():
        model.fc1.weight[0] = 1e-6
        model.fc2.weight[:50] = 1e-6
    graph = ChannelGraph.trace(model, example)
    settings = {"threshold": 1e-5, "rule": "absolute", "granularity": "structural"}
    masks = make_masks(model, graph, exclude=["fc2"], **settings)
    assert masks.weight("fc2")[:, 1:].all()
    assert not masks.weight("fc2")[:, 0].any()
    assert not make_masks(model, graph, **settings).weight("fc2")[:50].any()


def test_death_travels_forwards_and_backwards():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        for layer in (model[0], model[2], model[4]):
            layer.weight.fill_(1.0)
            layer.bias.fill_(1.0)
        model[0].weight[0] = 0  # forwards: column 0 of layer 2, and its filter 1 that reads only it
        model[2].weight[1] = torch.tensor([1.0, 0.0, 0.0])
        model[4].weight[:, 2] = 0  # backwards: filter 2 of layer 2, and filter 2 of layer 0
        model[2].weight[:, 2] = torch.tensor([0.0, 0.0, 1.0])
    graph = ChannelGraph.trace(model, torch.randn(2, 4))
    masks = make_masks(model, graph, threshold=0.5, rule="absolute", granularity="element")
    assert masks["0.weight"][:, 0].tolist() == [0, 1, 0]
    assert masks["0.bias"].tolist() == [0, 1, 0]
    assert masks["2.weight"].tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert masks["2.bias"].tolist() == [1, 0, 0]
    assert masks["4.weight"].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert "4.bias" not in masks
    assert masks.macs() == 4 * 1 + 1 * 1 + 1 * 2


def test_a_dead_filter_takes_its_own_bias_and_norm_along_and_not_its_channel():
    model, example = seeded("residual")
    with torch.no_grad():
        for layer in (model.stem, model.a2):
            layer.weight[[0, 1]] = 0
        model.b2.weight[0] = 0
    graph = ChannelGraph.trace(model, example)
    masks = make_masks(model, graph, threshold=0.0, rule="absolute", granularity="element")
    assert masks["stem.bias"].tolist() == masks["a2.bias"].tolist() == [0, 0, 1, 1, 1, 1]
    assert masks["abn.weight"].tolist() == masks["bn.bias"].tolist() == [0, 0, 1, 1, 1, 1]
    assert masks["fc.weight"].any(0).tolist() == [0, 1, 1, 1, 1, 1]
    assert masks["a1.weight"].flatten(2).any(2).any(0).tolist() == [0, 0, 1, 1, 1, 1]
    assert masks["b1.weight"].flatten(2).any(2).any(0).tolist() == [0, 0, 1, 1, 1, 1]


def test_outputs_and_the_columns_of_the_input_lose_only_what_the_threshold_zeroes():
    model, example = seeded("lenet_300_100")
    with torch.no_grad():
        model.fc3.weight[4] = 0
        model.fc1.weight[:, :10] = 0
    graph = ChannelGraph.trace(model, example)
    masks = make_masks(model, graph, threshold=0.0, rule="std_ratio", granularity="structural")
    assert "fc3.bias" not in masks
    assert masks.nonzeros() == 266_200 - 100 - 10 * 300
    assert masks["fc1.bias"].all()


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
        lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=1e-2),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    ],
)
def test_zeros_stay_zero_under_any_optimizer(optimizer):
    model, example = sparse("batch_norm", 3, 0.7)
    graph = ChannelGraph.trace(model, example)
    steps = optimizer(model.parameters())
    model(example).square().sum().backward()
    steps.step()  # a momentum from before the pruning
    masks = make_masks(model, graph, threshold=1.0, rule="std_ratio", granularity="element")
    masks.apply_(model)
    before = model.conv1.weight.clone()
    for _ in range(5):
        steps.zero_grad()
        model(example).square().sum().backward()
        steps.step()
        masks.apply_(model)
        for name, mask in masks.items():
            assert bool((model.get_parameter(name)[mask == 0] == 0).all())
    assert not torch.equal(before, model.conv1.weight)


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0, float("nan")])
def test_masks_refuse_all_but_zero_and_one(value):
    model, example = seeded("shifting")
    graph = ChannelGraph.trace(model, example)
    tensors = dict(masks_from_zeros(model, graph))
    assert len(Masks(tensors, graph)) == len(tensors)
    tensors["fc2.weight"] = torch.full_like(tensors["fc2.weight"], value)
    with pytest.raises(ValueError, match=r"only 0 and 1; that of 'fc2.weight'"):
        Masks(tensors, graph)


def test_masks_need_every_prunable_layer():
    model, example = seeded("shifting")
    graph = ChannelGraph.trace(model, example)
    tensors = dict(masks_from_zeros(model, graph))
    del tensors["fc1.weight"]
    with pytest.raises(ValueError, match=r"without one: \['fc1'\]"):
        Masks(tensors, graph)


def test_half_precision_counts_are_exact():
    model, example = seeded("lenet_300_100")
    graph = ChannelGraph.trace(model, example)
    masks = masks_from_zeros(model.to(torch.bfloat16), graph)
    assert masks["fc1.weight"].dtype == torch.bfloat16
    assert (masks.nonzeros(), masks.macs()) == (266_200, 266_200)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("granularity", ["element", "structural"])
def test_masks_are_made_and_counted_without_waiting_for_the_device(granularity):
    model, example = seeded("lenet_5")
    model.cuda()
    graph = ChannelGraph.trace(model, example)
    torch.cuda.set_sync_debug_mode("error")
    try:
        masks = make_masks(model, graph, threshold=0.5, rule="std_ratio", granularity=granularity)
        masks.apply_(model)
        counts = masks.nonzeros(), masks.macs()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(count > 0 for count in counts)
