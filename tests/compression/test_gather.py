"""Layers that read some channels of their input: exact, with fewer MACs, and only when asked."""

import copy
import pickle

import pytest
import torch
from small_networks import seeded
from torch import Tensor, nn

import hoyer_search as hs
from hoyer_search.compression.cutting import Kept, cut, scatter
from hoyer_search.compression.exactness import exactness
from hoyer_search.compression.gather import Gather, gathered
from hoyer_search.compression.measure import physical_macs

IMAGE = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def papers_lenet_5() -> tuple[nn.Module, Tensor]:
    """Table 2's LeNet-5: 139 of the 192 columns that 12 filters of conv2 make."""
    model, images = seeded("lenet_5")
    with torch.no_grad():
        model.conv1.weight[5:], model.conv2.weight[12:], model.fc1.weight[13:] = 0, 0, 0
        model.conv1.bias[5:], model.conv2.bias[12:], model.fc1.bias[13:] = 0, 0, 0
        dead = torch.randperm(192, generator=torch.Generator().manual_seed(0))[139:]
        model.fc1.weight[:, dead] = 0
    return model.eval(), images


def test_lenet_5_has_the_macs_of_the_paper():
    model, images = papers_lenet_5()
    plain, _ = hs.shrink(model, images)
    shrunk, report = hs.shrink(model, images, gather=True)
    assert plain.fc1.in_features == 192
    assert isinstance(shrunk.fc1, Gather)
    assert shrunk.fc1.layer.weight.shape == (13, 139)
    assert report.exactness <= 1e-12
    assert "fc1: rows 500 -> 13, columns 800 -> 139, gathered" in str(report)
    assert physical_macs(shrunk, images[:1]) == 169_937
    assert sum(one.physical_macs for one in hs.count_macs(shrunk, images).layers) == 169_937


class Siblings(nn.Module):
    """Two branches read one tensor, each its own part of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3)
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(4)
        with torch.no_grad():
            self.left.weight[:, [1, 3, 6]] = 0
            self.right.weight[:, 0] = 0  # channels 0 and 4

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return (self.left(x) + self.norm(self.right(x))).mean((2, 3))


def test_a_layer_drops_what_its_sibling_needs():
    model = Siblings().eval()
    shrunk, report = hs.shrink(model, IMAGE, gather=True)
    assert (shrunk.stem.out_channels, shrunk.right.in_channels) == (8, 8)
    assert shrunk.left.index.tolist() == [0, 2, 4, 5, 7]
    assert report.kept["left"] == Kept(None, [0, 2, 4, 5, 7], [0, 2, 4, 5, 7])
    assert [one.layer for one in report.stayed] == ["right"]  # groups are not gathered
    assert report.exactness <= 1e-12
    assert hs.shrink(model, IMAGE)[1].kept == {}


def test_rounded_widths_are_filled_up_or_stay_whole():
    there, read = torch.ones(10, dtype=torch.bool), torch.arange(10) % 2 == 0
    there[9] = False
    assert gathered(there, read) == ([0, 2, 4, 6, 8], [0, 2, 4, 6, 8])
    assert gathered(there, read, round_to=4)[0] == [0, 1, 2, 3, 4, 5, 6, 8]
    assert len(gathered(there, read, round_to=16)[0]) == 9
    there[:2] = False
    assert gathered(there, read) == ([2, 4, 6, 8], [0, 2, 4, 6])


def test_a_gathered_network_trains_copies_and_shrinks_again():
    model, images = papers_lenet_5()
    shrunk, _ = hs.shrink(model, images, gather=True)
    for twin in (copy.deepcopy(shrunk), pickle.loads(pickle.dumps(shrunk))):
        assert torch.equal(twin(images), shrunk(images))
    shrunk(images).sum().backward()
    assert shrunk.fc1.layer.weight.grad.shape == (13, 139)
    with torch.no_grad():
        shrunk.fc1.layer.weight[3], shrunk.fc1.layer.bias[3] = 0, 0
    again, report = hs.shrink(shrunk, images, gather=True)
    assert (again.fc1.layer.out_features, again.fc2.in_features) == (12, 12)
    assert report.exactness <= 1e-12


def test_scattering_undoes_gathering():
    model, images = papers_lenet_5()
    shrunk, report = hs.shrink(model, images, gather=True)
    full, _ = seeded("lenet_5", 9)
    scatter(shrunk.state_dict(), full, report.kept)
    assert exactness(model, full, images.shape[1:]) == 0.0


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("left", Kept(None, [0, 2, 3], [0, 1])),
        ("left", Kept(None, [0, 2, 3], [0, 2, 1])),
        ("left", Kept(None, [0, 2, 3], [0, 1, 4])),
        ("left", Kept(None, [0, 2, 3], [-1, 1, 2])),
        ("left", Kept(None, None, [0, 1])),
        ("left", Kept(None, [], [])),
        ("right", Kept(None, [0, 4], [0, 1])),
        ("norm", Kept(None, None, [0])),
    ],
)
def test_gathers_that_do_not_fit_are_refused(name, kept):
    with pytest.raises(ValueError, match=f"what module '{name}' gathers must be one rising place"):
        cut(Siblings(), {name: kept})
