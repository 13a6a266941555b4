"""What is said of a network, its data and its batches before a sweep starts."""

import pytest
import torch
import toys
from torch.utils.data import Dataset

from hoyer_search.errors import ConfigError, DataError, InputError
from hoyer_search.trial.preflight import check_model, load_checked
from hoyer_search.trial.workbench import Workbench

SIZE = "pipeline.regularize.batch_size"
NORMALIZED = {
    "model__factory": "toys:normalized",
    "data__validation": 199,  # 401 stay to train with
    "pipeline__pretrain__batch_size": 64,
    "pipeline__regularize__batch_size": 64,
    "pipeline__finetune__batch_size": 64,
}
"""Settings of a network that cannot be trained with one example."""


def test_layers_that_are_not_pruned_are_named(toy_config, caplog):
    check_model(toy_config())
    assert caplog.messages == []
    check_model(toy_config(model__factory="toys:weight_normed"))
    (message,) = caplog.messages
    assert message.startswith("neither pruned nor counted: 1, whose weights are computed")


@pytest.mark.parametrize("stage", ["regularize", "finetune"])
@pytest.mark.parametrize("sizes", [{"choices": [100, 80]}, {"low": 80, "high": 100}])
def test_a_searched_size_whose_last_batch_cannot_be_normalized(toy_config, stage, sizes):
    load_checked(toy_config(**NORMALIZED))
    name = f"pipeline.{stage}.batch_size"
    message = rf"search.{name} may be \d+: of 401 training examples the last batch has one only"
    with pytest.raises(InputError, match=message):
        load_checked(toy_config(**NORMALIZED, **{f"search.{name}": sizes}))
    load_checked(toy_config(**NORMALIZED, **{f"search.{name}": {"choices": [64, 72]}}))


@pytest.mark.parametrize("sizes", [{"choices": [50, 1000]}, {"low": 50, "high": 1000}])
def test_a_searched_size_above_the_number_of_examples(toy_config, sizes):
    message = f"search.{SIZE} may be 1000, but there are only 400 training examples"
    with pytest.raises(InputError, match=message):
        load_checked(toy_config(**{f"search.{SIZE}": sizes}))
    load_checked(toy_config(**{f"search.{SIZE}": {"low": 50, "high": 400}}))


def test_a_size_of_a_preset(toy_config):
    settings = NORMALIZED | {f"search.{SIZE}": {"low": 60, "high": 128}}
    load_checked(toy_config(**settings, presets=[{SIZE: 72}]))
    with pytest.raises(InputError, match=f"{SIZE} of a preset is 100: of 401 training examples"):
        load_checked(toy_config(**settings, presets=[{SIZE: 72}, {SIZE: 100}]))


def test_the_best_five_of_five_outputs(toy_config, monkeypatch):
    def wide(outputs):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, outputs))

    monkeypatch.setattr(toys, "wide", wide, raising=False)
    settings = {"objective__accuracy": "top5", "model__factory": "toys:wide"}
    with pytest.raises(ConfigError, match="has 5 outputs: every accuracy would be 100%"):
        load_checked(toy_config(**settings, model__arguments={"outputs": 5}))
    load_checked(toy_config(**settings, model__arguments={"outputs": 6}))


class Pairs(Dataset):
    """A Dataset of toys' images, whose examples may be changed."""

    def __init__(self, change=lambda index, x, y: (x, y)):
        self._inputs, self._labels = toys.blobs(60).train
        self._change = change

    def __len__(self):
        return 60

    def __getitem__(self, index):
        return self._change(index, self._inputs[index], int(self._labels[index]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index, x, y: (x, y + 4), r"test: the model has 4 outputs, but .* the label \d"),
        (lambda index, x, y: (x, -100), "test: a label must be .* got -100"),
        (lambda index, x, y: (x * torch.nan, y), "test: inputs must be finite, got nan"),
    ],
)
def test_the_first_example_of_each_dataset_is_checked(toy_config, monkeypatch, change, message):
    data = Pairs(), Pairs(change)
    monkeypatch.setattr("toys.blobs", lambda: data)
    with pytest.raises(DataError, match=message):
        load_checked(toy_config(data__validation=20))


@pytest.mark.parametrize("name", ["training", "validation", "test"])
def test_later_labels_are_checked_against_the_outputs_when_they_are_read(
    toy_config, monkeypatch, name
):
    def late(index, x, y):
        return x, 4 if index == 59 else y

    splits = {n: Pairs(late) if n == name else Pairs() for n in ("training", "validation", "test")}
    monkeypatch.setattr("toys.blobs", lambda: tuple(splits.values()))
    config = toy_config()
    bench = Workbench(config, load_checked(config))
    said = "train" if name == "training" else name
    for one in splits:
        if one != name:
            list(getattr(bench, one).in_order())
    with pytest.raises(DataError, match=f"{said}: the model has 4 outputs, but .* the label 4"):
        list(getattr(bench, name).in_order())
