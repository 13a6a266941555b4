"""What ``peer.py`` measured: hypervolume and fewest nonzeros against wall time, and the verdicts.

Networks are chosen by validation accuracy on both sides; test accuracy is reported only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hoyer_search import pareto

SHARE_OF_TIME = 0.1
"""Most of the peer's time that ours may take to the peer's final hypervolume."""

SHARE_OF_NONZEROS = 0.65
"""Most of the peer's nonzeros that ours may have at the strictest operating point."""

COLOURS = {"peer": "#d55e00", "ours": "#0072b2"}


@dataclass(frozen=True, slots=True)
class Network:
    """A finished network of one side.

    Attributes:
        seconds: Wall seconds of its side until it was there, pretraining included.
        val_accuracy: Validation accuracy in [0, 1]; every choice is made by it.
        test_accuracy: Test accuracy in [0, 1].
        nonzeros: Nonzero weights.
    """

    seconds: float
    val_accuracy: float
    test_accuracy: float
    nonzeros: int


@dataclass(frozen=True, slots=True)
class Task:
    """What both sides had to do.

    Attributes:
        dense_accuracy: Validation accuracy of the dense network in [0, 1].
        dense_nonzeros: Its weights.
        drops: Allowed drop of validation accuracy by operating point.
        seconds: Wall time of each side; what came later does not count.
    """

    dense_accuracy: float
    dense_nonzeros: int
    drops: Mapping[str, float]
    seconds: float

    @property
    def floors(self) -> dict[str, float]:
        """Returns the validation accuracy to keep by operating point."""
        return {name: self.dense_accuracy - drop for name, drop in self.drops.items()}


class Side:
    """The networks of one side that were there in time."""

    def __init__(self, task: Task, networks: Sequence[Network]) -> None:
        self.task = task
        in_time = [n for n in networks if n.seconds <= task.seconds]
        self.networks = sorted(in_time, key=lambda n: n.seconds)

    def best(self, floor: float) -> Network | None:
        """Returns the sparsest network that keeps a floor, None when there is none."""
        kept = [n for n in self.networks if n.val_accuracy >= floor]
        return min(kept, key=lambda n: n.nonzeros, default=None)

    def best_over_time(self, floor: float) -> list[tuple[float, int]]:
        """Returns seconds and fewest nonzeros whenever a sparser network keeps a floor."""
        steps: list[tuple[float, int]] = []
        for n in self.networks:
            if n.val_accuracy >= floor and (not steps or n.nonzeros < steps[-1][1]):
                steps.append((n.seconds, n.nonzeros))
        return steps

    def hypervolume_over_time(self) -> list[tuple[float, float]]:
        """Returns seconds and hypervolume after each network, in accuracy times doublings."""
        accuracy: list[float] = []
        compression: list[float] = []
        steps = []
        for n in self.networks:
            accuracy.append(n.val_accuracy)
            compression.append(math.log2(self.task.dense_nonzeros / max(n.nonzeros, 1)))
            area = pareto.hypervolume(
                accuracy, compression, floor=min(self.task.floors.values(), default=0.0)
            )
            steps.append((n.seconds, area))
        return steps

    @property
    def hypervolume(self) -> float:
        """Returns the final hypervolume, 0 without networks."""
        steps = self.hypervolume_over_time()
        return steps[-1][1] if steps else 0.0

    def seconds_to(self, hypervolume: float) -> float | None:
        """Returns when a hypervolume was reached, None when it never was."""
        steps = self.hypervolume_over_time()
        return next((seconds for seconds, area in steps if area >= hypervolume), None)


