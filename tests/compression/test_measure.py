import pytest
import torch
from small_networks import seeded
from torch import nn

from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.masks import Masks, masks_from_zeros
from hoyer_search.compression.measure import (
    count_macs,
    layer_results,
    num_parameters,
    physical_macs,
    structure,
)


def block_masks(name: str, blocks: dict[str, tuple[int, int]]) -> Masks:
    """Returns masks that keep the first rows and columns of each layer."""
    model, example = seeded(name)
    graph = ChannelGraph.trace(model, example)
    tensors = {}
    for layer, (rows, columns) in blocks.items():
        mask = torch.zeros_like(model.get_submodule(layer).weight)
        mask[:rows, :columns] = 1
        tensors[f"{layer}.weight"] = mask
    return Masks(tensors, graph)


@pytest.mark.parametrize(
    ("name", "expected", "nonzeros", "macs"),
    [
        ("lenet_300_100", "784-300-100", 266_200, 266_200),
        ("lenet_5", "20-50-800-500", 430_500, 2_293_000),
    ],
)
def test_dense_networks_have_the_sizes_of_the_paper(name, expected, nonzeros, macs):
    model, example = seeded(name)
    masks = masks_from_zeros(model, ChannelGraph.trace(model, example))
    assert structure(masks) == expected
    assert (masks.nonzeros(), masks.macs()) == (nonzeros, macs)
    assert physical_macs(model, example[:1]) == macs


def test_table_2_lenet_300_100():
    masks = block_masks("lenet_300_100", {"fc1": (45, 353), "fc2": (11, 45), "fc3": (10, 11)})
    assert structure(masks) == "353-45-11"
    assert masks.macs() == 16_490


def test_table_2_lenet_5():
    masks = block_masks(
        "lenet_5", {"conv1": (5, 1), "conv2": (12, 5), "fc1": (13, 139), "fc2": (10, 13)}
    )
    assert structure(masks) == "5-12-139-13"
    assert masks.macs() == 169_937
    assert [(r.name, r.rows, r.columns, r.macs) for r in layer_results(masks)] == [
        ("conv1", 5, 1, 72_000), ("conv2", 12, 5, 96_000), ("fc1", 13, 139, 1_807),
        ("fc2", 10, 13, 130),
    ]  # fmt: skip


def test_layer_results_count_what_is_not_zero():
    model, example = seeded("lenet_300_100")
    with torch.no_grad():
        model.fc2.weight[:, 1:] = 0
        model.fc2.weight[7] = 0
    results = layer_results(masks_from_zeros(model, ChannelGraph.trace(model, example)))
    fc2 = results[1]
    assert (fc2.weights, fc2.nonzeros, fc2.rows, fc2.columns, fc2.macs) == (30_000, 99, 99, 1, 99)


def test_grouped_convolutions_count_pairs_within_their_groups():
    model, example = seeded("unknown")
    with torch.no_grad():
        model.conv2.weight[:3] = 0  # the whole first group
    graph = ChannelGraph.trace(model, example)
    conv2 = layer_results(masks_from_zeros(model, graph))[1]
    assert conv2.macs == 3 * 3 * 9 * 25


def test_physical_macs_and_parameters_count_zeros_and_biases():
    model, example = seeded("lenet_5")
    with torch.no_grad():
        model.fc1.weight.zero_()
    assert physical_macs(model, example[:1]) == 2_293_000
    assert num_parameters(model) == 430_500 + 20 + 50 + 500 + 10
    assert model.training


def test_a_shared_weight_counts_each_time_it_runs_and_is_stored_once():
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False))
    model[2].weight = model[0].weight
    counts = count_macs(model, torch.zeros(1, 8))
    assert counts.physical_macs == counts.logical_macs == 128
    assert (counts.parameters, counts.bytes) == (64, 256)


class Attending(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        if isinstance(self.layer, nn.MultiheadAttention):
            return self.layer(x, x, x, need_weights=False)[0]
        out = self.layer(x)
        return out[0] if isinstance(out, tuple) else out


@pytest.mark.parametrize(
    ("layer", "macs"),
    [  # 10 steps of 16 numbers; queries, keys, values and output; products of all pairs of steps
        (nn.MultiheadAttention(16, 4, batch_first=True), 4 * 10 * 16**2 + 2 * 10**2 * 16),
        (
            nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
            4 * 10 * 16**2 + 2 * 10**2 * 16 + 2 * 10 * 16 * 32,
        ),
        (nn.LSTM(16, 16, batch_first=True), 10 * 2 * 4 * 16**2),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.filterwarnings("error")
def test_attention_and_recurrent_layers_count_in_physical_macs(layer, macs):
    assert physical_macs(Attending(layer), torch.zeros(1, 10, 16)) == macs
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mkldnn.enabled
