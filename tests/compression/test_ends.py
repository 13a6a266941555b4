"""Channels of a network's input and output go when asked, and not otherwise."""

import pytest
import torch
from torch import Tensor, nn

import hoyer_search as hs
from hoyer_search.errors import InputError

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def classifier() -> nn.Sequential:
    """Reads channels 0 and 2 of its images; classes 1 and 3 of 5 are zero, class 4 a constant."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
    ).eval()
    with torch.no_grad():
        model[0].weight[:, 1] = 0
        model[4].weight[[1, 3, 4]] = 0
        model[4].bias[[1, 3]] = 0
    return model


def test_ends_stay_unless_asked():
    shrunk, report = hs.shrink(classifier(), IMAGES)
    assert (shrunk[0].in_channels, shrunk[4].out_features) == (3, 5)
    assert report.inputs is report.outputs is None
    assert {(one.layer, one.count, one.reason) for one in report.stayed} == {
        ("0", 1, "model input"),
        ("4", 3, "model output"),
    }


def test_unread_channels_of_the_input_go_when_asked():
    model = classifier()
    shrunk, report = hs.shrink(model, IMAGES, remove_inputs=True)
    assert shrunk[0].in_channels == 2
    assert (report.inputs, report.outputs) == ([0, 2], None)
    assert torch.allclose(shrunk(IMAGES[:, report.inputs]), model(IMAGES), atol=1e-6)
    assert "takes inputs 0, 2" in str(report)
    assert report.exactness <= 1e-12


def test_outputs_that_are_zero_go_when_asked_and_constants_stay():
    model = classifier()
    shrunk, report = hs.shrink(model, IMAGES, remove_outputs=True)
    assert shrunk[4].out_features == 3
    assert (report.inputs, report.outputs) == (None, [0, 2, 4])
    assert torch.allclose(shrunk(IMAGES), model(IMAGES)[:, report.outputs], atol=1e-6)
    assert "returns outputs 0, 2, 4" in str(report)
    (left,) = [one for one in report.stayed if one.layer == "4"]
    assert (left.side, left.count, left.reason) == ("rows", 1, "an output that is not zero")
    assert report.exactness <= 1e-12


def test_a_network_of_which_nothing_at_the_ends_is_dead_keeps_them():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    _, report = hs.shrink(model, torch.randn(2, 4), remove_inputs=True, remove_outputs=True)
    assert (report.inputs, report.outputs) == ([0, 1, 2, 3], [0, 1])


class Skipping(nn.Module):
    """Its output is its input plus what it makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


def test_an_input_that_the_output_holds_stays():
    model = Skipping().eval()
    with torch.no_grad():
        model.conv.weight[1] = 0
        model.conv.weight[:, 1] = 0
    shrunk, report = hs.shrink(model, IMAGES, remove_inputs=True, remove_outputs=True)
    assert shrunk.conv.weight.shape == (3, 3, 3, 3)
    assert report.inputs == report.outputs == [0, 1, 2]


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.left(x), self.right(y)


def test_several_inputs_or_outputs_are_refused_only_when_asked():
    examples = (torch.randn(2, 3), torch.randn(2, 3))
    with pytest.raises(InputError, match="of one input tensor, got one of 2"):
        hs.shrink(Several(), examples, remove_inputs=True)
    with pytest.raises(InputError, match="return one tensor of shape"):
        hs.shrink(Several(), examples, remove_outputs=True)
    assert hs.shrink(Several(), examples)[1].exactness <= 1e-12
