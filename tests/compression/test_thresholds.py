import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hoyer_search.compression.thresholds import surviving

SEEDS = st.integers(0, 2**16)


def random_weight(seed: int, shape: tuple[int, ...], dtype=torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@given(SEEDS, st.floats(0, 4), st.sampled_from([(3, 4), (2, 3, 3), (4, 2, 3, 3), (1, 1)]))
def test_std_ratio_is_the_numpy_rule_with_ddof_0(seed, threshold, shape):
    weight = random_weight(seed, shape)
    array = weight.numpy()
    expected = np.abs(array) >= threshold * np.std(array)
    mask = surviving(weight, threshold=threshold, rule="std_ratio", granularity="element")
    # The two sum in different orders: weights within rounding of the cutoff may fall either way.
    sure = ~np.isclose(np.abs(array), threshold * np.std(array), rtol=1e-12)
    assert mask.dtype == weight.dtype
    np.testing.assert_array_equal(mask.numpy()[sure], expected[sure])


@given(SEEDS, st.floats(0, 3))
def test_absolute_compares_the_weights_themselves(seed, threshold):
    weight = random_weight(seed, (5, 6))
    mask = surviving(weight, threshold=threshold, rule="absolute", granularity="element")
    assert torch.equal(mask.bool(), weight.abs() >= threshold)


@given(SEEDS, st.floats(0, 4), st.sampled_from([(4, 5), (3, 4, 2, 2)]))
def test_a_group_dies_when_every_element_is_under_the_threshold(seed, threshold, shape):
    weight = random_weight(seed, shape)
    element = surviving(weight, threshold=threshold, rule="absolute", granularity="element")
    structural = surviving(weight, threshold=threshold, rule="absolute", granularity="structural")
    for row, column in itertools.product(range(shape[0]), range(shape[1])):
        whole = bool(element[row].any()) and bool(element[:, column].any())
        assert (structural[row, column] == float(whole)).all()


@pytest.mark.parametrize("rule", ["std_ratio", "absolute"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_zeros_never_survive_and_masks_keep_the_dtype(rule, dtype):
    weight = torch.tensor([[0.0, 0.5], [-0.5, 0.0]], dtype=dtype)
    mask = surviving(weight, threshold=0.0, rule=rule, granularity="element")
    assert mask.dtype == dtype
    assert mask.tolist() == [[0, 1], [1, 0]]
    dead = surviving(torch.zeros_like(weight), threshold=0.0, rule=rule, granularity="structural")
    assert dead.count_nonzero() == 0


def test_a_constant_layer_survives_every_ratio():
    mask = surviving(torch.ones(2, 2), threshold=100.0, rule="std_ratio", granularity="element")
    assert mask.all()


def test_groups_of_a_convolution_die_apart():
    weight = torch.ones(4, 2, 3, 3)
    weight[:2, 0] = 0.1  # channel 0 of the first group
    weight[3] = 0.1  # the last filter
    alive = surviving(weight, threshold=0.5, rule="absolute", granularity="structural", groups=2)
    assert alive[:, :, 0, 0].tolist() == [[0, 1], [0, 1], [1, 1], [0, 0]]


def test_the_filters_of_a_transposed_convolution_are_its_second_dimension():
    weight = torch.ones(2, 3, 2)
    weight[:, 1] = 0.1
    settings = {"threshold": 0.5, "rule": "absolute", "granularity": "structural"}
    alive = surviving(weight, transposed=True, **settings)
    assert alive[:, :, 0].tolist() == [[1, 0, 1], [1, 0, 1]]
