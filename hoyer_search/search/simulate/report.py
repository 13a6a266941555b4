"""What ``hoyer-search simulate`` prints: a comparison as JSON-ready data, and as tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from hoyer_search import files
from hoyer_search.config import StoppingName
from hoyer_search.errors import StorageError
from hoyer_search.search.simulate.comparison import Comparison, mann_whitney, summary
from hoyer_search.search.simulate.plot import save_plot


def compare(
    path: Path,
    *,
    methods: Sequence[str],
    trials: int,
    workers: int,
    seeds: int,
    early_stopping: StoppingName | None = None,
    plot: Path | None = None,
) -> dict[str, Any]:
    """Simulates sweeps of some methods over a recording and returns how they compare.

    Args:
        path: The recording.
        methods: Samplers by name, with ``-joint`` behind it to search the threshold as one more
            parameter, and ``+curve``, ``+asha`` or ``+none`` at the end for early stopping of its
            own. The first is tested against each other one.
        trials: Trials of each sweep.
        workers: Trials that run at once.
        seeds: Sweeps of each method.
        early_stopping: Of methods that name none; by default the recorded space's.
        plot: PNG to write, or None; one that is there is replaced.

    Returns:
        ``methods`` by name as ``summary`` gives them, and ``p`` by other method.

    Raises:
        InputError: The recording cannot be read, a method is unknown, or no PNG can be written
            there; nothing was simulated.
    """
    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise StorageError(f"a plot must end in .png, got {plot}: give another name")
        files.check_output(plot)
    comparison = Comparison.open(
        path, trials=trials, workers=workers, seeds=seeds, early_stopping=early_stopping
    )
    names = list(dict.fromkeys(methods))
    for name in names:
        comparison.check(name)
    runs = [comparison.run(name) for name in names]
    first, *others = runs
    if plot is not None:
        title = f"{path.stem}: {trials} trials, {workers} workers, {seeds} seeds"
        try:
            save_plot(plot, runs, sparsity=comparison.sparsity, title=title)
        except OSError as error:
            raise StorageError(f"{plot} cannot be written: {error}") from error
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
    if any(method["stopped"] for method in methods.values()):
        found.append(_stopping_table(methods))
    return found


def _stopping_table(methods: dict[str, Any]) -> Table:
    """Returns what early stopping saved, and how many of its verdicts were false."""
    table = Table(title="early stopping", title_justify="left", box=None, pad_edge=False)
    table.add_column("method")
    for column in ("epochs", "saved", "trials stopped", "falsely"):
        table.add_column(column, justify="right")
    for name, method in methods.items():
        epochs, saved = (list(method[key].values())[-1] for key in ("epochs", "epochs_saved"))
        rate = method["false_stop_rate"]
        table.add_row(
            name,
            f"{epochs['median']:,.0f}",
            rf"{saved['median']:.1%} \[{saved['q1']:.1%}, {saved['q3']:.1%}]",
            str(method["stopped"]),
            "" if rate is None else f"{rate:.1%}",
        )
    return table


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
