"""Batches on the trial's device: by index from memory, or through a DataLoader."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from hoyer_search import files
from hoyer_search.datasets.splits import Examples, Source, count
from hoyer_search.errors import DataError, HoyerSearchError
from hoyer_search.trial.randomness import seeded

Batch = tuple[Tensor, Tensor]
EVALUATION_BATCH = 1000


class Batches(ABC):
    """The examples of one split, as batches on one device.

    Attributes:
        num_examples: How many examples an epoch has.
    """

    num_examples: int

    @abstractmethod
    def shuffled(self, batch_size: int, *, seed: int) -> Iterator[Batch]:
        """Yields every example once, in an order that the seed alone decides."""

    @abstractmethod
    def in_order(self) -> Iterator[Batch]:
        """Yields every example once, in large batches, for evaluation."""


class TensorBatches(Batches):
    """Batches gathered by index from tensors that stay on the device."""

    def __init__(self, examples: Examples, device: torch.device) -> None:
        self.num_examples = len(examples)
        with warnings.catch_warnings():
            # Arrays from the object store are shared between processes and read-only; so is
            # every use of them here.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self._inputs = torch.from_numpy(examples.inputs).to(device)
            self._labels = torch.from_numpy(examples.labels).to(device)

    @override
    def shuffled(self, batch_size: int, *, seed: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.num_examples, generator=generator).to(self._labels.device)
        for index in torch.split(order, batch_size):
            yield self._inputs.index_select(0, index), self._labels.index_select(0, index)

    @override
    def in_order(self) -> Iterator[Batch]:
        return zip(
            torch.split(self._inputs, EVALUATION_BATCH),
            torch.split(self._labels, EVALUATION_BATCH),
            strict=True,
        )


class LoaderBatches(Batches):
    """Batches of a user's Dataset, read anew each time so that augmentation works.

    Each is checked when it is read, on the CPU: a batch that cannot be used raises a DataError.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        device: torch.device,
        *,
        workers: int,
        name: str,
        outputs: int | None,
    ) -> None:
        self.num_examples = count(dataset)
        self._dataset, self._device, self._workers = dataset, device, workers
        self._name, self._outputs = name, outputs

    @override
    def shuffled(self, batch_size: int, *, seed: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(seed)
        return self._batches(batch_size, shuffle=True, generator=generator)

    @override
    def in_order(self) -> Iterator[Batch]:
        # A split may be read through random augmentation: then alike each time.
        with seeded(0):
            yield from self._batches(min(EVALUATION_BATCH, 250), shuffle=False, generator=None)

    def _batches(
        self, size: int, *, shuffle: bool, generator: torch.Generator | None
    ) -> Iterator[Batch]:
        on_gpu = self._device.type == "cuda"
        loader: DataLoader[Any] = DataLoader(
            self._dataset,
            batch_size=size,
            shuffle=shuffle,
            generator=generator,
            num_workers=self._workers,
            pin_memory=on_gpu,
        )
        for inputs, labels in self._checked(loader):
            yield (
                inputs.to(self._device, non_blocking=on_gpu),
                labels.to(self._device, non_blocking=on_gpu),
            )

    def _checked(self, loader: DataLoader[Any]) -> Iterator[Batch]:
        """Yields batches as they are read, their labels int64."""
        try:
            for inputs, labels in loader:
                _check_inputs(inputs, self._name)
                yield inputs, _check_labels(labels, self._name, self._outputs)
        except Exception as error:
            if isinstance(error, HoyerSearchError) or files.out_of_space(error):
                raise
            raise DataError(
                f"{self._name}: reading a batch of the Dataset raised {type(error).__name__}: "
                f"{error}. Mend its __getitem__, which must give (input tensor, label) pairs with "
                "inputs of one shape"
            ) from error


def _check_inputs(inputs: Tensor, name: str) -> None:
    if not inputs.is_floating_point():
        return
    # One pass without a copy: isfinite takes fifteen times as long.
    for end in torch.aminmax(inputs):
        if not math.isfinite(end):
            raise DataError(
                f"{name}: inputs must be finite, got {float(end)} from the Dataset; clean them "
                "first, and see whether its transforms divide by zero"
            )


def _check_labels(labels: Any, name: str, outputs: int | None) -> Tensor:
    """Returns a batch's labels as int64."""
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point():
        got = f"{labels!s:.60}"
        if isinstance(labels, Tensor):
            got = f"{labels.dtype} of shape {tuple(labels.shape[1:])}"
        raise DataError(
            f"{name}: a Dataset must give the number of an example's class as its label, one whole "
            f"number from 0; got {got}. Number the classes"
        )
    numbers = labels.long()
    low, high = (int(end) for end in torch.aminmax(numbers))
    if low < 0:
        raise DataError(
            f"{name}: a label must be the number of its class, from 0; got {low}. Leave examples "
            "without a class out of the Dataset"
        )
    _check_highest(high, name, outputs)
    return numbers


def _check_highest(label: int, name: str, outputs: int | None) -> None:
    if outputs is not None and label >= outputs:
        raise DataError(
            f"{name}: the model has {outputs} outputs, but an example has the label {label}: "
            "labels start from 0, and the model needs an output for each"
        )


def make_batches(
    source: Source,
    device: torch.device,
    *,
    cpus: float,
    name: str = "data",
    outputs: int | None = None,
) -> Batches:
    """Returns the batches of a split on a device.

    Args:
        source: The split.
        device: Where batches are wanted.
        cpus: Cores there are; those beyond the first read a Dataset.
        name: The split's name, for messages about a Dataset.
        outputs: Outputs of the network, of which each label must be one; None when unknown.

    Raises:
        DataError: A label of examples in memory is none of the outputs. Those of a Dataset are
            checked as they are read.
    """
    if isinstance(source, Examples):
        _check_highest(int(source.labels.max()), name, outputs)
        return TensorBatches(source, device)
    workers = max(0, int(cpus) - 1)
    return LoaderBatches(source, device, workers=workers, name=name, outputs=outputs)
