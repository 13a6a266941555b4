"""Groups of filters and channels in convolutions with groups and in transposed ones."""

import pytest
import torch
from torch import Tensor, nn

from hoyer_search.compression.thresholds import surviving
from hoyer_search.errors import InputError
from hoyer_search.hoyer import Arrangement, CoupledGroupHS, GroupHS, GroupLasso

LAYERS = {
    "conv": (lambda: nn.Conv2d(4, 6, 3), Arrangement()),
    "grouped": (lambda: nn.Conv2d(6, 4, 3, groups=2), Arrangement(2)),
    "depthwise": (lambda: nn.Conv1d(5, 5, 3, groups=5), Arrangement(5)),
    "two filters a channel": (lambda: nn.Conv2d(3, 6, 3, groups=3), Arrangement(3)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3), Arrangement(1, True)),
    "transposed and grouped": (
        lambda: nn.ConvTranspose1d(4, 6, 3, groups=2),
        Arrangement(2, True),
    ),
}
WEIGHTS = {"filter_weight": 0.7, "channel_weight": 1.3}


@pytest.fixture(params=sorted(LAYERS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def make(name: str) -> tuple[nn.Module, Arrangement]:
    torch.manual_seed(0)
    factory, arrangement = LAYERS[name]
    return factory().double(), arrangement


def members(layer: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Returns which weights each output and each input depends on, found by running the layer."""
    images = torch.ones(1, layer.in_channels, *[5] * (layer.weight.ndim - 2)).double()

    def weights(scalar: Tensor) -> Tensor:
        return torch.autograd.grad(scalar, layer.weight)[0].flatten().nonzero().flatten()

    filters = [weights(layer(images)[:, o].sum()) for o in range(layer.out_channels)]
    channels = []
    for i in range(layer.in_channels):
        one = torch.zeros_like(images)
        one[:, i] = 1
        channels.append(weights(layer(one).sum()))
    return filters, channels


def norms(weight: Tensor, groups: list[Tensor]) -> Tensor:
    return torch.stack([weight.flatten()[group].square().sum().sqrt() for group in groups])


def by_definition(kind: type, weight: Tensor, filters: list[Tensor], channels: list[Tensor]):
    by_filter, by_channel = norms(weight, filters).sum(), norms(weight, channels).sum()
    if kind is GroupLasso:
        return 0.7 * by_filter + 1.3 * by_channel
    return (0.7 * by_filter.square() + 1.3 * by_channel.square()) / weight.square().sum()


@pytest.mark.parametrize("kind", [GroupHS, GroupLasso])
def test_values_and_gradients_are_those_of_the_definition(kind, name: str) -> None:
    layer, arrangement = make(name)
    expected = by_definition(kind, layer.weight, *members(layer))
    (gradient,) = torch.autograd.grad(expected, layer.weight)
    regularizer = kind(**WEIGHTS, arrangements=(arrangement,))
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        weight = layer.weight.detach().to(dtype)
        grad = torch.ones_like(weight)
        value = regularizer.add_gradient_(weight, grad, 2.0)
        torch.testing.assert_close(value, expected.detach(), rtol=tolerance, atol=0)
        torch.testing.assert_close(
            grad.double() - 1, 2 * gradient, rtol=tolerance, atol=10 * tolerance
        )
        torch.testing.assert_close(regularizer.value(weight), value)


def test_the_groups_are_what_pruning_removes(name: str) -> None:
    layer, arrangement = make(name)
    rule = {"threshold": 0.5, "rule": "absolute", "granularity": "structural"}
    for group in [group for side in members(layer) for group in side]:
        weight = torch.ones_like(layer.weight.detach())
        weight.view(-1)[group] = 0
        mask = surviving(weight, **arrangement._asdict(), **rule)
        assert torch.equal(mask, weight)


def test_zero_groups_have_no_gradient(name: str) -> None:
    layer, arrangement = make(name)
    for group in [group for side in members(layer) for group in side]:
        weight = layer.weight.detach().float()
        weight.view(-1)[group] = 0
        grad = torch.zeros_like(weight)
        value = GroupHS(arrangements=(arrangement,)).add_gradient_(weight, grad)
        assert bool(value.isfinite())
        assert bool(grad.isfinite().all())
        assert not grad.view(-1)[group].any()


def test_a_depthwise_convolution_has_a_group_for_each_channel() -> None:
    weight = torch.zeros(8, 1, 3, 3)
    weight[:3] = 1
    regularizer = GroupHS(filter_weight=0, arrangements=(Arrangement(8),))
    assert regularizer.value(weight).item() == pytest.approx(3)
    assert GroupHS(filter_weight=0).value(weight).item() == pytest.approx(1)


def test_coupled_groups_of_any_arrangement() -> None:
    """A transposed convolution, and the depthwise one behind it: each channel is one group."""
    made = [make("transposed"), make("depthwise"), make("conv")]
    stream = [torch.tensor([3, 4, 5, 6, 7, 8]), torch.tensor([4, 5, 6, 7, 8]), None]
    weights = [layer.weight for layer, _ in made]
    sides = [members(layer) for layer, _ in made]
    energies = torch.zeros(9, dtype=torch.float64)
    for channels, weight, (filters, _) in zip(stream[:2], weights[:2], sides[:2], strict=True):
        energies = energies.index_add(0, channels, norms(weight, filters).square())
    energies = energies[3:]
    joint = energies.sqrt().sum().square() / energies.sum()
    own = norms(weights[2], sides[2][0]).sum().square() / weights[2].square().sum()
    expected = [
        0.7 * by_filter + 1.3 * norms(w, channels).sum().square() / w.square().sum()
        for by_filter, w, (_, channels) in zip([joint, joint, own], weights, sides, strict=True)
    ]
    gradients = torch.autograd.grad(sum(expected), weights)
    coupled = CoupledGroupHS(stream, **WEIGHTS, arrangements=[a for _, a in made])
    grads = [torch.zeros_like(w) for w in weights]
    with torch.no_grad():
        values = coupled.add_gradients_(weights, grads, torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(values, torch.stack(expected))
    for found, one in zip(grads, gradients, strict=True):
        torch.testing.assert_close(found, one, rtol=1e-10, atol=1e-12)


def test_the_number_of_arrangements_is_checked() -> None:
    weights = [torch.ones(4, 2), torch.ones(2, 4)]
    for regularizer in (GroupHS, GroupLasso):
        with pytest.raises(InputError, match="got 1 arrangements for 2 weights"):
            regularizer(arrangements=(Arrangement(),)).values(weights)
