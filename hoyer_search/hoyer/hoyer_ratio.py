"""The Hoyer regularizer."""

from collections.abc import Sequence
from typing import final

from torch import Tensor

from hoyer_search.hoyer._blocks import SMALLEST
from hoyer_search.hoyer._hoyer import absolute_and_square_sums, add_hoyer_gradients_
from hoyer_search.hoyer.regularizer import Regularizer


@final
class Hoyer(Regularizer):
    """R(w) = sum(|w|) / sqrt(sum(w^2)), the ratio of norms (DeepHoyer, middle of Equation 2).

    Its value lies in [1, sqrt(N)] for N weights and is invariant to their scale.
    """

    def values(self, weights: Sequence[Tensor]) -> Tensor:
        """Returns the ratio of norms of every layer, float64 of shape (layers,)."""
        l1, l2_squared = absolute_and_square_sums(weights)
        return l1 * l2_squared.clamp_min(SMALLEST).rsqrt()

    def add_gradients_(
        self, weights: Sequence[Tensor], grads: Sequence[Tensor], scales: Tensor
    ) -> Tensor:
        """Adds scale * dR/dw to every layer's gradient and returns the values.

        dR/dw = (sign(w) - w sum(|w|) / sum(w^2)) / sqrt(sum(w^2)).
        """
        l1, l2_squared = absolute_and_square_sums(weights)
        l2_squared = l2_squared.clamp_min(SMALLEST)
        inverse_l2 = l2_squared.rsqrt()
        slopes = l1 / l2_squared
        add_hoyer_gradients_(weights, grads, factors=scales * inverse_l2, slopes=slopes)
        return l1 * inverse_l2
