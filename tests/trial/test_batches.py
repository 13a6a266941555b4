"""Both kinds of batches keep one contract: every example once, in an order of the seed."""

import errno
import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from hoyer_search.datasets import Examples
from hoyer_search.errors import DataError
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


class Faulty(Numbers):
    """Gives one example that is not as the others."""

    def __init__(self, fault):
        self._fault = fault

    def __getitem__(self, index):
        x, label = super().__getitem__(index)
        if index != 17:
            return x, label
        if isinstance(self._fault, Exception):
            raise self._fault
        return self._fault(x, label)


@pytest.mark.parametrize("cpus", [1, 2])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda x, y: (x * torch.nan, y), "test: inputs must be finite, got nan"),
        (lambda x, y: (x - torch.inf, y), "test: inputs must be finite, got -inf"),
        (lambda x, y: (x, -100), "test: a label must be .* from 0; got -100"),
        (lambda x, y: (x, 23), "test: the model has 23 outputs, but .* the label 23"),
        (lambda x, y: (x.repeat(2), y), "test: reading a batch of the Dataset raised RuntimeError"),
        (KeyError("files"), "test: reading a batch .* raised KeyError: (.|\n)*files(.|\n)*Mend"),
    ],
)
def test_an_example_that_cannot_be_used_is_named(cpus, fault, message):
    batches = make_batches(Faulty(fault), torch.device("cpu"), cpus=cpus, name="test", outputs=N)
    for read in (batches.in_order(), batches.shuffled(5, seed=1)):
        with pytest.raises(DataError, match=message):
            list(read)


class Labelled(Numbers):
    def __init__(self, of):
        self._of = of

    def __getitem__(self, index):
        return torch.zeros(1), self._of(index)


@pytest.mark.parametrize(
    ("of", "got"),
    [
        (float, r"torch.float64 of shape \(\)"),
        (lambda index: torch.eye(N)[index], r"torch.float32 of shape \(23,\)"),
        (lambda index: torch.tensor([index]), r"torch.int64 of shape \(1,\)"),
        (lambda index: "cat", "'cat'"),
    ],
)
def test_labels_that_number_no_class_are_refused(of, got):
    with pytest.raises(DataError, match=f"one whole number from 0; got .*{got}"):
        list(make_batches(Labelled(of), torch.device("cpu"), cpus=1).in_order())


def test_labels_of_any_integer_type_serve():
    labelled = Labelled(lambda index: torch.tensor(index, dtype=torch.uint8))
    ((_, labels),) = make_batches(labelled, torch.device("cpu"), cpus=1).in_order()
    assert labels.dtype == torch.int64
    assert labels.tolist() == list(range(N))


def test_a_full_disk_is_no_fault_of_the_data():
    full = Faulty(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        list(make_batches(full, torch.device("cpu"), cpus=1).in_order())
