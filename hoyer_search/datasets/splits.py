"""Training, validation and test examples, in memory or behind a Dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from hoyer_search.errors import DataError, HoyerSearchError


@dataclass(frozen=True, slots=True)
class Data:
    """What a data function returns.

    ``train``, ``validation`` and ``test`` are each a pair of inputs and labels (tensors or
    arrays, first axis the examples), a TensorDataset, or any map-style Dataset of
    ``(input tensor, label)``. Pairs are kept in memory and batched by index, which is several
    times faster than a Dataset behind a DataLoader; a Dataset is read anew each epoch, so that
    random augmentation works.

    Attributes:
        train: Examples to train with.
        test: Examples to report with.
        validation: Examples to choose by; None sets some of ``train`` aside.
        classes: Names of the classes in the order of the labels; None numbers them.
        mean: What was subtracted from each channel, recorded in artefacts.
        std: What each channel was divided by, recorded in artefacts.
    """

    train: Any
    test: Any
    validation: Any = None
    classes: Sequence[str] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Examples:
    """Inputs and labels in memory, as numpy arrays so that processes of a node share them.

    Attributes:
        inputs: Shape (n, *input), float32.
        labels: Shape (n,), int64.
    """

    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


Source = Examples | Dataset[Any]


@dataclass(frozen=True, slots=True)
class Splits:
    """A data set, split and ready to train with.

    Attributes:
        train: Examples to train with.
        validation: Examples every choice is made by.
        test: Examples reported once, never used to choose.
        input_shape: Shape of one input.
        classes: Names of the classes.
        mean: What was subtracted from each channel, None when unknown.
        std: What each channel was divided by, None when unknown.
        outputs: Outputs of the network, above every label; None when unknown.
    """

    train: Source
    validation: Source
    test: Source
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    outputs: int | None = None


def count(source: Source) -> int:
    """Returns the number of examples."""
    return len(source)  # type: ignore[arg-type]  # a map-style Dataset has a length


def to_source(examples: Any, *, name: str) -> Source:
    """Returns examples of a data function in the form that training reads.

    Raises:
        DataError: They are empty, of unequal length, not finite, or of no supported type; or a
            label is no whole number from 0.
    """
    if isinstance(examples, TensorDataset):
        examples = examples.tensors
    if isinstance(examples, tuple | list) and len(examples) == 2:
        return _in_memory(examples[0], examples[1], name)
    if isinstance(examples, IterableDataset):
        raise DataError(
            f"{name}: an IterableDataset has no examples by number, which splits and orders are "
            f"drawn from; got {type(examples).__name__}. Give a map-style Dataset, with "
            "__getitem__ and __len__, or read it into a pair (inputs, labels)"
        )
    if not isinstance(examples, Dataset) or not hasattr(examples, "__len__"):
        raise DataError(
            f"{name}: give a pair (inputs, labels) or a map-style Dataset with a length, "
            f"got {type(examples).__name__}"
        )
    if count(examples) == 0:
        raise DataError(f"{name}: holds no examples")
    return examples


def split(source: Source, *, validation: int, seed: int) -> tuple[Source, Source]:
    """Returns training and validation examples, drawn at random by the seed alone.

    Raises:
        DataError: Fewer than ``validation`` + 1 examples are there.
    """
    total = count(source)
    if validation >= total:
        raise DataError(
            f"data.validation sets {validation:,} examples aside, but only {total:,} are there; "
            "set it lower"
        )
    order = np.random.default_rng(seed).permutation(total)
    kept, aside = np.sort(order[validation:]), np.sort(order[:validation])
    if isinstance(source, Examples):
        return (
            Examples(source.inputs[kept], source.labels[kept]),
            Examples(source.inputs[aside], source.labels[aside]),
        )
    return Subset(source, kept.tolist()), Subset(source, aside.tolist())


def first_input(source: Source, *, name: str) -> torch.Tensor:
    """Returns the first example's input.

    Raises:
        DataError: A Dataset raises, or does not give pairs of a floating-point tensor and a label.
    """
    if isinstance(source, Examples):
        return torch.tensor(source.inputs[0])
    try:
        example = source[0]
    except HoyerSearchError:
        raise
    except Exception as error:
        raise DataError(
            f"{name}: the Dataset raised {type(error).__name__} on its first example: {error}. "
            "Mend its __getitem__"
        ) from error
    parts = example if isinstance(example, tuple | list) else ()
    if len(parts) != 2 or not isinstance(parts[0], torch.Tensor):
        kinds = ", ".join(type(part).__name__ for part in parts)
        got = f"({kinds})" if parts else type(example).__name__
        raise DataError(
            f"{name}: a Dataset must give (input tensor, label) pairs, e.g. with torchvision's "
            f"ToTensor; its first example is {got}"
        )
    first: torch.Tensor = parts[0]
    if not first.is_floating_point():
        raise DataError(
            f"{name}: a Dataset must give inputs of floating-point numbers, as pixels or features "
            f"are; got {first.dtype}. Convert them; tokens for an embedding are not supported"
        )
    return first


def _in_memory(inputs: Any, labels: Any, name: str) -> Examples:
    try:
        x, given = np.asarray(inputs, dtype=np.float32), np.asarray(labels)
        y = given.astype(np.int64)
    except (TypeError, ValueError, RuntimeError) as error:  # text, ragged lists, other devices
        raise DataError(
            f"{name}: inputs and labels must be arrays of numbers, or tensors on the CPU: {error}"
        ) from error
    if len(x) == 0:
        raise DataError(f"{name}: holds no examples")
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
        raise DataError(
            f"{name}: inputs (n, ...) and labels (n,) are needed, got {x.shape} and {y.shape}"
        )
    if not np.isfinite(x).all():
        raise DataError(f"{name}: inputs hold NaN or infinite values; clean them first")
    wrong = (y != given) | (y < 0)
    if wrong.any():
        raise DataError(
            f"{name}: a label must be the number of its class, from 0; got {given[wrong][0]}"
        )
    return Examples(np.ascontiguousarray(x), np.ascontiguousarray(y))
