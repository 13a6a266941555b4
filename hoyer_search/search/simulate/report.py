"""What ``hoyer-search simulate`` prints: a comparison as JSON-ready data, and as tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from hoyer_search.search.simulate.comparison import Comparison, mann_whitney, summary
from hoyer_search.search.simulate.plot import save_plot


def compare(
    path: Path,
    *,
    methods: Sequence[str],
    trials: int,
    workers: int,
    seeds: int,
    plot: Path | None = None,
) -> dict[str, Any]:
    """Simulates sweeps of some methods over a recording and returns how they compare.

    Args:
        path: The recording.
        methods: Samplers by name, with ``-joint`` at the end to search the threshold as one more
            parameter. The first is tested against each other one.
        trials: Trials of each sweep.
        workers: Trials that run at once.
        seeds: Sweeps of each method.
        plot: PNG to write, or None.

    Returns:
        ``methods`` by name as ``summary`` gives them, and ``p`` by other method.

    Raises:
        InputError: The recording cannot be read, or a method is unknown; nothing was simulated.
    """
    comparison = Comparison.open(path, trials=trials, workers=workers, seeds=seeds)
    names = list(dict.fromkeys(methods))
    for name in names:
        comparison.check(name)
    runs = [comparison.run(name) for name in names]
    first, *others = runs
    if plot is not None:
        title = f"{path.stem}: {trials} trials, {workers} workers, {seeds} seeds"
        save_plot(plot, runs, sparsity=comparison.sparsity, title=title)
    return {
        "recording": path.stem,
        "sparsity": comparison.sparsity,
        "trials": trials,
        "workers": workers,
        "seeds": seeds,
        "methods": {one.method: summary(one) for one in runs},
        "p": {other.method: mann_whitney(first, other) for other in others},
    }


def tables(document: dict[str, Any]) -> list[Table]:
    """Returns a comparison as tables: hypervolume, and best size at each operating point.

    A cell is the median over seeds and, in brackets, the quartiles. At the end of a line stand the
    median of what is lacking to the reference after the last trial, and p.
    """
    methods, p = document["methods"], document["p"]
    about = f"{document['recording']}, {document['workers']} workers, {document['seeds']} seeds"
    found = [
        _table(
            f"hypervolume, and its share that is lacking ({about})",
            {name: (m["hypervolume"], m["hypervolume_regret"]) for name, m in methods.items()},
            {name: one["hypervolume_regret"] for name, one in p.items()},
            digits=4,
        )
    ]
    for point in next(iter(methods.values()))["size"]:
        table = _table(
            f"{document['sparsity']} at point {point}, and doublings of compression lacking",
            {name: (m["size"][point], m["regret"][point]) for name, m in methods.items()},
            {name: one["regret"][point] for name, one in p.items()},
            digits=0,
        )
        found.append(table)
    return found


def _table(
    title: str, by_method: dict[str, tuple[Any, Any]], p: dict[str, float], *, digits: int
) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("method")
    trials = list(next(iter(by_method.values()))[0])
    for column in (*(f"{t} trials" for t in trials), "lacks", "p"):
        table.add_column(column, justify="right")
    for name, (values, regret) in by_method.items():
        cells = [
            rf"{at['median']:,.{digits}f} \[{at['q1']:,.{digits}f}, {at['q3']:,.{digits}f}]"
            for at in values.values()
        ]
        tested = f"{p[name]:.2g}" if name in p else ""
        table.add_row(name, *cells, f"{regret[trials[-1]]['median']:.3f}", tested)
    return table
