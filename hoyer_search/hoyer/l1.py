"""The L1 regularizer."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from hoyer_search.hoyer import _separable
from hoyer_search.hoyer.regularizer import Regularizer


@final
class L1(Regularizer):
    """R(w) = sum(|w|): shrinks every weight alike."""

    def values(self, weights: Sequence[Tensor]) -> Tensor:
        """Returns the L1 norm of every layer, float64 of shape (layers,)."""
        return _separable.sums(torch.abs, weights)

    def add_gradients_(
        self, weights: Sequence[Tensor], grads: Sequence[Tensor], scales: Tensor
    ) -> Tensor:
        """Adds scale * sign(w) to every layer's gradient and returns the values."""
        _separable.add_derivatives_(torch.sign, weights, grads, scales)
        return self.values(weights)
