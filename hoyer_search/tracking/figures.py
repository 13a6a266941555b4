"""The report's figures as plotly.js takes them: plain data and layout, no Python plotly."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from hoyer_search.config import Range, SweepConfig
from hoyer_search.front import Front
from hoyer_search.results import Point, TrialResult
from hoyer_search.tracking import series
from hoyer_search.tracking.series import GREEN, GREY, SKY, VERMILLION

Figure = dict[str, Any]


def front_figure(results: Sequence[TrialResult], front: Front) -> Figure:
    """Returns accuracy against compression: curves, points, front, floors, the dense network."""
    low, high = series.accuracy_range(front)
    data = [_curves(results, front), _dominated(results, front), *_front(front), _dense(front)]
    shapes = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": floor,
            "y1": floor,
            "line": {"dash": "dot", "width": 1, "color": GREY},
        }
        for floor in front.floors.values()
    ]
    notes = [
        {
            "xref": "paper",
            "x": 0.08,
            "xanchor": "left",
            "y": floor,
            "yanchor": "top",
            "showarrow": False,
            "text": f"floor {name} {floor:.2%}",
            "font": {"size": 11},
        }
        for name, floor in front.floors.items()
    ]
    largest = series.largest_compression(results, front)
    layout = {
        "xaxis": {
            "title": {"text": f"times fewer {series.UNITS[front.sparsity]} than dense"},
            "type": "log",
            "tickvals": series.ticks(largest),
            "ticktext": [f"{tick:g}x" for tick in series.ticks(largest)],
            "range": [-0.06, math.log10(largest) + 0.1],
        },
        "yaxis": {
            "title": {"text": "validation accuracy"},
            "tickformat": ".1%",
            "range": [low, high],
        },
        "shapes": shapes,
        "annotations": notes,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        "height": 520,
    }
    return {"data": data, "layout": layout}


def _curves(results: Sequence[TrialResult], front: Front) -> Figure:
    x: list[float | None] = []
    y: list[float | None] = []
    for _, compression, accuracy in series.curves(results, front):
        x += [*compression, None]  # None lifts the pen
        y += [*accuracy, None]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "curve of a trial, before finetuning",
        "x": x,
        "y": y,
        "line": {"color": GREY, "width": 1},
        "opacity": 0.35,
        "hoverinfo": "skip",
    }


def _dominated(results: Sequence[TrialResult], front: Front) -> Figure:
    members = {point.name for point in front.points}
    points = [p for r in results for p in r.points if p.name not in members]
    marker = {"color": SKY, "size": 7, "opacity": 0.8}
    return _markers("finetuned network", points, front) | {"marker": marker}


def _front(front: Front) -> Iterator[Figure]:
    x, y = series.staircase(front)
    yield {
        "type": "scatter",
        "mode": "lines",
        "showlegend": False,
        "x": x,
        "y": y,
        "line": {"color": VERMILLION, "width": 2},
        "hoverinfo": "skip",
    }
    labels = series.labels(front)
    yield _markers("Pareto front", front.points, front) | {
        "mode": "markers+text",
        "marker": {"color": VERMILLION, "size": 10, "symbol": "square"},
        "text": [labels.get(point.name, "") for point in front.points],
        "textposition": "top right",
        "textfont": {"size": 14},
    }


def _markers(name: str, points: Sequence[Point], front: Front) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [front.compression(point) for point in points],
        "y": [point.val_accuracy for point in points],
        "hovertext": [_hover(point, front) for point in points],
        "hoverinfo": "text",
    }


def _hover(point: Point, front: Front) -> str:
    params = ", ".join(f"{k} {series.short(v)}" for k, v in point.params.items())
    return "<br>".join(
        [
            f"<b>trial {point.trial}</b>: {front.compression(point):.1f}x",
            f"{point.val_accuracy:.2%} validation, {point.test_accuracy:.2%} test",
            f"{point.nonzeros:,} nonzeros, {point.macs:,} MACs",
            f"structure {point.structure}",
            f"{params}, threshold {series.short(point.threshold)}",
        ]
    )


def _dense(front: Front) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "dense network",
        "x": [1.0],
        "y": [front.dense.val_accuracy],
        "marker": {"color": GREEN, "size": 13, "symbol": "diamond"},
        "hovertext": [f"dense: {front.dense.val_accuracy:.2%}, {front.dense.nonzeros:,} weights"],
        "hoverinfo": "text",
    }


def hypervolume_figure(results: Sequence[TrialResult], front: Front) -> Figure:
    """Returns the hypervolume of the front after each trial that ended."""
    numbers, areas = series.hypervolumes(results, front)
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": numbers,
                "y": areas,
                "line": {"shape": "hv", "color": VERMILLION, "width": 2},
                "marker": {"size": 6},
                "hovertemplate": "after %{x} trials: %{y:.4f}<extra></extra>",
            }
        ],
        "layout": {
            "xaxis": {"title": {"text": "trials ended"}, "rangemode": "tozero"},
            "yaxis": {"title": {"text": "hypervolume"}, "rangemode": "tozero"},
            "showlegend": False,
            "height": 340,
        },
    }


def parallel_figure(results: Sequence[TrialResult], front: Front, config: SweepConfig) -> Figure:
    """Returns parallel coordinates: a line a finetuned network, from parameters to outcomes."""
    points = [point for result in results for point in result.points]
    dimensions = [
        _dimension(name, [p.params.get(name) for p in points], log=_is_log(config, name))
        for name in config.search.dimensions
        if name != "threshold"
    ]
    dimensions += [
        _dimension("threshold", [p.threshold for p in points], log=False),
        _dimension("compression", [front.compression(p) for p in points], log=True),
        _dimension("accuracy", [p.val_accuracy for p in points], log=False) | _percent(),
        _dimension("test accuracy", [p.test_accuracy for p in points], log=False) | _percent(),
    ]
    line = {
        "color": [p.val_accuracy for p in points],
        # from blue over grey to orange: told apart by everybody, on white and on black
        "colorscale": [[0, "#0072b2"], [0.5, GREY], [1, "#e69f00"]],
        "showscale": True,
        "colorbar": {"title": {"text": "accuracy"}, "tickformat": ".1%", "thickness": 12},
    }
    layout = {"height": 420, "margin": {"l": 70, "r": 30, "t": 60, "b": 30}}
    return {"data": [{"type": "parcoords", "dimensions": dimensions, "line": line}]} | {
        "layout": layout
    }


def _percent() -> Figure:
    return {"tickformat": ".2%"}


def _is_log(config: SweepConfig, name: str) -> bool:
    dimension = config.search.dimensions[name]
    return isinstance(dimension, Range) and dimension.log


def _dimension(name: str, values: Sequence[Any], *, log: bool) -> Figure:
    """Returns one axis; categories become places, and a constant gets a little room."""
    numeric = all(isinstance(v, float | int) and not isinstance(v, bool) for v in values)
    if not numeric:
        places = sorted({str(v) for v in values})
        return {
            "label": name,
            "values": [places.index(str(v)) for v in values],
            "tickvals": list(range(len(places))),
            "ticktext": places,
            "range": [-0.2, len(places) - 0.8],
        }
    if log and min(values) > 0:
        ticks = series.decades(min(values), max(values))
        return {
            "label": name,
            "values": [math.log10(v) for v in values],
            "tickvals": [math.log10(t) for t in ticks],
            "ticktext": [series.short(t) for t in ticks],
        } | _room([math.log10(v) for v in values])
    return {"label": name, "values": list(values)} | _room(list(values))


def _room(values: list[float]) -> Figure:
    low, high = min(values), max(values)
    pad = (high - low) * 0.02 or abs(high) * 0.05 or 1.0
    return {"range": [low - pad, high + pad]}
