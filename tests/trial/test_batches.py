"""Both kinds of batches keep one contract: every example once, in an order of the seed."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from hoyer_search.datasets import Examples
from hoyer_search.trial.batches import TensorBatches, make_batches

N = 23
EXAMPLES = Examples(np.arange(N, dtype=np.float32).reshape(N, 1), np.arange(N, dtype=np.int64))


class Numbers(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, index):
        return torch.tensor([float(index)]), index


@pytest.fixture(params=["memory", "dataset", "dataset with workers"])
def batches(request):
    source = EXAMPLES if request.param == "memory" else Numbers()
    cpus = 2 if "workers" in request.param else 1
    return make_batches(source, torch.device("cpu"), cpus=cpus)


def drawn(batches, seed):
    pairs = list(batches.shuffled(5, seed=seed))
    assert all(len(x) == len(y) and torch.equal(x[:, 0].long(), y) for x, y in pairs)
    assert [len(y) for _, y in pairs] == [5, 5, 5, 5, 3]
    return torch.cat([y for _, y in pairs]).tolist()


def test_every_example_once_in_an_order_of_the_seed(batches):
    first = drawn(batches, 1)
    assert sorted(first) == list(range(N))
    assert drawn(batches, 1) == first != drawn(batches, 2)
    assert batches.num_examples == N


def test_evaluation_keeps_the_order(batches):
    assert torch.cat([y for _, y in batches.in_order()]).tolist() == list(range(N))


def test_arrays_are_shared_and_may_be_read_only():
    inputs = EXAMPLES.inputs.copy()
    inputs.setflags(write=False)
    shared = TensorBatches(Examples(inputs, EXAMPLES.labels), torch.device("cpu"))
    assert shared._inputs.data_ptr() == inputs.ctypes.data


class Noisy(Dataset):
    """Draws noise for each example from all three global generators."""

    def __len__(self):
        return N

    def __getitem__(self, index):
        noise = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return torch.tensor(noise), index


@pytest.mark.parametrize("cpus", [1, 2])
def test_random_augmentation_is_the_same_at_each_evaluation_and_leaves_others_alone(cpus):
    batches = make_batches(Noisy(), torch.device("cpu"), cpus=cpus)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    first, second = (torch.cat([x for x, _ in batches.in_order()]) for _ in range(2))
    assert torch.equal(first, second)
    assert first.unique().numel() > 2 * N
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert after == states
