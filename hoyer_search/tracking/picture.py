"""The front as a PNG, for a README or a note."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hoyer_search.front import Front
from hoyer_search.results import TrialResult
from hoyer_search.tracking import series
from hoyer_search.tracking.series import GREEN, GREY, SKY, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def front_png(results: Sequence[TrialResult], front: Front | None, *, title: str) -> bytes:
    """Returns a picture of the front, or one that says that there is none yet."""
    figure = canvas(8, 4.5)
    axes = figure.subplots()
    axes.set_title(plain(title))
    axes.spines[["top", "right"]].set_visible(False)
    if front is None:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no network yet", ha="center", va="center")
    else:
        _draw(axes, results, front)
    return to_png(figure)


def canvas(width: float, height: float) -> "Figure":
    """Returns an empty figure of a size in inches; no window and no global state has part in it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain(text: str) -> str:
    """Returns a user's text so that matplotlib takes no dollars in it for formulas."""
    return text.replace("$", r"\$")


def to_png(figure: "Figure") -> bytes:
    """Returns a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw(axes: "Axes", results: Sequence[TrialResult], front: Front) -> None:
    from matplotlib.collections import LineCollection

    curves = [list(zip(x, y, strict=True)) for _, x, y in series.curves(results, front)]
    faint = series.opacity(len(curves))
    axes.add_collection(LineCollection(curves, colors=GREY, alpha=faint, linewidths=0.8))
    for name, floor in front.floors.items():
        axes.axhline(floor, color=GREY, linestyle=":", linewidth=1)
        axes.annotate(
            plain(f"floor {name} {floor:.2%}"),
            (0.08, floor),
            xycoords=("axes fraction", "data"),
            va="top",
            fontsize=8,
            color=GREY,
        )
    points = [point for result in results for point in result.points]
    x, y = [front.compression(p) for p in points], [p.val_accuracy for p in points]
    axes.scatter(x, y, s=18, color=SKY, label="finetuned network")
    axes.plot(*series.staircase(front), color=VERMILLION, linewidth=1.8)
    axes.scatter(
        [front.compression(p) for p in front.points],
        [p.val_accuracy for p in front.points],
        s=40,
        marker="s",
        color=VERMILLION,
        zorder=3,
        label="Pareto front",
    )
    axes.scatter([1], [front.dense.val_accuracy], s=60, marker="D", color=GREEN, label="dense")
    labels = series.labels(front)
    for point in front.points:
        if point.name in labels:
            at = (front.compression(point), point.val_accuracy)
            label = plain(labels[point.name])
            axes.annotate(label, at, (6, 6), textcoords="offset points", weight="bold")
    largest = series.largest_compression(results, front)
    axes.set_xscale("log")
    axes.set_xlim(0.9, largest * 1.25)
    axes.set_xticks(series.ticks(largest), [f"{tick:g}x" for tick in series.ticks(largest)])
    axes.minorticks_off()
    axes.set_ylim(*series.accuracy_range(front))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
    axes.set_xlabel(f"times fewer {series.UNITS[front.sparsity]} than dense")
    axes.set_ylabel("validation accuracy")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=3, frameon=False, fontsize=9)
