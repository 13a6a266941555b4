"""Whether a data source still gives the examples that a sweep began with."""

import hashlib
import math
from dataclasses import fields

import numpy as np

from hoyer_search.datasets.splits import Examples, Source, Splits, count
from hoyer_search.errors import DataError
from hoyer_search.results import DataContents, SplitContents

TOLERANCE = 1e-3
"""By how much the inputs may differ, relative to their root mean square: machines round."""


def contents(data: Splits) -> DataContents:
    """Returns what tells the examples of a sweep's data from others."""
    return DataContents(train=_of(data.train), validation=_of(data.validation), test=_of(data.test))


def check_contents(before: DataContents, data: Splits, *, source: str) -> None:
    """Checks that a data source gives the examples it gave before.

    Args:
        before: What it gave.
        data: What it gives now.
        source: Its name, for the message.

    Raises:
        DataError: It gives others, in number, labels or inputs, or in another order.
    """
    now = contents(data)
    for field in fields(DataContents):
        difference = _difference(getattr(before, field.name), getattr(now, field.name))
        if difference:
            raise DataError(
                f"data source {source!r} gives other examples than those that the sweep began "
                f"with: {field.name} {difference}. Its trials would not be comparable, and what "
                "validated one could train the next. Give it the same data again, with every "
                "random choice seeded, or start a new sweep"
            )


def _of(source: Source) -> SplitContents:
    if not isinstance(source, Examples):
        return SplitContents(examples=count(source))
    inputs, labels = source.inputs, source.labels.astype("<i8", copy=False)
    flat = inputs.reshape(-1)
    squares = np.einsum("i,i->", flat, flat, dtype=np.float64)  # without a copy in float64
    return SplitContents(
        examples=len(source),
        labels=hashlib.sha256(labels.tobytes()).hexdigest(),
        mean=float(np.mean(inputs, dtype=np.float64)),
        rms=math.sqrt(squares / inputs.size),
    )


def _difference(before: SplitContents, now: SplitContents) -> str | None:
    if before.examples != now.examples:
        return f"had {before.examples:,} examples and has {now.examples:,}"
    if before.labels != now.labels:
        return "has other labels, or the same ones in another order"
    if before.mean is None or before.rms is None or now.mean is None or now.rms is None:
        return None
    allowed = TOLERANCE * before.rms
    if abs(before.mean - now.mean) > allowed or abs(before.rms - now.rms) > allowed:
        return (
            f"had inputs of mean {before.mean:.4g} and root mean square {before.rms:.4g}, and has "
            f"{now.mean:.4g} and {now.rms:.4g}"
        )
    return None
