"""The report of a sweep: one HTML file that needs no network, a picture, and the front as JSON."""

import importlib.resources
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template

from hoyer_search import files, results
from hoyer_search.front import Front
from hoyer_search.store import SweepFolder
from hoyer_search.tracking import figures, tables


def write_report(folder: SweepFolder, path: Path, *, state: str | None = None) -> None:
    """Writes the report of a sweep, finished or not, with plotly.js inside (about 5 MB).

    It shows the front with its curves, floors and operating points, the hypervolume over trials,
    parallel coordinates of parameters and outcomes, and every trial.

    Args:
        folder: The sweep's folder.
        path: The HTML file.
        state: The sweep's state, asked of the folder by default.

    Raises:
        StorageError: The folder is damaged.
    """
    from plotly.offline import get_plotlyjs  # type: ignore[attr-defined]

    config, front, ended = folder.config(), folder.front(), folder.results()
    drawn: dict[str, figures.Figure] = {}
    if front is not None and ended:
        drawn["front"] = figures.front_figure(ended, front)
        drawn["hypervolume"] = figures.hypervolume_figure(ended, front)
    if front is not None and sum(len(result.points) for result in ended) > 1:
        drawn["parallel"] = figures.parallel_figure(ended, front, config)
    body = "\n".join(_body(folder, state or folder.state(), front, drawn))
    template = importlib.resources.files(__package__) / "report.html"
    page = Template(template.read_text(encoding="utf-8")).substitute(
        title=escape(f"{folder.name} - hoyer-search"),
        body=body,
        plotly=get_plotlyjs() if drawn else "",  # type: ignore[no-untyped-call]
        # no text of a figure can end the script element
        figures=json.dumps(drawn, allow_nan=False).replace("<", "\\u003c"),
    )
    files.write_text(path, page)


def write_front_png(folder: SweepFolder, path: Path) -> None:
    """Writes a picture of a sweep's front.

    Raises:
        StorageError: The folder is damaged.
    """
    from hoyer_search.tracking.picture import front_png

    config = folder.config()
    title = config.description or folder.name
    files.write_bytes(path, front_png(folder.results(), folder.front(), title=title))


def write_front_json(folder: SweepFolder, path: Path) -> None:
    """Writes the front as JSON: dense network, floors, points, and the operating points' names.

    Raises:
        StorageError: The folder is damaged.
    """
    front = folder.front()
    best = front.operating_points if front else {}
    files.write_json(
        path,
        {
            "sweep": folder.name,
            "dense": results.to_json(front.dense) if front else None,
            "sparsity": front.sparsity if front else None,
            "floors": front.floors if front else {},
            "hypervolume": front.hypervolume if front else 0.0,
            "operating_points": {n: p.name if p else None for n, p in best.items()},
            "front": [
                {"name": point.name, "compression": front.compression(point)}
                | results.to_json(point)
                for point in front.points
            ]
            if front
            else [],
        },
    )


def _body(
    folder: SweepFolder, state: str, front: Front | None, drawn: dict[str, figures.Figure]
) -> Iterator[str]:
    ended = folder.results()
    yield from tables.header(folder, state, front)
    if front is not None:
        yield "<h2>Operating points</h2>"
        yield tables.operating_points(folder, front)
    if "front" in drawn:
        yield '<h2>Pareto front</h2><div id="front"></div>'
        yield '<h2>Progress</h2><p class="soft">Area that the front dominates above the loosest '
        yield 'floor, in accuracy times doublings of compression.</p><div id="hypervolume"></div>'
    if "parallel" in drawn:
        yield "<h2>Parameters and outcomes</h2>"
        yield '<p class="soft">A line a finetuned network. Drag along an axis to select.</p>'
        yield '<div id="parallel"></div>'
    yield "<h2>Trials</h2>"
    yield tables.trials(folder, ended, front)
