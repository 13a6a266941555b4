"""A figure of simulated sweeps: what each method had, against trials and against time."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hoyer_search import files
from hoyer_search.search.simulate.comparison import Floats, Runs

STEPS = 200
"""Times at which sweeps are read."""


def save_plot(path: Path, methods: Sequence[Runs], *, sparsity: str, title: str) -> None:
    """Writes the figure of some methods as a PNG, atomically.

    Medians over seeds are lines and quartiles bands; a row against trials and one against time,
    a column for hypervolume and for the best size at each operating point.

    Args:
        path: Where to.
        methods: Sweeps of one recording, at least one method.
        sparsity: What the sizes are.
        title: What was simulated.
    """
    points = list(methods[0].size)
    figure = Figure(figsize=(3.4 * (1 + len(points)), 6), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(2, 1 + len(points), squeeze=False)
    for runs in methods:
        columns = [runs.hypervolume, *runs.size.values()]
        for (above, below), values in zip(axes.T, columns, strict=True):
            _draw(above, np.arange(1, values.shape[1] + 1), values, runs.method)
            # Before its slowest sweep's first trial ended, a method has no median.
            hours = np.linspace(runs.seconds[:, 0].max(), runs.seconds[:, -1].min(), STEPS) / 3600
            _draw(below, hours, _at_hours(runs, values, hours), runs.method)
    names = ["hypervolume", *(f"{sparsity} at point {point}" for point in points)]
    for (above, below), name in zip(axes.T, names, strict=True):
        above.set(title=name, xlabel="trials")
        below.set(xlabel="hours")
        if name != "hypervolume":
            above.set_yscale("log")
            below.set_yscale("log")
    axes[0, -1].legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    files.write_bytes(path, buffer.getvalue())


def _draw(axes: Axes, x: Floats, values: Floats, label: str) -> None:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    (line,) = axes.plot(x, median, drawstyle="steps-post", label=label)
    axes.fill_between(x, low, high, step="post", alpha=0.2, color=line.get_color())


def _at_hours(runs: Runs, values: Floats, hours: Floats) -> Floats:
    """Returns what each sweep had at given times, shape (num_seeds, num_hours)."""
    return np.stack(
        [
            row[np.searchsorted(seconds, 3600 * hours, side="right") - 1]
            for seconds, row in zip(runs.seconds, values, strict=True)
        ]
    )
