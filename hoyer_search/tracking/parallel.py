"""Parallel coordinates as plotly.js takes them; an axis can be brushed."""

import math
from collections.abc import Sequence
from typing import Any

from hoyer_search.config import Range, SweepConfig
from hoyer_search.front import Front
from hoyer_search.results import Point
from hoyer_search.tracking import series
from hoyer_search.tracking.series import GREY

Figure = dict[str, Any]


def parallel_figure(points: Sequence[Point], front: Front, config: SweepConfig) -> Figure:
    """Returns parallel coordinates: a line a finetuned network, from parameters to outcomes."""
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
        "color": series.rounded(p.val_accuracy for p in points),
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
            "values": series.rounded(math.log10(v) for v in values),
            "tickvals": [math.log10(t) for t in ticks],
            "ticktext": [series.short(t) for t in ticks],
        } | _room([math.log10(v) for v in values])
    return {"label": name, "values": series.rounded(values)} | _room(list(values))


def _room(values: list[float]) -> Figure:
    low, high = min(values), max(values)
    pad = (high - low) * 0.02 or abs(high) * 0.05 or 1.0
    return {"range": [low - pad, high + pad]}
