"""The random numbers that a user's own data and network draw: torch's, Python's and numpy's."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seeds the global generators of torch (every device), Python and numpy."""
    torch.manual_seed(seed)
    _seed_others(seed)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the global generators of the CPU while the block runs; they go on as before then."""
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    torch.default_generator.manual_seed(seed)
    _seed_others(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


def _seed_others(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
