"""Which finished trial a new one starts from under ``warm_start: path``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hoyer_search.search.cube import Cube
from hoyer_search.search.parameters import Space


def by_distance(
    space: Space, params: Mapping[str, Any], others: Sequence[Mapping[str, Any]]
) -> list[int]:
    """Returns the indices of other settings, the nearest to a setting first.

    Distance is Euclidean over the searched space scaled to a unit cube, where two different choices
    are as far apart as the two ends of a range. A searched threshold does not count: it comes after
    the training. Of equally near settings the last comes first.

    Args:
        space: The searched parameters.
        params: A setting.
        others: Settings of earlier trials, in their order.
    """
    trained = {name: d for name, d in space.items() if name != "threshold"}
    if not trained:
        return list(range(len(others)))[::-1]
    cube = Cube(trained)
    apart = np.abs(cube.points(others) - cube.points([params]))
    apart[:, cube.categorical] = apart[:, cube.categorical] > 0
    distance = np.square(apart).sum(axis=1)
    return sorted(range(len(others)), key=lambda i: (float(distance[i]), -i))
