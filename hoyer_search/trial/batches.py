"""Batches on the trial's device: by index from memory, or through a DataLoader."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from hoyer_search.datasets.splits import Examples, Source, count
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
    """Batches of a user's Dataset, read anew each time so that augmentation works."""

    def __init__(self, dataset: Dataset[Any], device: torch.device, *, workers: int) -> None:
        self.num_examples = count(dataset)
        self._dataset, self._device, self._workers = dataset, device, workers

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
        for inputs, labels in loader:
            yield (
                inputs.to(self._device, non_blocking=on_gpu),
                labels.to(self._device, non_blocking=on_gpu),
            )


def make_batches(source: Source, device: torch.device, *, cpus: float) -> Batches:
    """Returns the batches of a split on a device; ``cpus`` beyond the first read a Dataset."""
    if isinstance(source, Examples):
        return TensorBatches(source, device)
    return LoaderBatches(source, device, workers=max(0, int(cpus) - 1))