def summarise(task: Task, peer: Side, ours: Side) -> dict[str, Any]:
    """Returns the comparison as JSON-ready data: per side, per operating point, and verdicts."""
    points = {}
    for name, floor in task.floors.items():
        theirs, own = peer.best(floor), ours.best(floor)
        ratio = own.nonzeros / theirs.nonzeros if own and theirs else None
        points[name] = {
            "floor": floor,
            "peer": asdict(theirs) if theirs else None,
            "ours": asdict(own) if own else None,
            "ratio": ratio,
        }
    reached = ours.seconds_to(peer.hypervolume) if peer.networks else None
    share = None if reached is None else reached / task.seconds
    first = next(iter(points.values()))
    return {
        "points": points,
        "hypervolume": {"peer": peer.hypervolume, "ours": ours.hypervolume},
        "networks": {"peer": len(peer.networks), "ours": len(ours.networks)},
        "seconds_to_peers_hypervolume": reached,
        "share_of_time": share,
        "verdicts": {
            f"ours has the peer's final hypervolume in {SHARE_OF_TIME:.0%} of its time": (
                share is not None and share <= SHARE_OF_TIME
            ),
            "ours has fewer nonzeros at every operating point": all(
                p["ours"] is not None and (p["ratio"] is None or p["ratio"] < 1)
                for p in points.values()
            ),
            f"ours has at most {SHARE_OF_NONZEROS:.0%} of the nonzeros at the first": (
                first["ours"] is not None
                and (first["ratio"] is None or first["ratio"] <= SHARE_OF_NONZEROS)
            ),
        },
    }


def table(summary: Mapping[str, Any]) -> str:
    """Returns the comparison as text, a line an operating point."""
    lines = ["point  floor (val)   peer: nonzeros (test)   ours: nonzeros (test)   ours / peer"]
    for name, point in summary["points"].items():
        cells = [_cell(point[side]) for side in ("peer", "ours")]
        ratio = "-" if point["ratio"] is None else f"{point['ratio']:.0%}"
        lines.append(f"{name:<5}  {point['floor']:>10.2%}  {cells[0]}  {cells[1]}  {ratio:>11}")
    volume, count = summary["hypervolume"], summary["networks"]
    lines += [
        f"{side}: hypervolume {volume[side]:.4f}, {count[side]} networks"
        for side in ("peer", "ours")
    ]
    reached = summary["seconds_to_peers_hypervolume"]
    if reached is not None:
        share = summary["share_of_time"]
        lines.append(f"ours had the peer's hypervolume after {reached:.0f} s, {share:.1%}")
    lines += [f"{'yes' if ok else 'NO ':<3}  {text}" for text, ok in summary["verdicts"].items()]
    return "\n".join(lines)


def plot(path: Path, task: Task, sides: Mapping[str, Side]) -> None:
    """Draws hypervolume, and the fewest nonzeros at each operating point, against wall time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 4)
    large = figure.add_subplot(grid[:, :2])
    small = [figure.add_subplot(grid[i // 2, 2 + i % 2]) for i in range(4)]
    large.set(title="hypervolume", xlabel="minutes", ylabel="accuracy x doublings of compression")
    for name, side in sides.items():
        steps = [(0.0, 0.0), *side.hypervolume_over_time()]
        _stairs(large, steps, task, colour=COLOURS[name], label=name)
    large.axvline(SHARE_OF_TIME * task.seconds / 60, color="#8c8c8c", linestyle=":")
    large.legend(frameon=False)
    for axes, (point, floor) in zip(small, task.floors.items(), strict=False):
        axes.set(title=f"{point}: nonzeros at {floor:.2%}", xlabel="minutes")
        axes.set_yscale("log")
        for name, side in sides.items():
            _stairs(axes, side.best_over_time(floor), task, colour=COLOURS[name], label=name)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:,.0f}")
        axes.tick_params(axis="y", which="both", labelsize=7)
    figure.savefig(path)


def _stairs(
    axes: Any, steps: Sequence[tuple[float, float]], task: Task, *, colour: str, label: str
) -> None:
    if steps:
        x = [seconds / 60 for seconds, _ in steps] + [task.seconds / 60]
        y = [value for _, value in steps] + [steps[-1][1]]
        axes.step(x, y, where="post", color=colour, label=label)
    axes.set_xlim(0, task.seconds / 60)


def _cell(network: Mapping[str, Any] | None) -> str:
    text = "-" if network is None else f"{network['nonzeros']:,} ({network['test_accuracy']:.2%})"
    return f"{text:>22}"
