"""The Hoyer-Square regularizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from hoyer_search.hoyer._hoyer import add_hoyer_gradients_, hoyer_values
from hoyer_search.hoyer.regularizer import Regularizer


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class HoyerSquare(Regularizer):
    """H_S(w) = sum(|w|)^2 / sum(w^2) (DeepHoyer, Equation 3).

    Its value lies in [1, N] for N weights, is invariant to their scale, and equals the number of
    nonzeros when all of those have one magnitude. Gradient descent shrinks the weights below
    sum(w^2) / sum(|w|) and grows the others.

    Attributes:
        compiled: Whether large layers on the CPU are done by a kernel that torch.compile makes at
            the first call, in tens of seconds; where it cannot, and otherwise, by eager calls.
    """

    compiled: bool = False

    def values(self, weights: Sequence[Tensor]) -> Tensor:
        """Returns R of every layer, float64 of shape (layers,)."""
        return hoyer_values(weights, power=2)

    def add_gradients_(
        self, weights: Sequence[Tensor], grads: Sequence[Tensor], scales: Tensor
    ) -> Tensor:
        """Adds scale * dR/dw (Equation 4) to every layer's gradient and returns the values."""
        compiled = self.compiled
        return add_hoyer_gradients_(weights, grads, scales, power=2, compiled=compiled)
