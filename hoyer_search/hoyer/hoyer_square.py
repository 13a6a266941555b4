"""The Hoyer-Square regularizer."""

from collections.abc import Sequence
from typing import final

from torch import Tensor

from hoyer_search.hoyer._blocks import SMALLEST
from hoyer_search.hoyer._hoyer import absolute_and_square_sums, add_hoyer_gradients_
from hoyer_search.hoyer.regularizer import Regularizer


@final
class HoyerSquare(Regularizer):
    """H_S(w) = sum(|w|)^2 / sum(w^2) (DeepHoyer, Equation 3).

    Its value lies in [1, N] for N weights, is invariant to their scale, and equals the number of
    nonzeros when all of those have one magnitude. Gradient descent shrinks the weights below
    sum(w^2) / sum(|w|) and grows the others.
    """

    def values(self, weights: Sequence[Tensor]) -> Tensor:
        """Returns H_S of every layer, float64 of shape (layers,)."""
        l1, l2_squared = absolute_and_square_sums(weights)
        return l1 * (l1 / l2_squared.clamp_min(SMALLEST))

    def add_gradients_(
        self, weights: Sequence[Tensor], grads: Sequence[Tensor], scales: Tensor
    ) -> Tensor:
        """Adds scale * dH_S/dw (Equation 4) to every layer's gradient and returns the values.

        With s = sum(|w|) / sum(w^2) Equation 4 reads 2 s (sign(w) - s w).
        """
        l1, l2_squared = absolute_and_square_sums(weights)
        slopes = l1 / l2_squared.clamp_min(SMALLEST)
        add_hoyer_gradients_(weights, grads, factors=2 * scales * slopes, slopes=slopes)
        return l1 * slopes
