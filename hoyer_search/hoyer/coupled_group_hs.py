"""The Group-HS regularizer over channels that several layers make together."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from hoyer_search.errors import InputError
from hoyer_search.hoyer._blocks import SMALLEST
from hoyer_search.hoyer._groups import GroupNorms, add_group_gradient_, group_norms, inverse
from hoyer_search.hoyer.arrangement import PLAIN, Arrangement
from hoyer_search.hoyer.regularizer import Regularizer


@final
class CoupledGroupHS(Regularizer):
    """Group-HS (DeepHoyer, Equations 6 and 8) with one group for each channel of a stream.

    Where an addition joins the filters of several layers, as in a residual stream, the channel can
    be removed only if all of its filters are zero. Here they are one group: with stream(l) the
    layers that share channels with l, a layer's value is
    filter_weight * G_H(groups of stream(l)) + channel_weight * G_H(channels of l). A layer that
    shares none has the value that ``GroupHS`` gives it.

    Args:
        filters: The channel that each filter of each layer makes, int64 of shape (filters,), in the
            order of the weights; None for a layer whose filters are groups of their own.
        filter_weight: Factor of the filter-wise G_H: alpha_n over alpha.
        channel_weight: Factor of the channel-wise G_H: alpha_c over alpha.
        arrangements: Where each layer's weight holds filters and channels, in the same order; none
            if all are plain.
    """

    def __init__(
        self,
        filters: Sequence[Tensor | None],
        *,
        filter_weight: float = 1.0,
        channel_weight: float = 1.0,
        arrangements: Sequence[Arrangement] = (),
    ) -> None:
        self._streams, self._groups = _streams(filters)
        # Counted here, so that no step waits for the device.
        self._sizes = {
            layer: 1 + max(int(own.max()) for i in stream if (own := self._groups[i]) is not None)
            for stream in self._streams
            for layer in stream
            if self._groups[layer] is not None
        }
        self._filter_weight, self._channel_weight = filter_weight, channel_weight
        self._arrangements = arrangements or [PLAIN] * len(filters)

    def values(self, weights: Sequence[Tensor]) -> Tensor:
        """Returns every layer's value, float64 of shape (layers,); a stream's counts for each.

        Raises:
            InputError: There are not as many weights as layers, or one has other filters.
        """
        return self._parts(weights)[0]

    def add_gradients_(
        self, weights: Sequence[Tensor], grads: Sequence[Tensor], scales: Tensor
    ) -> Tensor:
        """Adds the gradient of sum(scales * values) to the layers' gradients; returns the values.

        Raises:
            InputError: As in ``values``.
        """
        values, norms, coupled, slopes = self._parts(weights)
        for stream, group_sizes in zip(self._streams, coupled, strict=True):
            total = torch.stack([scales[layer] for layer in stream]).sum()
            for layer in stream:
                groups = self._groups[layer]
                own = group_sizes if groups is None else group_sizes[groups]
                by_filter = total * self._filter_weight * slopes[layer].filters
                by_channel = scales[layer] * self._channel_weight * slopes[layer].channels
                factor = by_filter + by_channel
                share = torch.where(factor == 0, 0.0, by_filter / factor)
                add_group_gradient_(
                    weights[layer],
                    grads[layer],
                    self._arrangements[layer],
                    factor=2 * factor,
                    filters=(inverse(own) - slopes[layer].filters) * share,
                    channels=(inverse(norms[layer].channels) - slopes[layer].channels)
                    * (1 - share),
                )
        return values

    def _parts(
        self, weights: Sequence[Tensor]
    ) -> tuple[Tensor, list[GroupNorms], list[Tensor], list[GroupNorms]]:
        """Returns values and norms by layer, group norms by stream, and slopes by layer."""
        self._check(weights)
        norms = [group_norms(w, a) for w, a in zip(weights, self._arrangements, strict=True)]
        coupled: list[Tensor] = []
        values, slopes = [norms[0].filters.new_zeros(())] * len(norms), list(norms)
        for stream in self._streams:
            groups = self._coupled(stream, norms)
            coupled.append(groups)
            energy = groups.square().sum().clamp_min_(SMALLEST)
            for layer in stream:
                own = norms[layer].filters.square().sum().clamp_min_(SMALLEST)
                channels = norms[layer].channels.sum()
                slopes[layer] = GroupNorms(groups.sum() / energy, channels / own)
                values[layer] = (
                    groups.sum() * slopes[layer].filters * self._filter_weight
                    + channels * slopes[layer].channels * self._channel_weight
                )
        return torch.stack(values), norms, coupled, slopes

    def _coupled(self, stream: list[int], norms: list[GroupNorms]) -> Tensor:
        """Returns the norms of a stream's groups: of all filters that make one channel."""
        if self._groups[stream[0]] is None:
            return norms[stream[0]].filters
        squares = norms[0].filters.new_zeros(self._sizes[stream[0]])
        for layer in stream:
            index = self._groups[layer]
            assert index is not None
            squares.index_add_(0, index, norms[layer].filters.square())
        return squares.sqrt()

    def _check(self, weights: Sequence[Tensor]) -> None:
        sizes = [None if groups is None else len(groups) for groups in self._groups]
        found = [a.num_filters(w) for w, a in zip(weights, self._arrangements, strict=False)]
        fits = len(sizes) == len(weights) == len(found) and all(
            size in (None, number) for size, number in zip(sizes, found, strict=True)
        )
        if not fits:
            raise InputError(
                f"the coupled groups are of layers with {sizes} filters, got {found}: give the "
                "weights that the channels were traced of, in the same order"
            )


def _streams(
    filters: Sequence[Tensor | None],
) -> tuple[list[list[int]], list[Tensor | None]]:
    """Returns layers that share channels, and their filters' groups numbered within the stream."""
    stream_of = list(range(len(filters)))
    first: dict[int, int] = {}
    for layer, channels in enumerate(filters):
        for channel in [] if channels is None else channels.tolist():
            other, mine = stream_of[first.setdefault(channel, layer)], stream_of[layer]
            if other != mine:
                stream_of = [other if stream == mine else stream for stream in stream_of]
    streams = [
        [layer for layer, found in enumerate(stream_of) if found == stream]
        for stream in dict.fromkeys(stream_of)
    ]
    groups: list[Tensor | None] = list(filters)
    for stream in streams:
        known = [channels for layer in stream if (channels := filters[layer]) is not None]
        if known:
            numbers = torch.unique(torch.cat(known), return_inverse=True)[1]
            parts = torch.split(numbers, [len(channels) for channels in known])
            for layer, part in zip(stream, parts, strict=True):
                groups[layer] = part
    return streams, groups
