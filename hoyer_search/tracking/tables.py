"""The report's header and tables as HTML."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from hoyer_search.config import SweepConfig
from hoyer_search.confirmation import spread_text, verdict
from hoyer_search.front import Front
from hoyer_search.importance import MIN_TRIALS
from hoyer_search.results import Point, TrialResult
from hoyer_search.store import SweepFolder
from hoyer_search.tracking import names, runs
from hoyer_search.tracking.series import short
from hoyer_search.tracking.snapshot import Snapshot


def header(sweep: Snapshot) -> Iterator[str]:
    """Yields the title, and one line each on the sweep and on the dense network."""
    config = sweep.config
    failed = f", {sweep.num_failed} failed" if sweep.num_failed else ""
    yield f"<h1>{escape(sweep.folder.name)}</h1>"
    yield (
        f'<p class="soft">{escape(config.description)}</p>'
        f"<p>{sweep.state.capitalize()}: {len(sweep.results)} of {sweep.num_trials} trials "
        f"ended{failed}. Model <b>{escape(config.model.factory)}</b> on "
        f"<b>{escape(config.data.source)}</b>, regularizer {config.regularizer.name}, "
        f"{config.pruning.granularity} pruning.</p>"
    )
    if config.protocol == "paper":
        yield '<p class="best">Chosen by test accuracy, as in the paper (protocol: paper).</p>'
    if sweep.front is None:
        yield "<p>The dense network is not trained yet.</p>"
        return
    dense = sweep.front.dense
    yield (
        f"<p>Dense network {escape(dense.structure)}: {dense.val_accuracy:.2%} on validation, "
        f"{dense.test_accuracy:.2%} on test, {dense.nonzeros:,} weights, {dense.macs:,} MACs, "
        f"{dense.latency_ms:.3g} ms.</p>"
    )


def operating_points(sweep: Snapshot, front: Front, *, uri: str | None = None) -> str:
    """Returns the table of the best network of each operating point, and how to fetch them.

    Args:
        sweep: The sweep.
        front: Its front.
        uri: Tracking URI of the page that shows it, None for one that stays here.
    """
    searched = [name for name in sweep.config.search.dimensions if name != "threshold"]
    head = ["Point", "Floor", "Compression", "Validation", "Test", "Nonzeros", "MACs", "Latency"]
    rows = []
    for name, point in front.operating_points.items():
        cells = [f"<b>{escape(name)}</b>", f"{front.floors[name]:.2%}"]
        if point is None:
            note = '<td class="soft left" colspan="20">no network keeps this floor yet</td>'
            rows.append(row(cells, after=note))
            continue
        cells += [
            *measured(front, point),
            f"{point.latency_ms['shrunk']:.3g} ms",
            escape(point.structure),
            short(point.threshold),
            *(escape(short(point.params[p])) if p in point.params else "" for p in searched),
        ]
        rows.append(row(cells))
    columns = [*head, "Structure", "Threshold", *searched]
    return table(columns, rows) + _commands(sweep.folder, front, uri)


def measured(front: Front, point: Point) -> list[str]:
    """Returns the cells of a network's compression, accuracies, nonzeros and MACs."""
    return [
        f'<span class="best">{front.times(point)}</span>',
        f"{point.val_accuracy:.2%}",
        f"{point.test_accuracy:.2%}",
        f"{point.nonzeros:,}",
        f"{point.macs:,}",
    ]


def confirmations(sweep: Snapshot) -> str:
    """Returns the table of how the winners did when they were trained again."""
    rows = []
    for name, one in sweep.confirmations.items():
        cells = [f"<b>{escape(name)}</b>", f"{one.floor:.2%}", verdict(one.confirmed)]
        cells += [
            escape(spread_text(spread, percent=measure.endswith("accuracy")))
            for measure, spread in one.spreads.items()
        ] or [""] * 4
        cells.append(f"{len(one.points)} of {one.wanted}, {one.failed} failed")
        rows.append(row(cells))
    head = ["Point", "Floor", "Confirmed", "Validation", "Test", "Nonzeros", "MACs", "Ended"]
    return table(head, rows)


