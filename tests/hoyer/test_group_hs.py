"""Group-HS and group lasso: both forms, both directions, and overlapping groups."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hoyer_search.errors import InputError
from hoyer_search.hoyer import ExplicitGroupHS, GroupHS, GroupLasso


def filters(weight: Tensor) -> list[Tensor]:
    return list(torch.arange(weight.numel()).view(weight.shape).flatten(1))


def channels(weight: Tensor) -> list[Tensor]:
    return list(torch.arange(weight.numel()).view(weight.shape).transpose(0, 1).flatten(1))


def test_closed_forms() -> None:
    weight = torch.tensor([[3.0, 0.0], [4.0, 0.0], [0.0, 12.0]])
    # Filter norms 3, 4, 12; channel norms 5, 12; squared norm 169.
    assert GroupHS(channel_weight=0.0).value(weight).item() == pytest.approx(19**2 / 169)
    assert GroupHS(filter_weight=0.0).value(weight).item() == pytest.approx(17**2 / 169)
    assert GroupLasso(channel_weight=0.0).value(weight).item() == pytest.approx(19)
    assert GroupLasso(filter_weight=0.0).value(weight).item() == pytest.approx(17)


@pytest.mark.parametrize("kind", [GroupHS, GroupLasso])
@given(a=st.floats(0, 10), b=st.floats(0, 10))
def test_separate_weights_of_equation_8(kind, a: float, b: float) -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 4, 3, 3, dtype=torch.float64)
    values, grads = [], []
    for filter_weight, channel_weight in ((1.0, 0.0), (0.0, 1.0), (a, b)):
        grads.append(torch.zeros_like(weight))
        regularizer = kind(filter_weight=filter_weight, channel_weight=channel_weight)
        values.append(regularizer.add_gradient_(weight, grads[-1]))
    torch.testing.assert_close(values[2], a * values[0] + b * values[1])
    torch.testing.assert_close(grads[2], a * grads[0] + b * grads[1])


@given(st.integers(1, 8), st.integers(1, 8), st.data())
def test_value_counts_equal_live_filters(rows: int, columns: int, data: st.DataObject) -> None:
    live = data.draw(st.integers(1, rows))
    weight = torch.zeros(rows, columns)
    weight[:live] = data.draw(st.sampled_from([1e-30, 0.1, 1e18]))
    value = GroupHS(channel_weight=0.0).value(weight).item()
    assert value == pytest.approx(live, rel=1e-6)


def test_scale_and_permutation_invariance() -> None:
    torch.manual_seed(1)
    weight = torch.randn(6, 5, 3, 3)
    value = GroupHS().value(weight).item()
    shuffled = weight[torch.randperm(6)][:, torch.randperm(5)]
    assert GroupHS().value(shuffled).item() == pytest.approx(value, rel=1e-6)
    assert GroupHS().value(-1e-20 * weight).item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("denominator", ["groups", "weight"])
def test_explicit_groups_agree_with_filters_and_channels(denominator) -> None:
    torch.manual_seed(2)
    weight = torch.randn(5, 4, 3, 3, dtype=torch.float64)
    for groups, fast in (
        (filters(weight), GroupHS(channel_weight=0.0)),
        (channels(weight), GroupHS(filter_weight=0.0)),
    ):
        explicit = ExplicitGroupHS(groups, denominator=denominator)
        ours, expected = torch.zeros_like(weight), torch.zeros_like(weight)
        value = explicit.add_gradient_(weight, ours)
        torch.testing.assert_close(value, fast.add_gradient_(weight, expected))
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("denominator", ["groups", "weight"])
def test_overlapping_groups(denominator) -> None:
    torch.manual_seed(3)
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    groups = [torch.tensor([0, 1, 2]), torch.tensor([2, 3, 4]), torch.tensor([9, 2])]
    norms = torch.stack([weight.flatten()[g].square().sum().sqrt() for g in groups])
    covered = norms.square().sum() if denominator == "groups" else weight.square().sum()
    expected = norms.sum() ** 2 / covered
    (gradient,) = torch.autograd.grad(expected, weight)
    regularizer = ExplicitGroupHS(groups, denominator=denominator)
    grad = torch.zeros(3, 4, dtype=torch.float64)
    torch.testing.assert_close(regularizer.add_gradient_(weight, grad, 1.0), expected.detach())
    torch.testing.assert_close(grad, gradient)
    torch.testing.assert_close(regularizer.value(weight), expected.detach())


def test_the_two_forms_differ_when_groups_overlap() -> None:
    weight, groups = torch.ones(3), [torch.tensor([0, 1]), torch.tensor([1, 2])]
    # Two norms of sqrt(2): 8 over 2 + 2, or over 3.
    assert ExplicitGroupHS(groups).value(weight).item() == pytest.approx(2)
    second = ExplicitGroupHS(groups, denominator="weight")
    assert second.value(weight).item() == pytest.approx(8 / 3)


@pytest.mark.parametrize("denominator", ["groups", "weight"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_explicit_zero_groups(denominator, dtype: torch.dtype) -> None:
    groups = [torch.tensor([0, 1]), torch.tensor([1, 2])]
    regularizer = ExplicitGroupHS(groups, denominator=denominator)
    for weight in (torch.zeros(4, dtype=dtype), torch.tensor([0, 0, 1e-30, 0], dtype=dtype)):
        grad = torch.zeros_like(weight)
        value = regularizer.add_gradient_(weight, grad)
        assert value.item() == pytest.approx(float(weight.any()))
        assert torch.count_nonzero(grad[weight == 0]) == 0
        assert torch.isfinite(grad).all()


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], "at least one group"),
        ([torch.tensor([0.5])], "vector of integers"),
        ([torch.tensor([True])], "vector of integers"),
        ([torch.empty(0, dtype=torch.long)], "non-empty"),
        ([torch.tensor([[1, 2]])], "vector of integers"),
        ([torch.tensor([1]), torch.tensor([-1])], "group 1 must hold distinct indices"),
        ([torch.tensor([1, 1])], "distinct"),
    ],
)
def test_bad_groups_are_refused(groups, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExplicitGroupHS(groups)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="denominator must be"):
        ExplicitGroupHS([torch.tensor([0])], denominator="both")
    with pytest.raises(InputError, match="element 7, the weight has only 3"):
        ExplicitGroupHS([torch.tensor([7])]).value(torch.ones(3))
    with pytest.raises(InputError, match=r"shape \(out, in, \*kernel\), got \(4,\)"):
        GroupHS().value(torch.ones(4))
