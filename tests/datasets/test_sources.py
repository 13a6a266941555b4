"""Data functions of the user's: every form they may return, and every way they go wrong."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from hoyer_search import datasets
from hoyer_search.datasets import Data, Examples
from hoyer_search.datasets.splits import count, split, to_source
from hoyer_search.errors import DataError, PluginError

X, Y = torch.randn(50, 1, 6, 6), torch.randint(4, (50,))


class Augmented(Dataset):
    def __len__(self):
        return 30

    def __getitem__(self, index):
        return X[index] + torch.randn(1, 6, 6), int(Y[index])


def load(config):
    return datasets.load(config.data, seed=config.seed, protocol=config.protocol)


def load_with(toy_config, monkeypatch, function, **overrides):
    monkeypatch.setattr("toys.blobs", function)
    return load(toy_config(**overrides))


def test_a_toy_source_is_split_by_the_seed_alone(toy_config):
    splits = load(toy_config())
    again = load(toy_config())
    other = load(toy_config(seed=1))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (400, 200, 300)
    assert np.array_equal(splits.validation.inputs, again.validation.inputs)
    assert not np.array_equal(splits.validation.inputs, other.validation.inputs)
    assert splits.input_shape == (1, 6, 6)
    assert splits.classes == ("0", "1", "2", "3")


def test_no_example_is_in_two_splits(toy_config):
    splits = load(toy_config())
    rows = np.concatenate([splits.train.inputs, splits.validation.inputs]).reshape(600, -1)
    assert len(np.unique(rows, axis=0)) == 600


def test_the_paper_protocol_selects_on_the_test_set(toy_config):
    splits = load(toy_config(protocol="paper"))
    assert splits.validation is splits.test
    assert len(splits.train) == 600


@pytest.mark.parametrize(
    "returned",
    [
        ((X, Y), (X, Y)),
        (TensorDataset(X, Y), TensorDataset(X, Y)),
        ((X.numpy(), Y.numpy()), (X[:5], Y[:5]), (X, Y)),
        Data(train=(X, Y), test=Augmented()),
        (Augmented(), Augmented()),
    ],
)
def test_every_form_a_function_may_return(toy_config, monkeypatch, returned):
    splits = load_with(toy_config, monkeypatch, lambda: returned, data__validation=5)
    assert count(splits.validation) == 5
    assert splits.input_shape == (1, 6, 6)


def test_a_given_validation_split_is_used(toy_config, monkeypatch):
    data = Data(train=(X, Y), validation=(X[:7], Y[:7]), test=(X, Y), classes=list("abcd"))
    splits = load_with(toy_config, monkeypatch, lambda: data)
    assert (len(splits.train), len(splits.validation)) == (50, 7)
    assert splits.classes == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, r"must return hoyer_search.datasets.Data.*returned NoneType"),
        ([], "returned list"),
        (((X[:0], Y[:0]), (X, Y)), "train: holds no examples"),
        (((X, Y[:3]), (X, Y)), "train: inputs .* and labels"),
        (((X, Y), (X * torch.nan, Y)), "test: inputs hold NaN"),
        (("text", "text"), "train: give a pair"),
        (((X, Y - 1), (X, Y)), "train: a label must be the number of its class, from 0; got -1"),
        (((X, Y), (X, Y + 0.5)), r"test: a label must be .* got \d\.5"),
        (((X, ["cat"] * 50), (X, Y)), "train: inputs and labels must be arrays of numbers"),
        (((X[:10], Y[:10]), (X, Y)), r"data.validation sets 200 examples aside, but only 10"),
    ],
)
def test_bad_returns_are_named(toy_config, monkeypatch, returned, message):
    with pytest.raises(DataError, match=message):
        load_with(toy_config, monkeypatch, lambda: returned)


def test_a_function_that_raises_is_named(toy_config, monkeypatch):
    def broken():
        raise KeyError("files")

    with pytest.raises(DataError, match=r"'toys:blobs' raised KeyError"):
        load_with(toy_config, monkeypatch, broken)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mnits", "did you mean 'mnist'"),
        ("missing_module:load", "importing 'missing_module' raised ModuleNotFoundError"),
        ("toys:blob", "did you mean 'blobs'"),
    ],
)
def test_unknown_sources_list_what_there_is(toy_config, source, message):
    with pytest.raises(PluginError, match=message):
        load(toy_config(data__source=source))


def test_a_dataset_without_tensors_is_refused(toy_config, monkeypatch):
    class Images(Augmented):
        def __getitem__(self, index):
            return "a PIL image", 3

    with pytest.raises(DataError, match=r"must give \(input tensor, label\)"):
        load_with(toy_config, monkeypatch, lambda: (Images(), Images()), data__validation=5)


def test_a_dataset_of_triples_is_refused(toy_config, monkeypatch):
    class Weighted(Augmented):
        def __getitem__(self, index):
            return X[index], 3, 0.5

    with pytest.raises(DataError, match=r"test: .* first example is \(Tensor, int, float\)"):
        load_with(toy_config, monkeypatch, lambda: (Augmented(), Weighted()), data__validation=5)


def test_an_iterable_dataset_is_refused_though_it_has_a_length(toy_config, monkeypatch):
    class Stream(IterableDataset):
        def __len__(self):
            return 30

        def __iter__(self):
            return zip(X, Y, strict=True)

    message = "test: an IterableDataset .* got Stream. Give a map-style Dataset"
    with pytest.raises(DataError, match=message):
        load_with(toy_config, monkeypatch, lambda: (Augmented(), Stream()), data__validation=5)


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_dataset_that_raises_is_named(toy_config, monkeypatch, name):
    class Broken(Augmented):
        def __getitem__(self, index):
            raise KeyError("files")

    data = {"train": Augmented(), "test": Augmented()} | {name: Broken()}
    with pytest.raises(DataError, match=f"{name}: the Dataset raised KeyError .*'files'"):
        load_with(toy_config, monkeypatch, lambda: Data(**data), data__validation=5)


def test_a_dataset_of_tokens_is_refused(toy_config, monkeypatch):
    tokens = TensorDataset(torch.randint(50, (300, 12)), torch.randint(4, (300,)))
    data = torch.utils.data.Subset(tokens, range(300))  # else it would be kept in memory
    with pytest.raises(DataError, match=r"floating-point numbers.*got torch.int64"):
        load_with(toy_config, monkeypatch, lambda: (data, data), data__validation=5)


def test_splitting_keeps_the_order_of_what_stays():
    train, validation = split(to_source((X, Y), name="x"), validation=10, seed=3)
    assert isinstance(train, Examples)
    positions = [int(np.flatnonzero((X.numpy() == row).all((1, 2, 3)))[0]) for row in train.inputs]
    assert positions == sorted(positions)
    assert len(validation) == 10
