"""What every regularizer must do."""

import math

import pytest
import torch
from torch import Tensor

from hoyer_search.hoyer import REGULARIZERS, Regularizer, make_regularizer

SHAPES = [(7, 5), (6, 4, 3, 3), (1, 9), (9, 1), (1, 1)]


def group_norms(w: Tensor) -> tuple[Tensor, Tensor]:
    filters = w.flatten(1).square().sum(1).sqrt()
    channels = w.transpose(0, 1).flatten(1).square().sum(1).sqrt()
    return filters, channels


NAIVE = {
    "hoyer": lambda w: w.abs().sum() / w.square().sum().sqrt(),
    "hoyer_square": lambda w: w.abs().sum() ** 2 / w.square().sum(),
    "l1": lambda w: w.abs().sum(),
    # 2 |w| / (1 + |w|), in a form whose autograd cancels nothing for large w
    "transformed_l1": lambda w: (2 / (1 + 1 / w[w != 0].abs())).sum(),
    "group_hs": lambda w: sum(n.sum() ** 2 / w.square().sum() for n in group_norms(w)),
    "group_lasso": lambda w: sum(n.sum() for n in group_norms(w)),
}
SCALE_INVARIANT = ["hoyer", "hoyer_square", "group_hs"]


def reference(name: str, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient of the naive formula by autograd in float64."""
    w = weight.detach().double().requires_grad_()
    value = NAIVE[name](w)
    (gradient,) = torch.autograd.grad(value, w)
    return value.detach(), gradient


def relative_error(actual: Tensor, expected: Tensor) -> float:
    difference = actual.double() - expected
    return float(difference.abs().max() / expected.abs().max().clamp_min(1e-300))


@pytest.fixture(params=sorted(REGULARIZERS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def regularizer(name: str) -> Regularizer:
    return make_regularizer(name)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradcheck(regularizer: Regularizer, shape: tuple[int, ...]) -> None:
    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, weight):
            ctx.save_for_backward(weight)
            return regularizer.value(weight)

        @staticmethod
        def backward(ctx, upstream):
            (weight,) = ctx.saved_tensors
            grad = torch.zeros_like(weight)
            regularizer.add_gradient_(weight, grad, upstream)
            return grad

    torch.manual_seed(0)
    weight = torch.randn(shape, dtype=torch.float64)
    weight = (weight + 0.1 * weight.sign()).requires_grad_()  # away from the kink at zero
    assert torch.autograd.gradcheck(Function.apply, (weight,))


@pytest.mark.parametrize("shape", [*SHAPES, (300, 784), (64, 300, 5, 5), (1, 1_000_000)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_autograd_of_the_formula(
    name: str, regularizer: Regularizer, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    torch.manual_seed(1)
    weight = 0.05 * torch.randn(shape, dtype=dtype)
    value, gradient = reference(name, weight)
    grad = torch.zeros_like(weight)
    assert regularizer.add_gradient_(weight, grad).item() == pytest.approx(value.item(), rel=1e-6)
    assert regularizer.value(weight).item() == pytest.approx(value.item(), rel=1e-6)
    # One weight alone has a scale-invariant penalty's gradient zero, up to rounding.
    scale = max(float(gradient.abs().max()), 1 / float(weight.abs().max()))
    assert float((grad.double() - gradient).abs().max()) <= 1e-6 * scale


def test_value_is_a_scalar_in_float64(regularizer: Regularizer) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        value = regularizer.value(torch.ones(3, 2, dtype=dtype))
        assert value.shape == ()
        assert value.dtype == torch.float64


@pytest.mark.parametrize("scale", [0.25, torch.tensor(0.25)])
def test_adds_scaled_gradient_to_what_is_there(
    name: str, regularizer: Regularizer, scale: float | Tensor
) -> None:
    torch.manual_seed(2)
    weight = torch.randn(4, 6, dtype=torch.float64)
    before, grad = weight.clone(), torch.full_like(weight, 3.0)
    regularizer.add_gradient_(weight, grad, scale)
    torch.testing.assert_close(grad, 3 + 0.25 * reference(name, weight)[1])
    assert torch.equal(weight, before)


def test_records_no_autograd_history(regularizer: Regularizer) -> None:
    weight = torch.randn(3, 4, requires_grad=True)
    grad = torch.zeros(3, 4)
    value = regularizer.add_gradient_(weight, grad)
    assert not value.requires_grad
    assert not grad.requires_grad
    assert not regularizer.value(weight).requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3, 3)])
def test_zero_layer(regularizer: Regularizer, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    weight = torch.zeros(shape, dtype=dtype)
    weight[0, 0] = -0.0
    grad = torch.zeros_like(weight)
    assert regularizer.add_gradient_(weight, grad, 1e6).item() == 0
    assert regularizer.value(weight).item() == 0
    assert torch.count_nonzero(grad) == 0  # NaN would count


@pytest.mark.parametrize("magnitude", [1e-30, 1.0, 1e18])
def test_zero_elements_and_groups(name: str, regularizer: Regularizer, magnitude: float) -> None:
    torch.manual_seed(3)
    weight = magnitude * torch.randn(6, 5, 3, 3)
    weight[2] = 0
    weight[:, 3] = 0
    weight[0, 0, 1, 1] = 0
    grad = torch.zeros_like(weight)
    regularizer.add_gradient_(weight, grad)
    dead = weight == 0
    assert torch.count_nonzero(grad[dead]) == 0
    alive = reference(name, weight)[1].nan_to_num(nan=0.0)
    if not name.startswith("group"):  # autograd of a zero group's norm is NaN for all its row
        assert relative_error(grad[~dead], alive[~dead]) <= 2e-6
    assert torch.isfinite(grad).all()


def test_zero_groups_do_not_change_the_others(regularizer: Regularizer) -> None:
    torch.manual_seed(4)
    small = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    padded = torch.zeros(6, 5, 2, 2, dtype=torch.float64)
    padded[1:5, :3] = small
    grads = torch.zeros_like(small), torch.zeros_like(padded)
    values = [regularizer.add_gradient_(w, g) for w, g in zip((small, padded), grads, strict=True)]
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(grads[1][1:5, :3], grads[0])


@pytest.mark.parametrize("magnitude", [1e-37, 1e-30, 1e-15, 1e10, 1e18])
@pytest.mark.parametrize("shape", [(40, 50), (512, 700), (8, 6, 3, 3)])
def test_extreme_magnitudes_in_float32(
    name: str, regularizer: Regularizer, magnitude: float, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(5)
    weight = magnitude * torch.randn(shape)
    value, gradient = reference(name, weight)
    grad = torch.zeros_like(weight)
    assert regularizer.add_gradient_(weight, grad).item() == pytest.approx(value.item(), rel=1e-6)
    assert relative_error(grad, gradient) <= 1e-6


def test_magnitudes_mixed_in_one_layer(name: str, regularizer: Regularizer) -> None:
    torch.manual_seed(6)
    weight = torch.randn(6, 5)
    weight[1] *= 1e-30
    weight[2] *= 1e18
    value, gradient = reference(name, weight)
    grad = torch.zeros_like(weight)
    assert regularizer.add_gradient_(weight, grad).item() == pytest.approx(value.item(), rel=1e-6)
    for row in range(6):
        largest = gradient[row].abs().max()
        assert (grad[row] - gradient[row]).abs().max() <= 1e-6 * largest


def test_subnormal_weights_stay_finite(regularizer: Regularizer) -> None:
    weight = torch.full((3, 4), 1e-44)
    weight[0, 0] = 0
    grad = torch.zeros_like(weight)
    assert math.isfinite(regularizer.add_gradient_(weight, grad, 1e-4).item())
    assert torch.isfinite(grad).all()
    assert grad[0, 0] == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("magnitude", [1e-4, 1e-2, 1.0, 1e3])
def test_half_precision(
    name: str, regularizer: Regularizer, dtype: torch.dtype, magnitude: float
) -> None:
    torch.manual_seed(7)
    weight = (magnitude * torch.randn(64, 128)).to(dtype)
    value, gradient = reference(name, weight)
    grad = torch.zeros_like(weight)
    decay = 2e-4
    got = regularizer.add_gradient_(weight, grad, decay)
    assert got.item() == pytest.approx(value.item(), rel=1e-6)
    # One rounding to the gradient's own type, subnormal where it is tiny.
    step = torch.finfo(dtype)
    bound = (decay * gradient).abs() * step.eps / 2 + step.smallest_normal * step.eps
    bound += 1e-6 * decay * gradient.abs().max()
    assert ((grad.double() - decay * gradient).abs() <= bound).all()


def test_channels_last_and_transposed_layouts(name: str, regularizer: Regularizer) -> None:
    torch.manual_seed(8)
    conv = torch.randn(80, 400, 3, 3).to(memory_format=torch.channels_last)
    linear = torch.randn(50, 40).t()
    for weight in (conv, linear):
        grad = torch.zeros_like(weight)
        assert grad.stride() == weight.stride()
        regularizer.add_gradient_(weight, grad)
        assert relative_error(grad, reference(name, weight)[1]) <= 1e-6


def test_layouts_of_weight_and_gradient_may_differ(name: str, regularizer: Regularizer) -> None:
    torch.manual_seed(9)
    weight = torch.randn(8, 6, 3, 3)
    grad = torch.zeros_like(weight).to(memory_format=torch.channels_last)
    regularizer.add_gradient_(weight, grad)
    assert relative_error(grad, reference(name, weight)[1]) <= 1e-6


def test_nan_is_not_hidden(regularizer: Regularizer) -> None:
    weight = torch.ones(3, 3)
    weight[1, 1] = math.nan
    assert regularizer.value(weight).isnan()


@pytest.mark.parametrize("name", SCALE_INVARIANT)
def test_gradient_is_orthogonal_to_the_weight(name: str, regularizer: Regularizer) -> None:
    torch.manual_seed(10)
    weight = torch.randn(9, 7, dtype=torch.float64)
    grad = torch.zeros_like(weight)
    regularizer.add_gradient_(weight, grad)
    assert abs(float((grad * weight).sum())) <= 1e-12 * float(grad.norm() * weight.norm())


def test_compiles_to_one_graph(regularizer: Regularizer) -> None:
    weight, grad = torch.randn(4, 3, 2, 2), torch.zeros(4, 3, 2, 2)
    compiled = torch.compile(regularizer.add_gradient_, backend="eager", fullgraph=True)
    value = compiled(weight, grad)
    expected = torch.zeros_like(grad)
    uncompiled = regularizer.add_gradient_(weight, expected)
    torch.testing.assert_close(value, uncompiled, rtol=1e-6, atol=0)  # other sums on the host
    torch.testing.assert_close(grad, expected)
