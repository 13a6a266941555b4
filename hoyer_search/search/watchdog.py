"""Notices trials that hang, whatever they hang in: a lock, a file system, a stopped process.

The driver looks, since a process that hangs may be unable to look at itself.
"""

import time
from collections.abc import Callable, Iterable, Iterator

from hoyer_search.results import Progress
from hoyer_search.store import SweepFolder

LEAST_SECONDS = 600.0
"""Shortest time without a step for which a trial is taken to hang, unless the user set one."""

EPOCHS = 10
"""Slowest epochs of the sweep that may pass without a step, e.g. while networks are measured."""

LONGEST_LOOK = 5.0
"""Seconds that count at most between two looks: while nobody looked, nobody saw progress either."""


class Watchdog:
    """Knows since when each trial has made no step."""

    def __init__(
        self, minutes: float | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Watches nothing yet.

        Args:
            minutes: Time without a step after which a trial hangs; None to go by the epochs seen.
            clock: Returns the time in seconds.
        """
        self._seconds = None if minutes is None else 60 * minutes
        self._slowest = 0.0
        self._clock = clock
        self._looked, self._now = clock(), 0.0
        self._last: dict[str, float] = {}

    @property
    def limit(self) -> float | None:
        """Returns the seconds without a step after which a trial hangs, None before any is known.

        Trials of a first epoch that takes hours are left alone: nothing tells how long it may take.
        """
        if self._seconds is not None:
            return self._seconds
        return max(LEAST_SECONDS, EPOCHS * self._slowest) if self._slowest else None

    def learn(self, progress: Progress) -> None:
        """Takes in how long an epoch took, of whatever trial or of pretraining."""
        self._learn(progress.epoch, progress.wall_seconds)

    def learn_all(self, folder: SweepFolder) -> None:
        """Takes in what an earlier run of the driver saw of a sweep's trials."""
        for spec in folder.all_specs():
            for line in folder.metrics(spec.uid):
                self._learn(line["epoch"], line.get("wall_seconds", 0.0))

    def _learn(self, epochs: int, seconds: float) -> None:
        if epochs:
            self._slowest = max(self._slowest, seconds / epochs)

    def stepped(self, uid: str) -> None:
        """Notes that a trial has started or made a step."""
        self._tick()
        self._last[uid] = self._now

    def left(self, uid: str) -> None:
        """Forgets a trial, which ended or lost its process."""
        self._last.pop(uid, None)

    def look(self, running: Iterable[str]) -> Iterator[tuple[str, float]]:
        """Yields the trials that hang, of those that run, and their seconds without a step."""
        self._tick()
        limit = self.limit
        for uid in running:
            seconds = self._now - self._last.setdefault(uid, self._now)
            if limit is not None and seconds > limit:
                yield uid, seconds

    def _tick(self) -> None:
        now = self._clock()
        self._now += min(now - self._looked, LONGEST_LOOK)
        self._looked = now
