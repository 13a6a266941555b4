"""The report's figures as PNG files, for notes and papers."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hoyer_search import histograms
from hoyer_search.errors import InputError
from hoyer_search.front import Front
from hoyer_search.importance import importances
from hoyer_search.results import Point
from hoyer_search.tracking import figures, names, series
from hoyer_search.tracking.parallel import parallel_figure
from hoyer_search.tracking.picture import canvas, front_png, plain, to_png
from hoyer_search.tracking.series import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION
from hoyer_search.tracking.snapshot import Snapshot
from hoyer_search.tracking.timeline import spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LAYERS = 60
"""Most layers of a picture of histograms: those with the most weights."""


def pictures(sweep: Snapshot) -> Iterator[tuple[str, bytes]]:
    """Yields the pictures of a sweep with finished trials, by name.

    ``front``, ``progress``, ``importance`` (where it can be told), ``parallel``, ``timeline``, and
    ``weights-POINT`` for each operating point, as Figures 3 and 4 of the paper.
    """
    front, ended, config = sweep.front, sweep.results, sweep.config
    if front is None or not front.points:
        raise InputError(f"sweep {sweep.folder.name} has no finished trial yet")
    points = series.in_view((point for result in ended for point in result.points), front)
    times = spans(sweep.folder, ended)
    yield "front", front_png(ended, front, title=config.description or sweep.folder.name)
    yield "progress", _progress(figures.progress_figure(ended, front, times))
    found = importances(ended, front, config)
    if found:
        yield "importance", _importance(found)
    if points:
        yield "parallel", _parallel(parallel_figure(points, front, config))
    if times:
        yield "timeline", _timeline(figures.timeline_figure(ended, front, times))
    for name, point in front.operating_points.items():
        picture = _weights(sweep, front, point, title=name) if point is not None else None
        if picture is not None:
            yield f"weights-{names.alias(name)}", picture


def _progress(figure: figures.Figure) -> bytes:
    drawing = canvas(9, 3.4)
    axes = drawing.subplots(1, 2, sharey=True)
    layout = figure["layout"]
    for one, trace, axis in zip(axes, figure["data"], ("xaxis", "xaxis2"), strict=True):
        one.step(trace["x"], trace["y"], where="post", color=VERMILLION)
        one.set_xlabel(layout[axis]["title"]["text"])
        one.set_ylim(bottom=0)
    axes[0].set_ylabel(layout["yaxis"]["title"]["text"])
    return to_png(drawing)


def _importance(found: Mapping[str, Mapping[str, float]]) -> bytes:
    parameters = list(next(iter(found.values())))
    drawing = canvas(8, 1 + 0.25 * len(parameters) * len(found))
    axes = drawing.subplots()
    height = 0.8 / len(found)
    colours = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, GREY)
    for place, (name, shares) in enumerate(found.items()):
        at = [row + place * height for row in range(len(parameters))]
        colour = colours[place % len(colours)]
        axes.barh(at, [shares[p] for p in parameters], height, color=colour, label=plain(name))
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(parameters))], parameters)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share in what tells the best trials from the rest")
    axes.legend(title="point", frameon=False)
    return to_png(drawing)


def _parallel(figure: figures.Figure) -> bytes:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap

    (trace,) = figure["data"]
    dimensions, line = trace["dimensions"], trace["line"]
    drawing = canvas(1.8 * len(dimensions) + 1, 4)
    axes = drawing.subplots()
    scaled = [[_scale(v, one["range"]) for v in one["values"]] for one in dimensions]
    paths = [list(enumerate(places)) for places in zip(*scaled, strict=True)]
    colours = LinearSegmentedColormap.from_list("accuracy", line["colorscale"])
    lines = LineCollection(paths, cmap=colours, array=line["color"], linewidths=0.8, alpha=0.7)
    axes.add_collection(lines)
    for place, one in enumerate(dimensions):
        axes.axvline(place, color=GREY, linewidth=0.8)
        for value, text in _ticks(one):
            at = (place, _scale(value, one["range"]))
            axes.annotate(text, at, (-4, 0), textcoords="offset points", ha="right", fontsize=7)
    axes.set_xticks(range(len(dimensions)), [one["label"] for one in dimensions])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_xlim(-0.5, len(dimensions) - 0.9)
    axes.set_ylim(-0.02, 1.02)
    drawing.colorbar(lines, format=lambda value, _: f"{value:.1%}", label="accuracy")
    return to_png(drawing)


def _ticks(dimension: Mapping[str, Any]) -> list[tuple[float, str]]:
    if "tickvals" in dimension:
        return list(zip(dimension["tickvals"], dimension["ticktext"], strict=True))
    low, high = min(dimension["values"]), max(dimension["values"])
    percent = "%" in dimension.get("tickformat", "")
    return [(v, f"{v:.2%}" if percent else f"{v:.3g}") for v in (low, (low + high) / 2, high)]


def _scale(value: float, limits: tuple[float, float]) -> float:
    return (value - limits[0]) / (limits[1] - limits[0])


def _timeline(figure: figures.Figure) -> bytes:
    from matplotlib.ticker import MaxNLocator

    rows = max(max(trace["y"]) for trace in figure["data"])
    drawing = canvas(9, min(1.6 + 0.3 * rows, 6))
    axes = drawing.subplots()
    for trace in figure["data"]:
        colour = trace["marker"]["color"]
        axes.barh(
            trace["y"], trace["x"], 0.75, left=trace["base"], color=colour, label=trace["name"]
        )
    axes.invert_yaxis()
    axes.set_xlabel(figure["layout"]["xaxis"]["title"]["text"])
    axes.set_ylabel(figure["layout"]["yaxis"]["title"]["text"])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.25), ncols=4, frameon=False)
    return to_png(drawing)


def _weights(sweep: Snapshot, front: Front, point: Point, *, title: str) -> bytes | None:
    """Returns histograms of nonzero weights: a row a layer, a column a stage."""
    found = histograms.load(sweep.folder.trial(point.uid))
    if found is None:
        return None
    stages = {
        "dense": found.dense,
        "regularized": found.regularized,
        f"finetuned ({front.times(point)})": found.points[point.index],
    }
    largest = sorted(point.layers, key=lambda layer: -layer.weights)[:MAX_LAYERS]
    shown = [layer.name for layer in point.layers if layer in largest]
    drawing = canvas(8, 0.8 + 1.2 * len(shown))
    grid = drawing.subplots(len(shown), 3, squeeze=False)
    for row, layer in zip(grid, shown, strict=True):
        for axes, (stage, layers) in zip(row, stages.items(), strict=True):
            _histogram(axes, layers[layer])
            if layer == shown[0]:
                axes.set_title(stage, fontsize=9)
        row[0].set_ylabel(layer, fontsize=8)
    drawing.suptitle(plain(f"{title}: nonzero weights by layer"), fontsize=10)
    return to_png(drawing)


def _histogram(axes: "Axes", histogram: histograms.Histogram) -> None:
    width = 2 * histogram.limit / len(histogram.counts)
    left = [-histogram.limit + width * k for k in range(len(histogram.counts))]
    axes.bar(left, histogram.counts, width, align="edge", color=BLUE)
    axes.set_yscale("symlog", linthresh=1)
    axes.tick_params(labelsize=6)
