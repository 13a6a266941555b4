import torch
from torch import nn

from hoyer_search.compression.histograms import BINS, weight_histograms


def test_every_nonzero_weight_is_counted_once() -> None:
    layer = nn.Linear(40, 30)
    with torch.no_grad():
        layer.weight.mul_((layer.weight.abs() > 0.05).float())
    model = nn.Sequential(layer, nn.ReLU(), nn.Linear(30, 3))
    found = weight_histograms(model)
    assert list(found) == ["0", "2"]
    assert sum(found["0"].counts) == int((layer.weight != 0).sum()) < layer.weight.numel()
    assert found["0"].limit == float(layer.weight.detach().abs().max())


def test_bins_are_even_and_symmetric() -> None:
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-1.0, 1.0, 0.01, -0.01]]))
    counts = weight_histograms(layer)[""].counts
    expected = [0] * BINS
    expected[0], expected[BINS // 2], expected[-1] = 1, 2, 1
    assert counts == expected


def test_counts_are_exact_beyond_single_precision() -> None:
    layer = nn.Linear(1 << 12, (1 << 12) + 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(0.5)
    assert max(weight_histograms(layer)[""].counts) == layer.weight.numel() > 1 << 24


def test_an_empty_layer_has_an_empty_histogram() -> None:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.zero_()
    (found,) = weight_histograms(layer).values()
    assert found.limit == 0.0
    assert not any(found.counts)
