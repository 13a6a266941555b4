"""What a terminal shows while a sweep runs: trials, the front so far, the time left."""

import time
from collections.abc import Callable, Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hoyer_search.confirmation import Confirmation, spread_text, verdict
from hoyer_search.front import Front
from hoyer_search.results import Event, Progress, TrialResult, TrialSpec


class Display:
    """Follows the events of a sweep: a live table on a terminal, plain lines elsewhere.

    Use it as a context manager around the sweep, with ``on_event`` as the sweep's callback.
    """

    def __init__(
        self,
        console: Console,
        *,
        trials: int,
        get_front: Callable[[], Front | None],
        ended: int = 0,
    ) -> None:
        """Creates a display.

        Args:
            console: Where to show it.
            trials: Trials of the sweep.
            get_front: Returns the front so far.
            ended: Trials that ended before.
        """
        self._console, self._trials, self._get_front = console, trials, get_front
        self._running: dict[str, tuple[TrialSpec, Progress | None, float]] = {}
        self._pretraining: Progress | None = None
        self._ended, self._failed, self._stopped = ended, 0, 0
        self._front: Front | None = None
        self._durations: list[float] = []
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def on_event(self, event: Event) -> None:
        """Takes in one event."""
        if event.spec is None:
            self._on_pretraining(event.progress)
        elif event.result is not None:
            self._on_end(event.spec, event.result)
        else:
            spec, _, start = self._running.get(event.spec.uid, (event.spec, None, time.monotonic()))
            self._running[spec.uid] = (spec, event.progress, start)
            if event.progress is None:
                self._line(f"{_name(spec)} started: {_params(spec)}")

    def _on_pretraining(self, progress: Progress | None) -> None:
        self._pretraining = progress
        if progress is not None:
            self._line(f"pretraining: {_stage(progress)}")

    def _on_end(self, spec: TrialSpec, result: TrialResult) -> None:
        _, _, start = self._running.pop(spec.uid, (spec, None, time.monotonic()))
        if spec.retrains is not None:
            reached = ", ".join(f"{p.val_accuracy:.2%}" for p in result.points) or result.state
            self._line(f"{_name(spec)} ended: {reached}")
            return
        self._durations.append(time.monotonic() - start)
        self._ended += 1
        self._failed += result.state == "failed"
        self._stopped += result.state == "stopped"
        self._front = self._get_front()
        if result.state == "failed":
            reason = (result.error or "").strip().splitlines()[-1:]
            outcome = f"failed: {reason[0] if reason else 'no reason is known'}"
        elif self._front is not None and result.points:
            best = [p for p in self._front.points if p.uid == spec.uid]
            outcome = f"{len(best)} of its {len(result.points)} points are on the front"
        elif result.state == "stopped":
            outcome = "stopped early: it promised nothing better than what there is"
        else:
            outcome = result.state
        count = f"{self._ended}/{self._trials}{self._time_left(at_once=len(self._running) + 1)}"
        self._line(f"{_name(spec)} ended ({count}): {outcome}")

    def _line(self, text: str) -> None:
        if not self._console.is_terminal:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _time_left(self, *, at_once: int) -> str:
        left = self._trials - self._ended
        if not self._durations or left <= 0:
            return ""
        mean = sum(self._durations) / len(self._durations)
        return f", {clock(mean * left / max(1, at_once))} left"

    def _render(self) -> Group:
        head = (
            f"{self._ended} of {self._trials} trials{self._time_left(at_once=len(self._running))}"
        )
        if self._stopped:
            head += f", {self._stopped} stopped early"
        if self._failed:
            head += f", {self._failed} failed"
        parts: list[Text | Table] = [Text(head, style="bold")]
        if not self._running and not self._durations:
            doing = "starting Ray"
            if self._pretraining is not None:
                doing = f"pretraining the dense network: {_stage(self._pretraining)}"
            parts.append(Text(doing))
        if self._running:
            parts.append(self._running_table())
        if self._front is not None and self._front.points:
            parts.append(points_table(self._front))
        return Group(*parts)

    def _running_table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for column in ("trial", "parameters", "stage", "for"):
            table.add_column(column)
        for spec, progress, start in self._running.values():
            stage = "starting" if progress is None else _stage(progress)
            row = (
                _name(spec).removeprefix("trial").strip(),
                _params(spec),
                stage,
                clock(time.monotonic() - start),
            )
            table.add_row(*row)
        return table


def points_table(front: Front, *, title: str = "operating points") -> Table:
    """Returns the best network of each operating point as a table."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("point")
    for column in ("floor", "val", "test", "nonzeros", "MACs", "smaller", "trial"):
        table.add_column(column, justify="right")
    for column in ("structure", "threshold"):
        table.add_column(column)
    for name, point in front.operating_points.items():
        floor = f"{front.floors[name]:.2%}"
        if point is None:
            table.add_row(name, floor, *["-"] * 6, "no trial keeps it yet", "")
            continue
        table.add_row(
            name,
            floor,
            f"{point.val_accuracy:.2%}",
            f"{point.test_accuracy:.2%}",
            f"{point.nonzeros:,}",
            f"{point.macs:,}",
            front.times(point),
            str(point.trial),
            point.structure,
            f"{point.threshold:.4g}",
        )
    return table


def confirmations_table(found: Mapping[str, Confirmation]) -> Table:
    """Returns how the operating points' winners did when they were trained again, as a table."""
    wanted = max(one.wanted for one in found.values())
    times = "time" if wanted == 1 else "times"
    title = f"winners trained again, {wanted} {times} each: mean ± deviation (least to most)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("point", "confirmed", "floor", "val", "test", "nonzeros", "MACs", "ended"):
        table.add_column(column, justify="left" if column in ("point", "confirmed") else "right")
    for name, one in found.items():
        spreads = [
            spread_text(spread, percent=measure.endswith("accuracy"))
            for measure, spread in one.spreads.items()
        ]
        ended = f"{len(one.points)}" + (f", {one.failed} failed" if one.failed else "")
        cells = spreads or ["-"] * 4
        table.add_row(name, verdict(one.confirmed), f"{one.floor:.2%}", *cells, ended)
    return table


def _name(spec: TrialSpec) -> str:
    if spec.retrains is None:
        return f"trial {spec.number:>3}"
    return f"trial {spec.number:>3} again ({spec.retrains.repeat})"


def _params(spec: TrialSpec) -> str:
    params = ", ".join(
        f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in spec.params.items()
    )
    return params if spec.parent is None else f"{params}, from trial {spec.parent}"


def _stage(progress: Progress) -> str:
    text = f"{progress.stage} {progress.epoch}/{progress.epochs}"
    if progress.point is not None:
        text = f"{progress.stage} #{progress.point + 1} {progress.epoch}/{progress.epochs}"
    if "val_accuracy" in progress.metrics:
        text += f", val {progress.metrics['val_accuracy']:.2%}"
    return text


def clock(seconds: float) -> str:
    """Returns a time as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
