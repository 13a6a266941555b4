"""The report of a sweep: one HTML file that needs no network, a picture, and the front as JSON."""

import importlib.resources
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from hoyer_search import files, results
from hoyer_search.store import SweepFolder
from hoyer_search.tracking import figures, tables
from hoyer_search.tracking.snapshot import Snapshot


def write_report(folder: SweepFolder, path: Path) -> None:
    """Writes the report of a sweep, finished or not, with plotly.js inside (about 5 MB).

    It shows the front with its curves, floors and operating points, the hypervolume over trials,
    parallel coordinates of parameters and outcomes, and every trial.

    Raises:
        StorageError: The folder is damaged.
    """
    files.write_text(path, html(Snapshot.of(folder)))


def write_front_png(folder: SweepFolder, path: Path) -> None:
    """Writes a picture of a sweep's front.

    Raises:
        StorageError: The folder is damaged.
    """
    files.write_bytes(path, png(Snapshot.of(folder)))


def html(sweep: Snapshot) -> str:
    """Returns the report as one page that needs no network."""
    from plotly.offline import get_plotlyjs  # type: ignore[attr-defined]

    drawn = _figures(sweep)
    template = importlib.resources.files(__package__) / "report.html"
    return Template(template.read_text(encoding="utf-8")).substitute(
        title=escape(f"{sweep.folder.name} - hoyer-search"),
        body="\n".join(_body(sweep, drawn)),
        plotly=get_plotlyjs() if drawn else "",  # type: ignore[no-untyped-call]
        # no text of a figure can end the script element
        figures=json.dumps(drawn, allow_nan=False).replace("<", "\\u003c"),
    )


def png(sweep: Snapshot) -> bytes:
    """Returns a picture of the front."""
    from hoyer_search.tracking.picture import front_png

    title = sweep.config.description or sweep.folder.name
    return front_png(sweep.results, sweep.front, title=title)


def front_json(sweep: Snapshot) -> dict[str, Any]:
    """Returns dense network, floors, front and the operating points' names as plain data."""
    front = sweep.front
    if front is None:
        return {"sweep": sweep.folder.name, "dense": None, "front": []}
    best = front.operating_points
    return {
        "sweep": sweep.folder.name,
        "dense": results.to_json(front.dense),
        "sparsity": front.sparsity,
        "floors": front.floors,
        "hypervolume": front.hypervolume,
        "operating_points": {name: point and point.name for name, point in best.items()},
        "front": [
            {"name": point.name, "compression": front.compression(point)} | results.to_json(point)
            for point in front.points
        ],
    }


def _figures(sweep: Snapshot) -> dict[str, figures.Figure]:
    front, ended = sweep.front, sweep.results
    if front is None or not ended:
        return {}
    drawn = {
        "front": figures.front_figure(ended, front),
        "hypervolume": figures.hypervolume_figure(ended, front),
    }
    if sum(len(result.points) for result in ended) > 1:
        drawn["parallel"] = figures.parallel_figure(ended, front, sweep.config)
    return drawn


def _body(sweep: Snapshot, drawn: dict[str, figures.Figure]) -> Iterator[str]:
    yield from tables.header(sweep)
    if sweep.front is not None:
        yield "<h2>Operating points</h2>"
        yield tables.operating_points(sweep, sweep.front)
    if sweep.confirmations:
        yield "<h2>Winners trained again</h2>"
        yield '<p class="soft">With other seeds, at their own thresholds: mean ± deviation (least '
        yield "to most). A winner is confirmed when the mean validation accuracy keeps its "
        yield "floor.</p>"
        yield tables.confirmations(sweep)
    if "front" in drawn:
        yield '<h2>Pareto front</h2><div id="front"></div>'
        yield '<h2>Progress</h2><p class="soft">Area that the front dominates above the loosest '
        yield 'floor, in accuracy times doublings of compression.</p><div id="hypervolume"></div>'
    if "parallel" in drawn:
        yield "<h2>Parameters and outcomes</h2>"
        yield '<p class="soft">A line a finetuned network. Drag along an axis to select.</p>'
        yield '<div id="parallel"></div>'
    yield "<h2>Trials</h2>"
    yield tables.trials(sweep)