def _commands(folder: SweepFolder, front: Front, uri: str | None) -> str:
    kept = [name for name, point in front.operating_points.items() if point is not None]
    commands = {name: names.pull_command(folder, name, uri=uri) for name in kept}
    lines = (
        f"<li><b>{escape(name)}</b> <code>{escape(command)}</code></li>"
        for name, command in commands.items()
    )
    return f"<p>Fetch a network:</p><ul>{''.join(lines)}</ul>" if kept else ""


def trials(sweep: Snapshot) -> str:
    """Returns the table of all trials, and the tracebacks of those that failed."""
    if not sweep.specs:
        return '<p class="soft">No trial has started yet.</p>'
    front = sweep.front
    done = {result.uid: result for result in sweep.results}
    members = {point.name for point in front.points} if front else set()
    searched = list(sweep.config.search.dimensions)
    rows = []
    for spec in sweep.specs:
        result = done.get(spec.uid)
        points = result.points if result else []
        best = runs.shown_point(points, front) if front else None
        count = sum(point.name in members for point in points)
        cells = [f"#{spec.number:03d}", result.state if result else "not ended"]
        cells += [escape(short(spec.params[p])) if p in spec.params else "" for p in searched]
        if best is not None and front is not None:
            cells += [front.times(best), f"{best.val_accuracy:.2%}"]
            cells += [f"{best.test_accuracy:.2%}", f"{best.nonzeros:,}", f"{best.macs:,}"]
        else:
            cells += [""] * 5
        seconds = sum(result.wall_seconds.values()) if result else 0.0
        cells += [f'<span class="best">{count}</span>' if count else "0", f"{seconds / 60:.1f}"]
        rows.append(row(cells))
    head = ["Trial", "State", *searched, "Compression", "Validation", "Test", "Nonzeros", "MACs"]
    shown = table([*head, "On the front", "Minutes"], rows, tall=True)
    return shown + "".join(_failures(sweep.results))


def importance(found: Mapping[str, Mapping[str, float]], config: SweepConfig) -> str:
    """Returns the table of each parameter's share in what makes trials good, by operating point.

    Args:
        found: Shares by operating point and parameter.
        config: The sweep's configuration.
    """
    if len(config.search.dimensions) < 2:
        return '<p class="soft">It takes two searched parameters to compare them.</p>'
    if not found:
        text = f"It takes {MIN_TRIALS} trials, and a few that are better than the rest."
        return f'<p class="soft">{text}</p>'
    rows = [
        row([escape(name)], after="".join(_share(shares[name]) for shares in found.values()))
        for name in config.search.dimensions
    ]
    about = "Share of each in what tells the best trials from the rest (PED-ANOVA), by point."
    return f'<p class="soft">{about}</p>' + table(["Parameter", *found], rows)


def _share(share: float) -> str:
    return f'<td class="share" style="--share:{share:.1%}">{share:.0%}</td>'


def _failures(ended: Sequence[TrialResult]) -> Iterator[str]:
    for result in ended:
        if result.error:
            last = result.error.strip().splitlines()[-1]
            yield (
                f"<details><summary>Trial {result.number} failed: {escape(last)}</summary>"
                f"<pre>{escape(result.error)}</pre></details>"
            )


def row(cells: Sequence[str], *, after: str = "") -> str:
    """Returns a row of a table from HTML cells, with further ones given whole."""
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + after + "</tr>"


def table(head: Sequence[str], rows: Sequence[str], *, tall: bool = False) -> str:
    """Returns a table; a tall one scrolls by itself."""
    heads = "".join(f"<th>{escape(name)}</th>" for name in head)
    return (
        f'<div class="scroll{" tall" if tall else ""}"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
