"""The report of a sweep: one HTML file that needs no network, a picture, and the front as JSON."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hoyer_search import files, results
from hoyer_search.confirmation import confirmed_by_point
from hoyer_search.errors import StorageError
from hoyer_search.front import Front
from hoyer_search.importance import importances
from hoyer_search.store import SweepFolder
from hoyer_search.tracking import figures, panel, series, tables
from hoyer_search.tracking.cursor import Cursor
from hoyer_search.tracking.page import page
from hoyer_search.tracking.parallel import parallel_figure
from hoyer_search.tracking.snapshot import Snapshot
from hoyer_search.tracking.timeline import spans


def write_report(
    folder: SweepFolder, path: Path, *, png: Path | None = None, data: Path | None = None
) -> list[Path]:
    """Writes the report of a sweep, finished or not, with plotly.js inside (about 5 MB).

    It shows the front with its curves, floors and operating points; a chosen network with its
    layers and weights; hypervolume over trials and time; importance of parameters; parallel
    coordinates of parameters and outcomes; when trials ran; and every trial.

    Args:
        folder: The sweep.
        path: The HTML file to write; its folder is made if need be.
        png: Folder to write the figures into, as PNG.
        data: Folder to write ``front.parquet``, ``curves.parquet`` and ``trials.parquet`` into.

    Returns:
        Every file written.

    Raises:
        InputError: Pictures are wanted, and no trial has finished.
        StorageError: The sweep is damaged, or a file cannot be written.
    """
    for output in (path, *(into / "any" for into in (png, data) if into is not None)):
        files.check_output(output)
    sweep = Snapshot.of(folder)
    written: dict[Path, bytes] = {path: html(sweep, runs=_runs(folder)).encode()}
    if png is not None:
        from hoyer_search.tracking.pictures import pictures

        written |= {png / f"{name}.png": picture for name, picture in pictures(sweep)}
    if data is not None:
        from hoyer_search.tracking.data import parquet, sweep_tables

        tables_ = sweep_tables(sweep)
        written |= {data / f"{name}.parquet": parquet(one) for name, one in tables_.items()}
    for file, content in written.items():
        try:
            files.write_bytes(file, content)
        except OSError as error:
            raise StorageError(f"{file} cannot be written: {error}") from error
    return list(written)


def write_front_png(folder: SweepFolder, path: Path) -> None:
    """Writes a picture of a sweep's front.

    Raises:
        StorageError: The folder is damaged.
    """
    files.write_bytes(path, png(Snapshot.of(folder)))


def html(
    sweep: Snapshot, *, runs: Mapping[str, str] = MappingProxyType({}), uri: str | None = None
) -> str:
    """Returns the report as one page that needs no network.

    Args:
        sweep: The sweep.
        runs: MLflow's run id by the uid of a trial, of those that have one.
        uri: Tracking URI that the page is uploaded to, None for one that stays here.
    """
    front = sweep.front
    points = [point for result in sweep.results for point in result.points]
    shown = None
    drawn: dict[str, figures.Figure] = {}
    if front is not None and sweep.results:
        drawn = _figures(sweep, front)
        shown = panel.network(sweep, front, points, runs=runs, uri=uri) if points else None
    title = f"{sweep.folder.name} - hoyer-search"
    return page(title, _body(sweep, drawn, uri), figures=drawn, network=shown)


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
        "confirmed": confirmed_by_point(sweep.confirmations.values()),
        "operating_points": {name: point and point.name for name, point in best.items()},
        "front": [
            {"name": point.name, "compression": front.compression(point)} | results.to_json(point)
            for point in front.points
        ],
    }


def _runs(folder: SweepFolder) -> dict[str, str]:
    """Returns the run ids of the tracking server that was synced to last, none before that."""
    try:
        cursor = results.load(Cursor, folder.tracking / "cursor.json")
    except StorageError:
        return {}
    return {uid: run.record.run_id for uid, run in cursor.trials.items()}


def _figures(sweep: Snapshot, front: Front) -> dict[str, figures.Figure]:
    ended, times = sweep.results, spans(sweep.folder, sweep.results)
    points = [point for result in ended for point in result.points]
    drawn = {
        "front": figures.front_figure(ended, front, points),
        "progress": figures.progress_figure(ended, front, times),
    }
    shown = series.in_view(series.drawn(points, front), front)
    if len(shown) > 1:
        drawn["parallel"] = parallel_figure(shown, front, sweep.config)
    if times:
        drawn["timeline"] = figures.timeline_figure(ended, front, times)
    return drawn


def _body(sweep: Snapshot, drawn: Mapping[str, figures.Figure], uri: str | None) -> Iterator[str]:
    yield from tables.header(sweep)
    if sweep.front is not None:
        yield "<h2>Operating points</h2>"
        yield tables.operating_points(sweep, sweep.front, uri=uri)
    if sweep.confirmations:
        yield "<h2>Winners trained again</h2>"
        yield '<p class="soft">With other seeds, at their own thresholds: mean ± deviation (least '
        yield "to most). A winner is confirmed when the mean validation accuracy keeps its "
        yield "floor.</p>"
        yield tables.confirmations(sweep)
    if sweep.front is not None and drawn:
        yield from _drawn(sweep, sweep.front, drawn)
    yield "<h2>Trials</h2>"
    yield tables.trials(sweep)


def _drawn(sweep: Snapshot, front: Front, drawn: Mapping[str, figures.Figure]) -> Iterator[str]:
    yield '<h2>Pareto front</h2><div id="front" class="figure"></div>'
    if front.points:
        yield '<div class="card"><p class="chooser"><label>Network <select id="chosen"></select>'
        yield '</label> <span class="soft">or click one in the chart</span></p>'
        yield '<div id="network"></div></div>'
    yield '<h2>Progress</h2><p class="soft">Area that the front dominates above the loosest '
    yield "floor, in accuracy times doublings of compression.</p>"
    yield '<div id="progress" class="figure"></div>'
    yield "<h2>Importance of parameters</h2>"
    yield tables.importance(importances(sweep.results, front, sweep.config), sweep.config)
    if "parallel" in drawn:
        yield "<h2>Parameters and outcomes</h2>"
        low, _ = series.accuracy_range(front)
        yield f'<p class="soft">A line a finetuned network of {low:.1%} or more. Drag along an '
        yield "axis to select.</p>"
        yield '<div id="parallel" class="figure"></div>'
    if "timeline" in drawn:
        yield "<h2>Timeline</h2>"
        yield '<p class="soft">A bar a trial, from its first step to its last.</p>'
        yield '<div id="timeline" class="figure"></div>'
