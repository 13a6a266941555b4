"""A figure of simulated sweeps: what each method lacks, against trials and against time."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hoyer_search import files
from hoyer_search.search.simulate.comparison import HYPERVOLUME, Floats, Runs

STEPS = 200
"""Times at which sweeps are read."""


def save_plot(path: Path, methods: Sequence[Runs], *, title: str) -> None:
    """Writes the figure of some methods as a PNG, atomically.

    Medians over seeds are lines and quartiles bands; a row against trials and one against time,
    a column for hypervolume and for each operating point.

    Args:
        path: Where to.
        methods: Sweeps of one recording, at least one method.
        title: What was simulated.
    """
    names = list(methods[0].regret)
    figure = Figure(figsize=(3.2 * len(names), 6), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(2, len(names), squeeze=False)
    for column, name in enumerate(names):
        for runs in methods:
            regret = runs.regret[name]
            _draw(axes[0, column], np.arange(1, regret.shape[1] + 1), regret, runs.method)
            # Before its slowest sweep's first trial ended, a method has no median.
            hours = np.linspace(runs.seconds[:, 0].max(), runs.seconds[:, -1].min(), STEPS) / 3600
            _draw(axes[1, column], hours, _at_hours(runs, regret, hours), runs.method)
        what = "hypervolume, share" if name == HYPERVOLUME else f"point {name}, doublings"
        axes[0, column].set(title=what, xlabel="trials")
        axes[1, column].set(xlabel="hours")
    axes[0, 0].set_ylabel("lacks")
    axes[1, 0].set_ylabel("lacks")
    axes[0, -1].legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    files.write_bytes(path, buffer.getvalue())


def _draw(axes: Axes, x: Floats, values: Floats, label: str) -> None:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    (line,) = axes.plot(x, median, drawstyle="steps-post", label=label)
    axes.fill_between(x, low, high, step="post", alpha=0.2, color=line.get_color())


def _at_hours(runs: Runs, values: Floats, hours: Floats) -> Floats:
    """Returns what each sweep lacked at given times, shape (num_seeds, num_hours)."""
    return np.stack(
        [
            row[np.searchsorted(seconds, 3600 * hours, side="right") - 1]
            for seconds, row in zip(runs.seconds, values, strict=True)
        ]
    )
