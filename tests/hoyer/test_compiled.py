"""The compiled kernel adds what eager calls add."""

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from hoyer_search.hoyer import (
    Hoyer,
    HoyerSquare,
    Regularizer,
    _compiled,
    make_regularizer,
    worth_compiling,
)

pytestmark = pytest.mark.slow
KINDS = [HoyerSquare, Hoyer]


@pytest.fixture(scope="module", autouse=True)
def kernels() -> None:
    if not _compiled.available():
        pytest.skip("torch.compile finds no C++ compiler here")


def both(kind: type[Regularizer], weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns values and gradients, compiled and by eager calls in float64."""
    grad = torch.full_like(weight, 0.5)
    assert weight.numel() >= _compiled.SMALLEST_LAYER
    value = kind(compiled=True).add_gradient_(weight, grad, scale=3.0)
    exact = torch.full_like(weight, 0.5, dtype=torch.float64)
    expected = kind().add_gradient_(weight.double(), exact, scale=3.0)
    return value, expected, grad - 0.5, exact - 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(256, 256), (1000, 131), (64, 128, 3, 3), (17, 400, 1, 11)])
def test_it_is_exact(kind: type[Regularizer], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    value, expected, grad, exact = both(kind, torch.randn(shape))
    assert value == pytest.approx(float(expected), rel=1e-6)
    assert float((grad - exact).abs().max() / exact.abs().max()) < 1e-5


def test_a_layer_in_channels_last_keeps_its_elements_apart() -> None:
    weight = torch.randn(64, 128, 3, 3).to(memory_format=torch.channels_last)
    _, _, grad, exact = both(HoyerSquare, weight)
    assert float((grad - exact).abs().max() / exact.abs().max()) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("magnitude", [1e-30, 1e-12, 1e15, 1e30])
def test_any_magnitude_is_right(kind: type[Regularizer], magnitude: float) -> None:
    torch.manual_seed(1)
    weight = torch.randn(256, 256) * magnitude
    grad = torch.zeros_like(weight)
    kind(compiled=True).add_gradient_(weight, grad)
    exact = torch.zeros_like(weight, dtype=torch.float64)
    kind().add_gradient_(weight.double(), exact)
    limited = exact.clamp(-torch.finfo(torch.float32).max, torch.finfo(torch.float32).max)
    assert float((grad - limited).abs().max() / limited.abs().max()) < 1e-5


def test_zeros_give_zeros_and_nan_gives_nan() -> None:
    value, _, grad, _ = both(HoyerSquare, torch.zeros(256, 256))
    assert value == 0
    assert not grad.any()
    weight = torch.randn(256, 256)
    weight[3, 4] = float("nan")
    assert HoyerSquare(compiled=True).add_gradient_(weight, torch.zeros_like(weight)).isnan()


def test_small_or_scattered_layers_are_left_to_eager_calls() -> None:
    for weight in (torch.randn(20, 10), torch.randn(512, 512)[:, ::2]):
        grad, same = torch.zeros_like(weight), torch.zeros_like(weight)
        assert _compiled.add_compiled_(weight, grad, 1.0, power=2) is None
        HoyerSquare(compiled=True).add_gradient_(weight, grad)
        HoyerSquare().add_gradient_(weight, same)
        assert torch.equal(grad, same)


def test_it_is_made_for_long_trainings_of_large_networks() -> None:
    assert worth_compiling(25_557_032, 90 * 5_005)
    assert not worth_compiling(25_557_032, 1_000)
    assert not worth_compiling(266_200, 250 * 600)
    made = make_regularizer("hoyer_square", compiled=True)
    assert made == HoyerSquare(compiled=True)


WITHOUT = """
import logging, torch
logging.basicConfig()
from hoyer_search.hoyer import HoyerSquare
weight = torch.randn(256, 256)
grad, same = torch.zeros_like(weight), torch.zeros_like(weight)
HoyerSquare(compiled=True).add_gradient_(weight, grad)
HoyerSquare().add_gradient_(weight, same)
assert torch.equal(grad, same)
"""


def test_without_a_compiler_eager_calls_do_it(tmp_path) -> None:
    environment = os.environ | {"CXX": "/bin/false", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "regularizing without compiled kernels" in done.stderr
