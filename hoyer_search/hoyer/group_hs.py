"""The Group-HS regularizer over filters and channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from hoyer_search.hoyer._blocks import SMALLEST
from hoyer_search.hoyer._groups import GroupNorms, add_group_gradient_, group_norms, inverse
from hoyer_search.hoyer.arrangement import Arrangement, arrangements
from hoyer_search.hoyer.regularizer import Regularizer


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupHS(Regularizer):
    """G_H(w) = sum(norms)^2 / sum(w^2) (DeepHoyer, Equation 6), over filters and over channels.

    A layer's value is filter_weight * G_H(filters) + channel_weight * G_H(channels), the layer's
    term of Equation 8. Each G_H lies in [1, groups] and is invariant to the weights' scale.

    Attributes:
        filter_weight: Factor of the filter-wise G_H: alpha_n over alpha.
        channel_weight: Factor of the channel-wise G_H: alpha_c over alpha.
        arrangements: Where each layer's weight holds filters and channels, in the order of the
            weights; none if all are plain.
    """

    filter_weight: float = 1.0
    channel_weight: float = 1.0
    arrangements: tuple[Arrangement, ...] = ()

    def values(self, weights: Sequence[Tensor]) -> Tensor:
        """Returns the term of Equation 8 of every layer, float64 of shape (layers,)."""
        layers = zip(weights, arrangements(self.arrangements, weights), strict=True)
        return torch.stack([self._value(group_norms(w, a))[0] for w, a in layers])

    def add_gradients_(
        self, weights: Sequence[Tensor], grads: Sequence[Tensor], scales: Tensor
    ) -> Tensor:
        """Adds scale * dR/dw to every layer's gradient and returns the values.

        With s = sum(norms) / sum(w^2), dG_H/dw = 2 s w (1 / norm of its group - s): Equation 10,
        whose last line misprints sum(|w|) for the sum of the group norms.
        """
        values = []
        layers = zip(weights, grads, scales, arrangements(self.arrangements, weights), strict=True)
        for weight, grad, scale, arrangement in layers:
            norms = group_norms(weight, arrangement)
            value, slopes = self._value(norms)
            # One common factor keeps coefficient * weight near 1 for weights of any magnitude.
            factor = slopes.filters * self.filter_weight + slopes.channels * self.channel_weight
            share = slopes.filters * self.filter_weight / factor.clamp_min(SMALLEST)
            add_group_gradient_(
                weight,
                grad,
                arrangement,
                factor=2 * scale * factor,
                filters=(inverse(norms.filters) - slopes.filters) * share,
                channels=(inverse(norms.channels) - slopes.channels) * (1 - share),
            )
            values.append(value)
        return torch.stack(values)

    def _value(self, norms: GroupNorms) -> tuple[Tensor, GroupNorms]:
        """Returns the value and s of the filters and of the channels."""
        energy = norms.filters.square().sum().clamp_min_(SMALLEST)
        filters, channels = norms.filters.sum(), norms.channels.sum()
        slopes = GroupNorms(filters / energy, channels / energy)
        value = filters * slopes.filters * self.filter_weight
        return value + channels * slopes.channels * self.channel_weight, slopes
