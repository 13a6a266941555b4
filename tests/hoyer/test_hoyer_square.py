"""Hoyer-Square and Hoyer: closed-form values, properties and the weight path of Figure 2."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hoyer_search.hoyer import Hoyer, HoyerSquare, hoyer_sparsity

finite = st.floats(-1e3, 1e3, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)
vectors = st.lists(finite, min_size=1, max_size=40).map(torch.tensor)
nonzero_vectors = vectors.filter(lambda v: bool(v.any()))


def test_closed_forms() -> None:
    weight = torch.tensor([3.0, -4.0, 0.0])
    grad = torch.zeros(3)
    assert HoyerSquare().add_gradient_(weight, grad).item() == pytest.approx(49 / 25)
    # Equation 4: 2 sign(w) 7 / 25^2 (25 - 7 |w|).
    expected = torch.tensor([14 / 625 * 4, 14 / 625 * 3, 0.0])
    torch.testing.assert_close(grad, expected)
    assert Hoyer().value(weight).item() == pytest.approx(7 / 5)
    assert hoyer_sparsity(weight).item() == pytest.approx((3**0.5 - 7 / 5) / (3**0.5 - 1))


@given(nonzero_vectors)
def test_range(weight: torch.Tensor) -> None:
    n = weight.numel()
    assert 1 - 1e-6 <= HoyerSquare().value(weight).item() <= n * (1 + 1e-6)
    assert 1 - 1e-6 <= Hoyer().value(weight).item() <= n**0.5 * (1 + 1e-6)
    assert 0 <= hoyer_sparsity(weight).item() <= 1


@given(nonzero_vectors, st.floats(1e-20, 1e15), st.sampled_from([-1, 1]))
def test_scale_invariance(weight: torch.Tensor, factor: float, sign: int) -> None:
    scaled = weight * (sign * factor)
    for measure in (HoyerSquare().value, Hoyer().value, hoyer_sparsity):
        assert measure(scaled).item() == pytest.approx(measure(weight).item(), rel=1e-5, abs=1e-5)


@given(nonzero_vectors, st.randoms(use_true_random=False))
def test_permutation_invariance(weight: torch.Tensor, random) -> None:
    order = list(range(weight.numel()))
    random.shuffle(order)
    for measure in (HoyerSquare().value, Hoyer().value, hoyer_sparsity):
        shuffled, straight = measure(weight[order]).item(), measure(weight).item()
        assert shuffled == pytest.approx(straight, rel=1e-5, abs=1e-5)


@given(st.integers(1, 200), st.data())
def test_k_hot_vector_has_value_k(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    weight = torch.zeros(n)
    weight[torch.randperm(n)[:k]] = data.draw(st.sampled_from([1e-30, -0.3, 1.0, 1e18]))
    assert HoyerSquare().value(weight).item() == pytest.approx(k, rel=1e-6)
    assert Hoyer().value(weight).item() == pytest.approx(k**0.5, rel=1e-6)


@given(nonzero_vectors)
def test_hoyer_square_is_the_square_of_hoyer(weight: torch.Tensor) -> None:
    square = HoyerSquare().value(weight).item()
    assert square == pytest.approx(Hoyer().value(weight).item() ** 2)


def test_weight_path_of_figure_2() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(20, generator=generator, dtype=torch.float64)
    regularizer, rate = HoyerSquare(), 4e-3
    values = []
    for _ in range(5_000):
        grad = torch.zeros_like(weight)
        values.append(regularizer.add_gradient_(weight, grad).item())
        threshold = weight.square().sum() / weight.abs().sum()
        updated = weight - rate * grad
        growth = updated.abs() - weight.abs()
        settled = weight.abs() < 2 * rate * float(grad.abs().max())  # oscillates around zero
        small, large = weight.abs() < threshold - 1e-12, weight.abs() > threshold + 1e-12
        assert (growth[small & ~settled] < 0).all()
        assert (growth[large] > 0).all()
        weight = updated
    nonzeros = int((weight.abs() > 0.05).sum())
    assert values[0] > 10
    assert 1 <= nonzeros < 6
    assert values[-1] == pytest.approx(nonzeros, abs=0.5)
