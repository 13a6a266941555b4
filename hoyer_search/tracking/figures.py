"""The report's figures as plotly.js takes them: plain data and layout, no Python plotly.

``page.js`` adds what depends on the reader's colour scheme, and the texts of hovering.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hoyer_search.front import Front
from hoyer_search.results import Point, TrialResult
from hoyer_search.tracking import series
from hoyer_search.tracking.series import BLUE, GREEN, GREY, SKY, VERMILLION
from hoyer_search.tracking.timeline import Span, lanes

Figure = dict[str, Any]

MANY = 500
"""Of the curves of more trials every second threshold is drawn: the file stays small."""


def front_figure(results: Sequence[TrialResult], front: Front, points: Sequence[Point]) -> Figure:
    """Returns accuracy against compression: curves, points, front, floors, the dense network.

    Args:
        results: The trials that ended, for their curves.
        front: The front.
        points: Every finetuned network; markers carry their places in it. Of thousands off the
            front some are drawn, spread evenly over the trials.
    """
    members = {point.name for point in front.points}
    places = {point.name: place for place, point in enumerate(points)}
    rest = [point for point in series.drawn(points, front) if point.name not in members]
    data = [
        _curves(results, front),
        _markers("finetuned network", rest, front, places)
        | {"marker": {"color": SKY, "size": 7, "opacity": 0.8}},
        _staircase(front),
        *_front(front, places),
        _dense(front),
    ]
    largest = series.largest_compression(results, front)
    return {"data": data, "layout": front_layout(front, largest)}


def front_layout(front: Front, largest: float, *, others: Iterable[float] = ()) -> Figure:
    """Returns the layout of accuracy against compression, with the floors.

    Args:
        front: The front.
        largest: The largest compression to show.
        others: Accuracies to show besides the front's.
    """
    low, high = series.accuracy_range(front, others)
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
    return {
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


def _curves(results: Sequence[TrialResult], front: Front) -> Figure:
    x: list[float | None] = []
    y: list[float | None] = []
    step = 1 if len(results) <= MANY else 2
    for _, compression, accuracy in series.curves(results, front, step=step):
        x += [*series.rounded(compression), None]  # None lifts the pen
        y += [*series.rounded(accuracy), None]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "curve of a trial, before finetuning",
        "x": x,
        "y": y,
        "line": {"color": GREY, "width": 1},
        "opacity": series.opacity(len(results)),
        "hoverinfo": "skip",
    }


def _staircase(front: Front) -> Figure:
    x, y = series.staircase(front)
    return {
        "type": "scatter",
        "mode": "lines",
        "showlegend": False,
        "x": x,
        "y": y,
        "line": {"color": VERMILLION, "width": 2},
        "hoverinfo": "skip",
    }


def _front(front: Front, places: Mapping[str, int]) -> Iterator[Figure]:
    labels = series.labels(front)
    yield _markers("Pareto front", front.points, front, places) | {
        "mode": "markers+text",
        "marker": {"color": VERMILLION, "size": 10, "symbol": "square"},
        "text": [labels.get(point.name, "") for point in front.points],
        "textposition": "top right",
        "textfont": {"size": 14},
    }


def _markers(name: str, points: Sequence[Point], front: Front, places: Mapping[str, int]) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": series.rounded(front.compression(point) for point in points),
        "y": [point.val_accuracy for point in points],
        "customdata": [places[point.name] for point in points],
        "hoverinfo": "text",
    }


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


def progress_figure(results: Sequence[TrialResult], front: Front, spans: Sequence[Span]) -> Figure:
    """Returns the hypervolume of the front over the trials that ended and over wall time.

    Args:
        results: The trials that ended, by number.
        front: The front.
        spans: When they ran; one without a span has no place in time.
    """
    ends = {span.uid: span.end for span in spans}
    timed = sorted((r for r in results if r.uid in ends), key=lambda result: ends[result.uid])
    ordered = [*timed, *(r for r in results if r.uid not in ends)]
    areas = series.hypervolumes(ordered, front)
    start = min((span.start for span in spans), default=0.0)
    hours = [0.0, *((ends[result.uid] - start) / 3600 for result in timed)]
    line = {
        "type": "scatter",
        "mode": "lines+markers" if len(areas) < 100 else "lines",
        "line": {"shape": "hv", "color": VERMILLION, "width": 2},
        "marker": {"size": 6},
    }
    over_trials = {
        "x": list(range(len(areas))),
        "y": areas,
        "hovertemplate": "after %{x} trials: %{y:.4f}<extra></extra>",
    }
    over_hours = {
        "x": series.rounded(hours),
        "y": areas[: len(hours)],
        "xaxis": "x2",
        "hovertemplate": "after %{x:.3~g} h: %{y:.4f}<extra></extra>",
    }
    return {
        "data": [line | over_trials, line | over_hours],
        "layout": {
            "xaxis": {
                "title": {"text": "trials ended"},
                "rangemode": "tozero",
                "domain": [0, 0.48],
            },
            "xaxis2": {
                "title": {"text": "hours since the first trial began"},
                "rangemode": "tozero",
                "domain": [0.54, 1],
            },
            "yaxis": {"title": {"text": "hypervolume"}, "rangemode": "tozero"},
            "showlegend": False,
            "height": 340,
        },
    }


def timeline_figure(results: Sequence[TrialResult], front: Front, spans: Sequence[Span]) -> Figure:
    """Returns when each trial ran, a bar each, in as few rows as trials ran at once."""
    by_uid = {result.uid: result for result in results}
    members = {point.uid for point in front.points}
    rows, start = lanes(spans), min((span.start for span in spans), default=0.0)
    kinds: dict[str, list[tuple[int, Span]]] = {kind: [] for kind in TRIAL_COLOURS}
    for row, span in zip(rows, spans, strict=True):
        kinds[trial_kind(by_uid[span.uid], members)].append((row, span))
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": kind,
            "y": [row + 1 for row, _ in shown],
            "base": series.rounded((span.start - start) / 3600 for _, span in shown),
            "x": series.rounded((span.end - span.start) / 3600 for _, span in shown),
            "hovertext": [_hover(by_uid[span.uid], span) for _, span in shown],
            "hoverinfo": "text",
            "marker": {"color": TRIAL_COLOURS[kind], "line": {"width": 0}},
        }
        for kind, shown in kinds.items()
        if shown
    ]
    num_rows = max(rows, default=0) + 1
    return {
        "data": data,
        "layout": {
            "barmode": "overlay",
            "bargap": 0.25,
            "xaxis": {"title": {"text": "hours since the first trial began"}},
            "yaxis": {
                "title": {"text": "trials at once"},
                "autorange": "reversed",
                "dtick": 1 if num_rows <= 20 else None,
            },
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
            "showlegend": True,
            "height": 140 + min(36 * num_rows, 420),
        },
    }


TRIAL_COLOURS = {
    "on the front": VERMILLION,
    "complete": SKY,
    "stopped early": GREY,
    "failed": BLUE,
}
"""Colour of each kind of trial, in the order of legends."""


def trial_kind(result: TrialResult, members: Iterable[str]) -> str:
    """Returns the kind of a trial that ended; ``members`` are the uids of those on the front."""
    if result.uid in members:
        return "on the front"
    return {"failed": "failed", "stopped": "stopped early"}.get(result.state, "complete")


def _hover(result: TrialResult, span: Span) -> str:
    return f"trial {result.number}: {(span.end - span.start) / 60:.1f} minutes, {result.state}"
