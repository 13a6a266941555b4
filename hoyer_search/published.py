"""Results as published: Tables 1 to 6 of the DeepHoyer paper, in ``published.csv``.

Numbers are as printed. ``source`` is whose result a row is; all of them are quoted from the paper
(H. Yang, W. Wen, H. Li, ICLR 2020, https://arxiv.org/abs/1908.09979). Accuracies are of the test
set (ImageNet: validation set). Tables 1 and 2 give the accuracy in their captions. Table 3 gives
the increase of the top-5 error, from 20.4% (Appendix B.2); its percentages are of 60.9 million
weights. What Tables 4 to 6 call FLOPs are multiply-accumulates of weights.
"""

import csv
import importlib.resources
from dataclasses import dataclass
from typing import cast

from hoyer_search.config import SweepConfig
from hoyer_search.results import Sparsity


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedResult:
    """One pruned network of a paper's table.

    Attributes:
        table: Number of the table.
        model: Name of the built-in model.
        data: Name of the data set.
        measure: What was made small.
        method: How, by the table's name.
        source: Whose result it is.
        size: What is left, None where the table does not say.
        compression: How many times less than the dense network that is.
        top1: Accuracy in [0, 1], None where the table does not say.
        top5: The same among five guesses.
        structure: Widths that are left, None where the table does not say.
    """

    table: int
    model: str
    data: str
    measure: Sparsity
    method: str
    source: str
    size: int | None
    compression: float
    top1: float | None
    top5: float | None
    structure: str | None


def all_published() -> list[PublishedResult]:
    """Returns every row, in the order of the tables; rows of dense networks are left out."""
    file = importlib.resources.files(__package__) / "published.csv"
    return [_result(row) for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines())]


def published_for(config: SweepConfig) -> list[PublishedResult]:
    """Returns the rows that a sweep can be compared with; they have its kind of accuracy.

    Of ImageNet's rows the model decides alone: that data set has no built-in name.
    """
    measure, kind = config.objective.sparsity, config.objective.accuracy
    return [
        row
        for row in all_published()
        if (row.model, row.measure) == (config.model.factory, measure)
        and row.data in ("imagenet", config.data.source)
        and getattr(row, kind) is not None
    ]


def _result(row: dict[str, str]) -> PublishedResult:
    return PublishedResult(
        table=int(row["table"]),
        model=row["model"],
        data=row["data"],
        measure=cast(Sparsity, row["measure"]),
        method=row["method"],
        source=row["source"],
        size=int(row["size"]) if row["size"] else None,
        compression=_number(row["reduction"]) or float(row["dense"]) / float(row["size"]),
        top1=_number(row["top1"]),
        top5=_number(row["top5"]),
        structure=row["structure"] or None,
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
