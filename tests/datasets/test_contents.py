"""A data source that gives other examples than before is found out."""

from dataclasses import replace

import numpy as np
import pytest
from torch.utils.data import Dataset

from hoyer_search.datasets import Examples, Splits
from hoyer_search.datasets.contents import check_contents, contents
from hoyer_search.errors import DataError


def examples(number: int, seed: int) -> Examples:
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((number, 3, 4), dtype=np.float32)
    return Examples(inputs, generator.integers(0, 10, number))


@pytest.fixture
def data() -> Splits:
    return Splits(
        train=examples(60, 0),
        validation=examples(20, 1),
        test=examples(30, 2),
        input_shape=(3, 4),
        classes=(),
        mean=None,
        std=None,
    )


def test_the_same_examples_pass(data):
    before = contents(data)
    check_contents(before, data, source="mine:data")
    rounded = Examples(data.train.inputs * np.float32(1 + 1e-6), data.train.labels)
    check_contents(before, replace(data, train=rounded), source="mine:data")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:50], y[:50]), "train had 60 examples and has 50"),
        (lambda x, y: (x, 9 - y), "train has other labels"),
        (lambda x, y: (x[::-1], y[::-1]), "train has other labels, or the same ones in another"),
        (lambda x, y: (x * 2, y), "train had inputs of mean .* and has"),
        (lambda x, y: (x + 0.1, y), "train had inputs of mean .* and has"),
    ],
)
def test_others_do_not(data, change, message):
    changed = replace(data, train=Examples(*change(data.train.inputs, data.train.labels)))
    with pytest.raises(DataError, match=f"'mine:data' gives other examples .*: {message}"):
        check_contents(contents(data), changed, source="mine:data")


def test_extreme_inputs_can_be_told_apart(data):
    large = replace(data, test=Examples(data.test.inputs * np.float32(1e37), data.test.labels))
    check_contents(contents(large), large, source="mine:data")
    with pytest.raises(DataError, match="test had inputs"):
        check_contents(contents(large), data, source="mine:data")


def test_of_a_dataset_the_number_is_known(data):
    class Images(Dataset):
        def __init__(self, number: int) -> None:
            self.number = number

        def __len__(self) -> int:
            return self.number

    read = replace(data, test=Images(30))
    check_contents(contents(read), read, source="mine:data")
    with pytest.raises(DataError, match="test had 30 examples and has 31"):
        check_contents(contents(read), replace(data, test=Images(31)), source="mine:data")
