"""Recorded trainings: their curves at milestones, what finetuning reached, and their cost."""

import io
import json
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, TypeAdapter, ValidationError

from hoyer_search import files
from hoyer_search.config import SweepConfig
from hoyer_search.errors import DataError
from hoyer_search.results import CurvePoint, Dense, Value, to_json

VERSION = 1

Checked = TypeVar("Checked")
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """The raw curve of a training that is under way, or done.

    Attributes:
        epoch: Epochs of regularizing done.
        curve: Accuracy against sparsity over a dense grid of rising thresholds.
        wall_seconds: What evaluating the curve took.
    """

    epoch: int
    curve: Annotated[list[CurvePoint], Field(min_length=1)]
    wall_seconds: Finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """One threshold of a finished training, pruned and finetuned.

    Accuracies are in [0, 1], as in ``results.Point``.
    """

    threshold: Finite
    nonzeros: int
    macs: int
    raw_val_accuracy: Finite
    val_accuracy: Finite
    test_accuracy: Finite
    wall_seconds: Finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training with the regularizer, from the dense network of the recording.

    Attributes:
        number: Its place in the design, from 0.
        params: Searched parameters by name.
        milestones: Curves by rising epoch; the last is of the finished network.
        finetuned: Finetuned thresholds, rising.
        wall_seconds: Seconds of regularizing alone.
    """

    number: int
    params: dict[str, Value]
    milestones: Annotated[list[Milestone], Field(min_length=1)]
    finetuned: Annotated[list[Finetuned], Field(min_length=1)]
    wall_seconds: Finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Trainings of one search space, all from one dense network.

    Attributes:
        config: The search space, with the epochs and the seed they were trained with.
        dense: The dense network.
        trainings: By number.
    """

    config: SweepConfig
    dense: Dense
    trainings: list[Training]


def save_recording(path: Path, recording: Recording) -> None:
    """Writes a recording as one Parquet file, a row for each training, atomically."""
    head = {
        "version": VERSION,
        "config": recording.config.model_dump(mode="json"),
        "dense": to_json(recording.dense),
    }
    table = pa.Table.from_pylist([to_json(training) for training in recording.trainings])
    buffer = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({"hoyer_search": json.dumps(head)}),
        buffer,
        compression="zstd",
    )
    files.write_bytes(path, buffer.getvalue())


def load_recording(path: Path) -> Recording:
    """Reads a recording and checks every field.

    Raises:
        DataError: The file is missing, is no Parquet, or does not hold a recording; the first
            field that is wrong is named.
    """
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        table = pq.read_table(path)
        metadata = table.schema.metadata or {}
        if b"hoyer_search" not in metadata:
            raise ValueError("its metadata has no hoyer_search")
        head = _checked(TypeAdapter(dict[str, Any]), json.loads(metadata[b"hoyer_search"]), "head")
        if head.get("version") != VERSION:
            raise ValueError(f"its version is {head.get('version')}, this code reads {VERSION}")
        return Recording(
            config=_checked(TypeAdapter(SweepConfig), head.get("config"), "config"),
            dense=_checked(TypeAdapter(Dense), head.get("dense"), "dense"),
            trainings=_checked(TypeAdapter(list[Training]), table.to_pylist(), "row"),
        )
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"{path} does not hold a recording ({error}): make one with benchmarks/record.py"
        ) from error


def _checked(adapter: TypeAdapter[Checked], value: Any, part: str) -> Checked:
    """Returns a part of a recording; a ValueError tells the first thing that is wrong with it."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, (part, *first["loc"])))
        raise ValueError(f"{place}: {first['msg']}, got {reprlib.repr(first['input'])}") from None
