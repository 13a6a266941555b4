"""A sweep as three tables for other programs; ``docs/report.md`` describes their columns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hoyer_search.config import Choices, SweepConfig
from hoyer_search.confirmation import confirmed_by_point
from hoyer_search.front import Front
from hoyer_search.results import Point, TrialResult, parent
from hoyer_search.tracking.snapshot import Snapshot
from hoyer_search.tracking.timeline import Span, spans

if TYPE_CHECKING:
    import pyarrow

Row = dict[str, Any]

_FRONT = {
    "name": "string",
    "trial": "int64",
    "uid": "string",
    "operating_points": "list<string>",
    "compression": "double",
    "threshold": "double",
    "raw_val_accuracy": "double",
    "val_accuracy": "double",
    "test_accuracy": "double",
    "nonzeros": "int64",
    "macs": "int64",
    "physical_macs": "int64",
    "parameters": "int64",
    "structure": "string",
    "latency_ms": "double",
    "dense_latency_ms": "double",
    "confirmed": "bool",
}
_CURVES = {
    "trial": "int64",
    "uid": "string",
    "threshold": "double",
    "val_accuracy": "double",
    "nonzeros": "int64",
    "macs": "int64",
}
_TRIALS = {
    "trial": "int64",
    "uid": "string",
    "state": "string",
    "parent": "string",
    "points": "int64",
    "points_on_front": "int64",
    "start": "timestamp",
    "end": "timestamp",
    "wall_seconds": "double",
    "error": "string",
}


def sweep_tables(sweep: Snapshot) -> "dict[str, pyarrow.Table]":
    """Returns the tables ``front``, ``curves`` and ``trials``, the front by falling accuracy."""
    config, front = sweep.config, sweep.front
    times = {span.uid: span for span in spans(sweep.folder, sweep.results)}
    ended = {result.uid: result for result in sweep.results}
    members = [point.uid for point in front.points] if front else []
    confirmed = confirmed_by_point(sweep.confirmations.values())
    trials = []
    for spec in sweep.specs:
        result = ended.get(spec.uid)
        row = _trial(result, times.get(spec.uid))
        row |= {"trial": spec.number, "uid": spec.uid, "parent": parent(spec, result)}
        row |= {"points_on_front": members.count(spec.uid), **_params(spec.params)}
        trials.append(row)
    return {
        "front": _table(_front(front, confirmed) if front else [], _FRONT, config),
        "curves": _table(_curves(sweep.results), _CURVES),
        "trials": _table(trials, _TRIALS, config),
    }


def parquet(table: "pyarrow.Table") -> bytes:
    """Returns a table as the content of a Parquet file."""
    import pyarrow.parquet

    buffer = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, buffer)
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def _front(front: Front, confirmed: Mapping[str, bool | None]) -> Iterator[Row]:
    named: dict[str, list[str]] = {}
    for name, point in front.operating_points.items():
        if point is not None:
            named.setdefault(point.name, []).append(name)
    for point in front.points:
        yield _point(point) | {
            "compression": front.compression(point),
            "operating_points": named.get(point.name, []),
            "confirmed": confirmed.get(point.name),
        }


def _point(point: Point) -> Row:
    row = {name: getattr(point, name) for name in _FRONT if hasattr(point, name)}
    latency = point.latency_ms
    return (
        row
        | {"latency_ms": latency["shrunk"], "dense_latency_ms": latency["dense"]}
        | _params(point.params)
    )


def _curves(results: Sequence[TrialResult]) -> Iterator[Row]:
    for result in results:
        for point in result.curve:
            row = {name: getattr(point, name) for name in _CURVES if hasattr(point, name)}
            yield row | {"trial": result.number, "uid": result.uid}


def _trial(result: TrialResult | None, span: Span | None) -> Row:
    return {
        "state": result.state if result else "not ended",
        "points": len(result.points) if result else 0,
        "wall_seconds": sum(result.wall_seconds.values()) if result else None,
        "error": result.error if result else None,
        "start": round(1000 * span.start) if span else None,
        "end": round(1000 * span.end) if span else None,
    }


def _params(params: Mapping[str, Any]) -> Row:
    return {f"params.{name}": value for name, value in params.items()}


def _table(
    rows: Any, columns: Mapping[str, str], config: SweepConfig | None = None
) -> "pyarrow.Table":
    """Returns rows as a table with these columns and one for each searched parameter."""
    import pyarrow

    types = {
        "string": pyarrow.string(),
        "int64": pyarrow.int64(),
        "double": pyarrow.float64(),
        "bool": pyarrow.bool_(),
        "timestamp": pyarrow.timestamp("ms", tz="UTC"),
        "list<string>": pyarrow.list_(pyarrow.string()),
    }
    fields = {name: types[kind] for name, kind in columns.items()}
    for name, dimension in config.search.dimensions.items() if config else ():
        numbers = not isinstance(dimension, Choices) or all(
            isinstance(v, int | float) and not isinstance(v, bool) for v in dimension.choices
        )
        fields[f"params.{name}"] = types["double" if numbers else "string"]
    given = list(rows)
    return pyarrow.table(
        {
            name: pyarrow.array([_cell(row.get(name), kind) for row in given], kind)
            for name, kind in fields.items()
        }
    )


def _cell(value: Any, kind: Any) -> Any:
    """Returns a value as its column takes it: choices of several types become text."""
    if value is not None and str(kind) == "string":
        return str(value)
    return value
