"""Regularizers over the layers of a network, and by name."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from hoyer_search.errors import ConfigError, InputError
from hoyer_search.hoyer import (
    REGULARIZERS,
    CoupledGroupHS,
    GroupHS,
    add_gradients_,
    make_regularizer,
)


def network() -> list[nn.Parameter]:
    torch.manual_seed(0)
    shapes = [(300, 784), (520, 513), (8, 5, 3, 3), (10, 1)]
    return [nn.Parameter(0.05 * torch.randn(shape)) for shape in shapes]


@pytest.fixture(params=sorted(REGULARIZERS))
def regularizer(request: pytest.FixtureRequest):
    return make_regularizer(request.param)


def test_layers_get_what_they_would_alone(regularizer) -> None:
    weights, factors = network(), [1.0, 0.5, 2.0, 3.0]
    before = [weight.detach().clone() for weight in weights]
    weights[1].grad = torch.ones_like(weights[1])
    total = add_gradients_(regularizer, weights, decay=0.1, layer_weights=factors)
    expected = torch.zeros((), dtype=torch.float64)
    for number, (weight, factor) in enumerate(zip(weights, factors, strict=True)):
        grad = torch.full_like(before[number], float(number == 1))
        expected += 0.1 * factor * regularizer.add_gradient_(before[number], grad, 0.1 * factor)
        torch.testing.assert_close(weight.grad, grad, rtol=1e-6, atol=1e-6)
        assert torch.equal(weight, before[number])
    torch.testing.assert_close(total, expected)
    assert total.shape == ()
    assert not total.requires_grad


def test_types_may_differ_between_layers(regularizer) -> None:
    weights = [nn.Parameter(torch.randn(4, 3).to(t)) for t in (torch.float32, torch.bfloat16)]
    total = add_gradients_(regularizer, weights, decay=1.0)
    torch.testing.assert_close(total, sum(regularizer.value(weight) for weight in weights))
    assert [weight.grad.dtype for weight in weights] == [torch.float32, torch.bfloat16]


def test_layers_of_weight_zero_are_left_alone(regularizer) -> None:
    weights = network()
    add_gradients_(regularizer, weights, decay=1.0, layer_weights=[0, 1, 0, 1])
    assert [weight.grad is None for weight in weights] == [True, False, True, False]


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_nothing_to_regularize(regularizer, decay: float) -> None:
    weights = network() if decay == 0 else []
    assert add_gradients_(regularizer, weights, decay=decay).item() == 0
    assert all(weight.grad is None for weight in weights)


def test_no_host_sync(regularizer) -> None:
    """A fake tensor has no data: reading a number from it raises."""
    with FakeTensorMode():
        weights = [nn.Parameter(torch.empty(300, 784)), nn.Parameter(torch.empty(8, 5, 3, 3))]
        assert add_gradients_(regularizer, weights, decay=0.1).shape == ()
        with pytest.raises(Exception, match="_local_scalar_dense"):
            weights[0].sum().item()
    meta = [nn.Parameter(torch.empty(8, 5, 3, 3, device="meta"))]
    assert add_gradients_(regularizer, meta, decay=0.1).device.type == "meta"


class NoWaiting(TorchDispatchMode):
    """Refuses copies between devices that make the host wait."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("device") is not None:
            there = torch.device(kwargs["device"]).type
            assert there == args[0].device.type or kwargs.get("non_blocking"), "a copy that waits"
        return func(*args, **kwargs)


@pytest.mark.parametrize("name", [*sorted(REGULARIZERS), "coupled"])
def test_no_copy_to_a_gpu_waits(name: str) -> None:
    """Shapes and devices are known to fake tensors also without a GPU."""
    made = CoupledGroupHS([None, None]) if name == "coupled" else make_regularizer(name)
    with FakeTensorMode():
        weights = [nn.Parameter(torch.empty(8, c, 3, 3, device="cuda")) for c in (4, 8)]
        for weight in weights:
            weight.grad = torch.empty_like(weight)
        with NoWaiting():
            assert add_gradients_(made, weights, decay=0.1).device.type == "cuda"


def test_number_of_layer_weights_is_checked() -> None:
    with pytest.raises(InputError, match="3 layer weights for 4 weights"):
        add_gradients_(GroupHS(), network(), decay=1.0, layer_weights=[1, 1, 1])


def test_make_regularizer() -> None:
    made = make_regularizer("group_hs", filter_weight=2.0, channel_weight=0.5)
    assert made == GroupHS(filter_weight=2.0, channel_weight=0.5)
    for name, kind in REGULARIZERS.items():
        assert type(make_regularizer(name)) is kind


def test_make_regularizer_refuses() -> None:
    with pytest.raises(ConfigError, match="unknown regularizer 'hoyer_sqare': did you mean"):
        make_regularizer("hoyer_sqare")
    for factor in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="filter_weight must be"):
            make_regularizer("group_hs", filter_weight=factor)
