"""Hoyer sparsity."""

import pytest
import torch

from hoyer_search.errors import InputError
from hoyer_search.hoyer import hoyer_sparsity


def test_ends_of_the_scale() -> None:
    one_hot = torch.zeros(5, 7)
    one_hot[2, 3] = -4
    assert hoyer_sparsity(one_hot).item() == pytest.approx(1)
    assert hoyer_sparsity(torch.full((5, 7), -0.3)).item() == pytest.approx(0, abs=1e-6)


def test_undefined_cases_count_as_sparse() -> None:
    assert hoyer_sparsity(torch.zeros(6)).item() == 1
    assert hoyer_sparsity(torch.tensor([2.0])).item() == 1


def test_empty_tensor_is_refused() -> None:
    with pytest.raises(InputError, match=r"at least one element, got shape \(0, 3\)"):
        hoyer_sparsity(torch.empty(0, 3))
