"""Regularizers by name."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from hoyer_search.errors import ConfigError, unknown_name
from hoyer_search.hoyer.arrangement import Arrangement
from hoyer_search.hoyer.group_hs import GroupHS
from hoyer_search.hoyer.group_lasso import GroupLasso
from hoyer_search.hoyer.hoyer_ratio import Hoyer
from hoyer_search.hoyer.hoyer_square import HoyerSquare
from hoyer_search.hoyer.l1 import L1
from hoyer_search.hoyer.regularizer import Regularizer
from hoyer_search.hoyer.transformed_l1 import TransformedL1

REGULARIZERS: Mapping[str, type[Regularizer]] = MappingProxyType(
    {
        "hoyer": Hoyer,
        "hoyer_square": HoyerSquare,
        "l1": L1,
        "transformed_l1": TransformedL1,
        "group_hs": GroupHS,
        "group_lasso": GroupLasso,
    }
)
"""Every regularizer that acts on layers, by the name that search spaces use."""


def make_regularizer(
    name: str,
    *,
    filter_weight: float = 1.0,
    channel_weight: float = 1.0,
    arrangements: Sequence[Arrangement] = (),
    compiled: bool = False,
) -> Regularizer:
    """Returns a regularizer by its name.

    Args:
        name: A key of :data:`REGULARIZERS`.
        filter_weight: Factor of the filter-wise groups; element-wise regularizers have none and
            ignore it.
        channel_weight: Factor of the channel-wise groups, likewise.
        arrangements: Where each layer's weight holds its filters and channels, likewise; none if
            all are as in a Linear.
        compiled: Whether the Hoyer measures use compiled kernels for large layers; see
            ``worth_compiling``. The others gain nothing by them and ignore it.

    Raises:
        ConfigError: The name is unknown, or a factor is negative or not finite.
    """
    for field, factor in (("filter_weight", filter_weight), ("channel_weight", channel_weight)):
        if not (math.isfinite(factor) and factor >= 0):
            raise ConfigError(f"{field} must be a finite number from 0, got {factor!r}")
    if name not in REGULARIZERS:
        raise ConfigError(unknown_name("regularizer", name, REGULARIZERS))
    kind = REGULARIZERS[name]
    if kind in (GroupHS, GroupLasso):
        return kind(
            filter_weight=filter_weight,
            channel_weight=channel_weight,
            arrangements=tuple(arrangements),
        )
    return kind(compiled=compiled) if kind in (Hoyer, HoyerSquare) else kind()
