"""The transformed L1 regularizer."""

from collections.abc import Sequence
from typing import final

from torch import Tensor

from hoyer_search.hoyer import _separable
from hoyer_search.hoyer.regularizer import Regularizer


@final
class TransformedL1(Regularizer):
    """R(w) = sum(2 |w| / (1 + |w|)): like L1 for small weights, flat for large ones.

    The penalty of Zhang and Xin, "Minimization of transformed L1 penalty" (2018,
    https://arxiv.org/abs/1411.5735), with its parameter a = 1. Its value lies in [0, 2 N] for N
    weights.
    """

    def values(self, weights: Sequence[Tensor]) -> Tensor:
        """Returns the transformed L1 norm of every layer, float64 of shape (layers,)."""
        return 2 * _separable.sums(_half_penalty, weights)

    def add_gradients_(
        self, weights: Sequence[Tensor], grads: Sequence[Tensor], scales: Tensor
    ) -> Tensor:
        """Adds scale * 2 sign(w) / (1 + |w|)^2 to every layer's gradient and returns the values."""
        _separable.add_derivatives_(_half_slope, weights, grads, 2 * scales)
        return self.values(weights)


def _half_penalty(w: Tensor) -> Tensor:
    magnitude = w.abs()
    return magnitude / (magnitude + 1)


def _half_slope(w: Tensor) -> Tensor:
    return w.abs().add_(1).reciprocal_().square_().mul_(w.sign())
