"""A sweep in words and tables."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.table import Table

from hoyer_search import spaces
from hoyer_search.cli.terminal import format_value, out, say
from hoyer_search.client import DEFAULT_STORAGE
from hoyer_search.comparison import Comparison
from hoyer_search.confirmation import confirmations, confirmed_by_point, verdict
from hoyer_search.display import confirmations_table, points_table
from hoyer_search.ending import all_failed, more_budget, stop_text
from hoyer_search.front import Front
from hoyer_search.results import Point
from hoyer_search.store import SweepFolder, storage_argument


def print_sweep(name: str, storage: Path) -> None:
    """Prints a sweep's state, its front and operating points, and what there is to know of them."""
    folder = SweepFolder.open(storage, name)
    front, ended = folder.front(), folder.results()
    failed = [r for r in ended if r.state == "failed"]
    config, state = folder.config(), folder.state()
    specs = folder.specs()
    trials = max(spaces.num_trials(config), len(specs))
    head = f"sweep {name}: {state}, {len(ended)} of {trials} trials ended"
    stopped = sum(r.state == "stopped" for r in ended)
    if stopped:
        head += f", {stopped} of them early"
    if config.protocol == "paper":
        head += ", selected on the TEST set (protocol: paper)"
    say(head)
    if front is not None:
        dense = front.dense
        say(
            f"dense:  {dense.structure}, {dense.nonzeros:,} weights, {dense.macs:,} MACs, "
            f"val {dense.val_accuracy:.2%}, test {dense.test_accuracy:.2%}"
        )
        if front.points:
            found = confirmations(front, folder.retrainings(), wanted=config.confirm)
            parents = {r.uid: r.parent for r in ended if r.parent}
            out.print(_front_table(front, parents, confirmed_by_point(found.values())))
            out.print(points_table(front))
            if found:
                out.print(confirmations_table(found))
    lost = {spec.uid: spec.parent for spec in specs if spec.parent is not None}
    for result in ended:
        if result.state == "complete" and result.uid in lost and result.parent is None:
            say(
                f"trial {result.number} started from the dense network: the regularized network "
                f"of trial {lost[result.uid]} was gone"
            )
    earlier = folder.earlier()
    if earlier is not None:
        known = f"{len(earlier.trials)} trials of sweep {earlier.sweep}"
        say(f"knew:    {known}; {earlier.left_out} more were outside of the search ranges")
    finished = folder.finished()
    if finished is not None:
        say(f"stopped: {stop_text(config, finished, folder.usage())}")
        more = more_budget(config, finished, folder.usage())
        if more is not None and not all_failed(ended):
            command = command_line("resume", f"{name} --set {more}", folder.path.parent)
            say(f"go on:   {command}")
    elif state == "interrupted":
        say(f"go on:   {command_line('resume', name, storage)}")
    for result in failed:
        reason = (result.error or "no reason is known").strip().splitlines()[-1]
        say(f"trial {result.number} failed: {reason}")


def _front_table(
    front: Front, parents: Mapping[str, str], confirmed: Mapping[str, bool | None]
) -> Table:
    """Returns the front as a table.

    Args:
        front: The front.
        parents: By uid, the trial that a trial started from.
        confirmed: By name, whether a winner was confirmed by retrainings.
    """
    table = Table(title="Pareto front", title_justify="left", box=None, pad_edge=False)
    for column in ("val", "test", "nonzeros", "MACs", "smaller", "trial"):
        table.add_column(column, justify="right")
    for column in ("structure", *(["confirmed"] if confirmed else []), "parameters"):
        table.add_column(column)
    for p in front.points:
        params = ", ".join(f"{k}={format_value(k, v)}" for k, v in p.params.items())
        table.add_row(
            f"{p.val_accuracy:.2%}",
            f"{p.test_accuracy:.2%}",
            f"{p.nonzeros:,}",
            f"{p.macs:,}",
            front.times(p),
            f"{p.trial} from {parents[p.uid]}" if p.uid in parents else str(p.trial),
            p.structure,
            *([verdict(confirmed[p.name]) if p.name in confirmed else ""] if confirmed else []),
            params,
        )
    return table


def command_line(verb: str, arguments: str, storage: Path) -> str:
    """Returns a command to copy, with its storage unless that is the default."""
    default = storage.absolute() == Path(DEFAULT_STORAGE).absolute()
    where = "" if default else f" {storage_argument(storage)}"
    return f"hoyer-search {verb} {arguments}".strip() + where


def comparison_tables(comparison: Comparison) -> Iterator[Table]:
    """Yields a comparison's operating points, hypervolumes and published results as tables."""
    points = Table(title="operating points", title_justify="left", box=None, pad_edge=False)
    for column in ("point", "floor", "sweep"):
        points.add_column(column)
    for column in ("val", "test", "nonzeros", "MACs", "smaller"):
        points.add_column(column, justify="right")
    points.add_column("structure")
    for name, floor in comparison.reference.floors.items():
        for sweep, front in comparison.fronts.items():
            best = front.operating_points[name]
            cells = ["-"] * 5 + ["no trial keeps it"] if best is None else _measured(front, best)
            points.add_row(name, f"{floor:.2%}", _marked(comparison, sweep), *cells)
    yield points
    areas = Table(title="hypervolume", title_justify="left", box=None, pad_edge=False)
    areas.add_column("sweep")
    for column in ("hypervolume", "trials", "front"):
        areas.add_column(column, justify="right")
    for sweep, front in comparison.fronts.items():
        counts = (comparison.trials[sweep], len(front.points))
        areas.add_row(sweep, f"{front.hypervolume:.4f}", *map(str, counts))
    yield areas
    if comparison.published:
        rows = Table(title="published", title_justify="left", box=None, pad_edge=False)
        for column in ("method", "source", "table", "smaller", "test", "left", "structure"):
            rows.add_column(column, justify="right" if column in _NUMBERS else "left")
        for row in comparison.published:
            rows.add_row(*comparison.published_cells(row))
        yield rows


_NUMBERS = ("smaller", "test", "left")


def _marked(comparison: Comparison, sweep: str) -> str:
    paper = comparison.configs[sweep].protocol == "paper"
    return f"{sweep} (selected on the TEST set)" if paper else sweep


def _measured(front: Front, point: Point) -> list[str]:
    return [
        f"{point.val_accuracy:.2%}",
        f"{point.test_accuracy:.2%}",
        f"{point.nonzeros:,}",
        f"{point.macs:,}",
        front.times(point),
        point.structure,
    ]
