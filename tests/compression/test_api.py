import pytest
import torch
from small_networks import ResidualNet, seeded
from torch import Tensor, nn
from torch.nn import functional

import hoyer_search as hs
from hoyer_search.compression.exactness import exactness
from hoyer_search.compression.hollow import Hollow
from hoyer_search.compression.measure import physical_macs
from hoyer_search.errors import InputError, PluginError, ShrinkError


def zero_filters(layer: nn.Module, filters: slice | list[int], *, bias: float = 0.0) -> None:
    with torch.no_grad():
        layer.weight[filters] = 0
        if layer.bias is not None:
            layer.bias[filters] = bias


class PaddedNet(nn.Module):
    """A constant channel runs into a padded convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2 = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 5, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn(self.conv1(x)))
        return self.fc(functional.relu(self.conv2(x)).mean((2, 3)))


IMAGE = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))


def test_what_went_what_stayed_and_how_exact_is_reported():
    model = PaddedNet().eval()
    zero_filters(model.conv1, [0, 3])
    zero_filters(model.fc, [1])
    shrunk, report = hs.shrink(model, IMAGE)
    assert shrunk.conv1.out_channels == shrunk.bn.num_features == shrunk.conv2.in_channels == 4
    assert report.exactness <= 1e-12
    assert str(report).splitlines()[:5] == [
        "conv1: rows 6 -> 4, columns 2 -> 2",
        "conv2: rows 5 -> 5, columns 6 -> 4",
        "bn: rows 6 -> 4",
        "fc: 1 rows stayed: model output",
        f"outputs differ by at most {report.exactness:.1e} of the largest",
    ]


def test_a_live_constant_is_carried_to_the_padded_borders():
    model = PaddedNet().eval()
    zero_filters(model.conv1, [1, 2])
    with torch.no_grad():
        model.bn.bias[1] = 0.7  # lives behind the ReLU
        model.bn.bias[2] = -0.7  # dies there
    shrunk, report = hs.shrink(model, IMAGE)
    assert shrunk.conv1.out_channels == 5
    assert report.exactness <= 1e-12
    (stayed,) = [one for one in report.stayed if "constants" in one.reason]
    assert (stayed.layer, stayed.count) == ("conv1", 1)


def test_strict_refuses_a_live_constant_and_names_the_layer():
    model = PaddedNet().eval()
    zero_filters(model.conv1, [1], bias=0.5)
    with pytest.raises(ShrinkError, match="live constants, but 1 filters of zeros in 'conv1'"):
        hs.shrink(model, IMAGE, strict=True)
    zero_filters(model.conv1, [1], bias=-0.5)
    assert hs.shrink(model, IMAGE, strict=True)[0].conv1.out_channels == 5


def test_an_unread_channel_goes_whatever_it_holds():
    model = PaddedNet().eval()
    with torch.no_grad():
        model.conv2.weight[:, 4] = 0
    shrunk, _ = hs.shrink(model, IMAGE)
    assert shrunk.conv1.out_channels == 5


def test_widths_are_rounded_up_with_the_best_of_the_dead():
    model = PaddedNet().eval()
    zero_filters(model.conv1, [0, 1, 5])
    with torch.no_grad():
        model.conv2.weight[:, 0] *= 10  # the dead channel with the largest weights
    shrunk, report = hs.shrink(model, IMAGE, round_to=4)
    assert shrunk.conv1.out_channels == 4
    assert report.kept["conv1"].rows == [0, 2, 3, 4]
    assert report.exactness <= 1e-12
    assert hs.shrink(model, IMAGE, round_to=8)[0].conv1.out_channels == 6  # full
    with pytest.raises(InputError, match="round_to must be at least 1, got 0"):
        hs.shrink(model, IMAGE, round_to=0)


def test_a_network_cut_in_two_is_refused_by_the_name_of_the_layer():
    model = PaddedNet().eval()
    zero_filters(model.conv2, slice(None), bias=0.5)
    with pytest.raises(ShrinkError, match="nothing gets through layer 'conv2'"):
        hs.shrink(model, IMAGE)
    model = PaddedNet().eval()
    with torch.no_grad():
        model.bn.weight.zero_()
    with pytest.raises(ShrinkError, match="nothing gets through layer 'bn'"):
        hs.shrink(model, IMAGE)


def test_an_emptied_residual_branch_loses_its_weights():
    torch.manual_seed(0)
    model = ResidualNet().eval()
    zero_filters(model.a2, slice(None))
    with torch.no_grad():
        model.abn.bias.fill_(0.3)  # the branch adds a constant
    shrunk, report = hs.shrink(model, torch.randn(2, 2, 5, 5))
    assert isinstance(shrunk.a1, Hollow)
    assert isinstance(shrunk.a2, Hollow)
    assert report.exactness <= 1e-12
    example = torch.randn(1, 2, 5, 5)
    assert physical_macs(shrunk, example) == physical_macs(model, example) - 25 * 9 * 2 * 6 * 4


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(2, 12, 1)
        self.conv2 = nn.Conv2d(12, 9, 3, groups=3)
        self.conv3 = nn.Conv2d(9, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(torch.relu(self.conv2(torch.relu(self.conv1(x))))).sum((2, 3))


def test_groups_keep_equally_many_channels():
    model = Grouped().eval()
    zero_filters(model.conv1, [0, 1, 4, 8])
    zero_filters(model.conv2, [0, 3, 6])
    shrunk, report = hs.shrink(model, IMAGE)
    assert shrunk.conv2.weight.shape == (6, 3, 3, 3)
    assert (shrunk.conv2.groups, shrunk.conv2.in_channels, shrunk.conv2.out_channels) == (3, 9, 6)
    assert "it fills up a group, a width or a tensor" in {one.reason for one in report.stayed}


def test_a_group_without_filters_vanishes():
    model = Grouped().eval()
    zero_filters(model.conv2, [3, 4, 5])
    shrunk, _ = hs.shrink(model, IMAGE)
    assert (shrunk.conv1.out_channels, shrunk.conv2.groups, shrunk.conv3.in_channels) == (8, 2, 6)


class Splitting(nn.Module):
    """Chunks, slices and a shared convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 8, 1)
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.left, self.right = nn.Conv2d(4, 3, 1), nn.Conv2d(2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.relu(self.conv(x)).chunk(2, dim=1)
        a = self.shared(self.shared(a))
        return self.left(a + b).sum((2, 3)) + self.right(a[:, 2:]).sum((2, 3))


def test_chunks_stay_equal_and_slices_stay_in_place():
    model = Splitting().eval()
    zero_filters(model.conv, [3, 7])
    zero_filters(model.shared, [3])
    shrunk, report = hs.shrink(model, IMAGE)
    assert report.exactness <= 1e-12
    assert (shrunk.conv.out_channels, shrunk.shared.in_channels) == (6, 3)
    assert shrunk.right.in_channels == 1
    zero_filters(model.conv, [0, 4])
    zero_filters(model.shared, [0])
    shrunk, report = hs.shrink(model, IMAGE)
    assert shrunk.conv.out_channels == 6
    assert "forward() slices channels at a fixed place" in {one.reason for one in report.stayed}


def test_transposed_and_one_dimensional_convolutions_shrink():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(2, 6, 3, stride=2), nn.ReLU(), nn.ConvTranspose1d(6, 8, 4, groups=2), nn.ReLU(),
        nn.ConvTranspose1d(8, 5, 3, stride=2, padding=1, output_padding=1), nn.Flatten(),
        nn.LazyLinear(3),
    ).eval()  # fmt: skip
    signal = torch.randn(2, 2, 21)
    model(signal)
    zero_filters(model[0], [0, 3])
    with torch.no_grad():
        model[2].weight[3:, 1], model[2].bias[5] = 0, 0  # filter 1 of group 1
        model[2].weight[:3, 2], model[2].bias[2] = 0, 0  # filter 2 of group 0
    shrunk, report = hs.shrink(model, signal)
    assert shrunk[0].out_channels == 4
    assert shrunk[2].weight.shape == (4, 3, 4)
    assert shrunk[4].in_channels == 6
    assert report.exactness <= 1e-12
    counts = hs.count_macs(shrunk, signal)
    assert sum(one.physical_macs for one in counts.layers) == counts.physical_macs


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 6), nn.Linear(3, 6)
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"out": self.last(torch.relu(self.left(x)) * torch.sigmoid(self.right(y)))}


