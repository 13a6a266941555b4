"""Sweeps side by side as a page: fronts on one chart, tables, published results."""

from collections.abc import Iterator
from html import escape
from pathlib import Path

from hoyer_search import files
from hoyer_search.comparison import Comparison
from hoyer_search.errors import StorageError
from hoyer_search.front import Front
from hoyer_search.tracking import figures, series, tables
from hoyer_search.tracking.page import page
from hoyer_search.tracking.series import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION

_STYLES = (
    (VERMILLION, "square", "solid"),
    (BLUE, "circle", "dash"),
    (GREEN, "diamond", "dashdot"),
    (PURPLE, "triangle-up", "dot"),
    (ORANGE, "pentagon", "longdash"),
    (SKY, "star", "solid"),
)
"""Colour, marker and line of each sweep; more than six begin again."""


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Writes a comparison as one HTML file that needs no network (about 5 MB).

    Raises:
        StorageError: The file cannot be written.
    """
    files.check_output(path)
    title = " and ".join(comparison.fronts)
    content = page(title, _body(comparison), figures={"front": comparison_figure(comparison)})
    try:
        files.write_text(path, content)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error


def comparison_figure(comparison: Comparison) -> figures.Figure:
    """Returns the fronts on one chart, with published results where there are any."""
    data = list(_published(comparison))
    for place, (name, front) in enumerate(comparison.fronts.items()):
        data += _front(name, front, place)
    fronts, published = comparison.fronts.values(), comparison.published
    largest = max(
        2.0,
        *(front.compression(p) for front in fronts for p in series.in_view(front.points, front)),
        *(row.compression for row in published),
    )
    others = [point.val_accuracy for front in fronts for point in front.points[:1]]
    others += [comparison.accuracy(row) for row in published]
    layout = figures.front_layout(comparison.reference, largest, others=others)
    return {"data": data, "layout": layout}


def _front(name: str, front: Front, place: int) -> Iterator[figures.Figure]:
    colour, symbol, dash = _STYLES[place % len(_STYLES)]
    x, y = series.staircase(front)
    yield {
        "type": "scatter",
        "mode": "lines",
        "legendgroup": name,
        "showlegend": False,
        "x": x,
        "y": y,
        "line": {"color": colour, "width": 2, "dash": dash},
        "hoverinfo": "skip",
    }
    yield {
        "type": "scatter",
        "mode": "markers",
        "name": escape(name),
        "legendgroup": name,
        "x": [front.compression(point) for point in front.points],
        "y": [point.val_accuracy for point in front.points],
        "marker": {"color": colour, "size": 9, "symbol": symbol},
        "hovertext": [
            f"<b>{escape(name)}</b>, trial {p.trial}: {front.times(p)}<br>"
            f"{p.val_accuracy:.2%} validation, {p.test_accuracy:.2%} test<br>{p.structure}"
            for p in front.points
        ],
        "hoverinfo": "text",
    }


def _published(comparison: Comparison) -> Iterator[figures.Figure]:
    rows = comparison.published
    if not rows:
        return
    yield {
        "type": "scatter",
        "mode": "markers+text",
        "name": "published (test accuracy)",
        "x": [row.compression for row in rows],
        "y": [comparison.accuracy(row) for row in rows],
        "text": [row.method for row in rows],
        "textposition": ["top center" if k % 2 else "bottom center" for k in range(len(rows))],
        "textfont": {"size": 11},
        "marker": {"color": GREY, "size": 9, "symbol": "x"},
        "hovertext": [f"{row.method}, Table {row.table}: {row.compression:.1f}x" for row in rows],
        "hoverinfo": "text",
    }


def _body(comparison: Comparison) -> Iterator[str]:
    reference = next(iter(comparison.fronts))
    yield f"<h1>{' · '.join(map(escape, comparison.fronts))}</h1>"
    yield (
        f'<p class="soft">Floors, dense network and the reference of the hypervolume are those of '
        f"<b>{escape(reference)}</b>.</p>"
    )
    paper = [name for name, one in comparison.configs.items() if one.protocol == "paper"]
    if paper:
        names = ", ".join(map(escape, paper))
        yield f'<p class="best">Chosen by test accuracy (protocol: paper): {names}.</p>'
    yield '<h2>Fronts</h2><div id="front" class="figure"></div>'
    yield "<h2>Operating points</h2>"
    yield _points(comparison)
    yield "<h2>Hypervolume</h2>"
    yield _hypervolumes(comparison)
    if comparison.published:
        yield "<h2>Published</h2>"
        yield '<p class="soft">As the DeepHoyer paper prints them (ICLR 2020); accuracies are of '
        yield "the test set.</p>"
        yield _published_table(comparison)


def _points(comparison: Comparison) -> str:
    rows = []
    for name, floor in comparison.reference.floors.items():
        for sweep, front in comparison.fronts.items():
            point = front.operating_points[name]
            cells = [f"<b>{escape(name)}</b>", f"{floor:.2%}", escape(sweep)]
            if point is None:
                none = '<td class="soft left" colspan="6">no network keeps this floor</td>'
                rows.append(tables.row(cells, after=none))
                continue
            cells += [*tables.measured(front, point), escape(point.structure)]
            rows.append(tables.row(cells))
    head = ["Point", "Floor", "Sweep", "Compression", "Validation", "Test", "Nonzeros", "MACs"]
    return tables.table([*head, "Structure"], rows)


def _hypervolumes(comparison: Comparison) -> str:
    rows = [
        tables.row(
            [
                escape(name),
                f"{front.hypervolume:.4f}",
                f"{comparison.trials[name]}",
                f"{len(front.points)}",
            ]
        )
        for name, front in comparison.fronts.items()
    ]
    return tables.table(["Sweep", "Hypervolume", "Trials", "Networks on the front"], rows)


def _published_table(comparison: Comparison) -> str:
    head = ["Method", "Source", "Table", "Compression", "Test accuracy", "Left", "Structure"]
    rows = [
        tables.row([escape(cell) for cell in comparison.published_cells(row)])
        for row in comparison.published
    ]
    return tables.table(head, rows)
