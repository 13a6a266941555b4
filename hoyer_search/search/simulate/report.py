"""What ``hoyer-search simulate`` prints: a comparison as JSON-ready data, and as tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from hoyer_search.search.simulate.comparison import HYPERVOLUME, Comparison, mann_whitney, summary
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
        save_plot(plot, runs, title=title)
    return {
        "recording": path.stem,
        "trials": trials,
        "workers": workers,
        "seeds": seeds,
        "methods": {one.method: summary(one) for one in runs},
        "p": {other.method: mann_whitney(first, other) for other in others},
    }


def tables(document: dict[str, Any]) -> list[Table]:
    """Returns a comparison as tables: hypervolume and each operating point, by trials.

    A cell is the median and, in brackets, the quartiles of what sweeps lack against the best of
    the reference: a share of its hypervolume, or doublings of compression.
    """
    methods = document["methods"]
    points = list(next(iter(methods.values()))["regret"])
    regrets = {f"lacks of hypervolume, {_about(document)}": (HYPERVOLUME, _hypervolumes(methods))}
    for point in points:
        title = f"lacks at point {point}, doublings of compression"
        regrets[title] = (point, {name: m["regret"][point] for name, m in methods.items()})
    return [
        _table(title, by_method, {other: p[key] for other, p in document["p"].items()})
        for title, (key, by_method) in regrets.items()
    ]


def _hypervolumes(methods: dict[str, Any]) -> dict[str, Any]:
    return {name: method["hypervolume_regret"] for name, method in methods.items()}


def _about(document: dict[str, Any]) -> str:
    workers, seeds = document["workers"], document["seeds"]
    return f"{document['recording']}, workers {workers}, seeds {seeds}"


def _table(title: str, by_method: dict[str, Any], p: dict[str, float]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("method")
    for trials in next(iter(by_method.values())):
        table.add_column(f"{trials} trials", justify="right")
    table.add_column("p", justify="right")
    for name, at in by_method.items():
        cells = [f"{q['median']:.3f} [{q['q1']:.3f}, {q['q3']:.3f}]" for q in at.values()]
        table.add_row(name, *(c.replace("[", r"\[") for c in cells), _p(p.get(name)))
    return table


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