def test_several_inputs_and_a_gate():
    torch.manual_seed(0)
    model = TwoInputs().eval()
    zero_filters(model.left, [2, 3])
    shrunk, report = hs.shrink(model, (torch.randn(2, 4), torch.randn(2, 3)))
    assert (shrunk.left.out_features, shrunk.right.out_features) == (4, 4)
    assert report.exactness <= 1e-12


def test_the_network_is_not_changed_and_its_example_checked():
    model = PaddedNet().train()
    zero_filters(model.conv1, [0])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shrunk, _ = hs.shrink(model, IMAGE)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert shrunk.training
    with pytest.raises(PluginError, match=r"batch of shape \(2, 3, 8, 8\)"):
        hs.shrink(model, torch.randn(2, 3, 8, 8))


def test_a_network_that_cannot_be_traced_stays_and_says_why():
    model, example = seeded("untraceable")
    zero_filters(model.fc1, [0])
    shrunk, report = hs.shrink(model, example)
    assert shrunk.fc1.out_features == 4
    assert "torch.fx cannot trace the network" in report.stayed[0].reason


def test_counts_agree_with_the_flop_counter_and_by_hand():
    model = PaddedNet().eval()
    zero_filters(model.conv1, [0])
    counts = hs.count_macs(model, IMAGE)
    assert [(one.name, one.physical_macs) for one in counts.layers] == [
        ("conv1", 36 * 9 * 2 * 6), ("conv2", 36 * 9 * 6 * 5), ("fc", 15),
    ]  # fmt: skip
    assert counts.physical_macs == sum(one.physical_macs for one in counts.layers)
    assert counts.logical_macs == counts.physical_macs - 36 * 9 * 2
    assert counts.nonzeros == 108 - 18 + 270 + 15
    assert counts.parameters == sum(p.numel() for p in model.parameters())
    assert counts.bytes == 4 * (counts.parameters + 12) + 8


