"""The group lasso regularizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hoyer_search.hoyer._groups import GroupNorms, add_group_gradient_, group_norms, inverse
from hoyer_search.hoyer.arrangement import Arrangement, arrangements
from hoyer_search.hoyer.regularizer import Regularizer


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLasso(Regularizer):
    """R_G(w) = sum over groups of their L2 norms (DeepHoyer, Equation 5), filters and channels.

    Attributes:
        filter_weight: Factor of the sum over filters.
        channel_weight: Factor of the sum over channels.
        arrangements: Where each layer's weight holds filters and channels, in the order of the
            weights; none if all are plain.
    """

    filter_weight: float = 1.0
    channel_weight: float = 1.0
    arrangements: tuple[Arrangement, ...] = ()

    def values(self, weights: Sequence[Tensor]) -> Tensor:
        """Returns R_G of every layer, float64 of shape (layers,)."""
        layers = zip(weights, arrangements(self.arrangements, weights), strict=True)
        return torch.stack([self._value(group_norms(w, a)) for w, a in layers])

    def add_gradients_(
        self, weights: Sequence[Tensor], grads: Sequence[Tensor], scales: Tensor
    ) -> Tensor:
        """Adds scale * w / norm of its group to every layer's gradient and returns the values."""
        values = []
        layers = zip(weights, grads, scales, arrangements(self.arrangements, weights), strict=True)
        for weight, grad, scale, arrangement in layers:
            norms = group_norms(weight, arrangement)
            add_group_gradient_(
                weight,
                grad,
                arrangement,
                factor=scale,
                filters=inverse(norms.filters) * self.filter_weight,
                channels=inverse(norms.channels) * self.channel_weight,
            )
            values.append(self._value(norms))
        return torch.stack(values)

    def _value(self, norms: GroupNorms) -> Tensor:
        filters, channels = norms.filters.sum(), norms.channels.sum()
        return filters * self.filter_weight + channels * self.channel_weight
