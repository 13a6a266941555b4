"""The accuracies at which a search counts compression, and how much it counts at each."""

import numpy as np
import numpy.typing as npt

from hoyer_search.config import Objective
from hoyer_search.results import Dense

Floats = npt.NDArray[np.float64]

STRICTEST, FLOOR = 3.0, 2.0
"""What a doubling counts within a trial at the strictest floor, where luck matters most, and at the
others; between floors it is 1."""


def floors(dense: Dense, objective: Objective) -> Floats:
    """Returns the validation accuracy to keep at each operating point, as configured."""
    return np.array(list(objective.floors(dense.val_accuracy).values()))


def levels(floors: Floats) -> Floats:
    """Returns accuracies at which compression counts: floors and halfway between, falling.

    Those between stand for the hypervolume, to which a point adds that just misses a floor.
    """
    falling = np.unique(floors)[::-1]
    return np.sort(np.concatenate([falling, (falling[1:] + falling[:-1]) / 2]))[::-1]


def weights(count: int) -> Floats:
    """Returns what a doubling counts at each of ``levels`` within a trial, shape (count,).

    That is, in choosing what to finetune and whether to go on.

    Args:
        count: How many levels there are, an odd number: every other one is a floor.
    """
    counts = np.ones(count)
    counts[::2] = FLOOR
    counts[0] = STRICTEST
    return counts


def strictness(count: int) -> Floats:
    """Returns what a doubling counts at each of ``levels`` to a sampler, shape (count,).

    The loosest floor counts 1 and each stricter one 1 more, since settings that keep it are rarer;
    between floors it is 1.

    Args:
        count: How many levels there are, an odd number: every other one is a floor.
    """
    counts = np.ones(count)
    counts[::2] = np.arange(counts[::2].size, 0, -1)
    return counts