PLAIN = nn.Sequential(nn.Flatten(), nn.Linear(128, 3))


@pytest.mark.parametrize("function", [hs.shrink, hs.count_macs])
@pytest.mark.parametrize(
    ("model", "example", "wrong"),
    [
        (3, IMAGE, r"must be a torch\.nn\.Module, got an object of type int"),
        (nn.Linear, IMAGE, "got the class Linear"),
        (PLAIN, 3, "example inputs must be .*, got an object of type int"),
        (PLAIN, None, "got an object of type NoneType"),
        (PLAIN, IMAGE.numpy(), "got an object of type ndarray"),
        (PLAIN, {"x": IMAGE}, "got an object of type dict"),
        (PLAIN, (IMAGE, 3), "got an object of type int"),
        (PLAIN, (), "got an empty sequence"),
        (PLAIN, IMAGE[:0], r"got a tensor of shape \(0, 2, 8, 8\)"),
        (PLAIN, IMAGE.sum(), r"got a tensor of shape \(\)"),
    ],
)
def test_what_is_no_network_or_no_batch_is_refused(function, model, example, wrong):
    with pytest.raises(InputError, match=wrong):
        function(model, example)


@pytest.mark.parametrize("function", [hs.shrink, hs.count_macs])
def test_lazy_layers_are_refused_and_stay_lazy(function):
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(4), nn.LazyBatchNorm1d(affine=False))
    with pytest.raises(PluginError, match=r"lazy ones: 1, 2\. Call it once on an example"):
        function(model, IMAGE)
    assert isinstance(model[1], nn.LazyLinear)
    with pytest.raises(PluginError, match="lazy ones: LazyConv2d"):
        function(nn.LazyConv2d(3, 1), IMAGE)


def test_a_network_without_prunable_layers_is_not_shrunk():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU())
    with pytest.raises(PluginError, match=r"Conv2d, .*its layers are: BatchNorm2d, ReLU\."):
        hs.shrink(model, IMAGE)
    assert hs.count_macs(model, IMAGE).physical_macs == 0
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 1)))
    with pytest.raises(PluginError, match=r"weights of 0 are computed.*remove_parametrizations"):
        hs.shrink(model, IMAGE)


class TokenNet(nn.Module):
    """Tokens and their weights, averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 8)
        self.fc1, self.fc2 = nn.Linear(8, 12), nn.Linear(12, 3)

    def forward(self, tokens: Tensor, weights: Tensor) -> Tensor:
        mean = (self.words(tokens) * weights[..., None]).mean(1)
        return self.fc2(functional.relu(self.fc1(mean)))


def test_a_network_of_tokens_is_shrunk_and_compared_on_the_given_ones():
    torch.manual_seed(0)
    model = TokenNet()
    zero_filters(model.fc1, slice(0, 5))
    tokens, weights = torch.randint(10, (4, 6)), torch.rand(4, 6)
    shrunk, report = hs.shrink(model, (tokens, weights))
    assert shrunk.fc1.weight.shape == (7, 8)
    assert report.exactness <= 1e-12
    zero_filters(shrunk.fc1, [0])
    with pytest.raises(ShrinkError, match="they differ by"):
        exactness(model, shrunk, tokens, (6,))


@pytest.mark.parametrize("function", [hs.shrink, hs.count_macs])
def test_a_network_without_values_is_refused(function):
    with torch.device("meta"):
        model = nn.Sequential(nn.Flatten(), nn.Linear(128, 4))
    with pytest.raises(PluginError, match=r"some are on the meta device\. Load"):
        function(model, IMAGE)
