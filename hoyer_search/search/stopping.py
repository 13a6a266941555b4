"""When no further trial of a sweep starts: the limits of its budget, counted over all resumes."""

import time
from collections.abc import Iterable
from dataclasses import replace

from hoyer_search.config import Budget, Resources, SweepConfig
from hoyer_search.front import Front
from hoyer_search.results import StopReason, TrialResult, Usage
from hoyer_search.store import SweepFolder

SAVE_SECONDS = 10.0
"""Longest time between two writes of ``usage.json``: what a killed driver forgets at most."""

GROWTH = 1e-3
"""Relative growth of the hypervolume up to which it counts as flat."""


class Meter:
    """Counts what a running search uses, on top of what earlier calls used."""

    def __init__(self, folder: SweepFolder, resources: Resources) -> None:
        self._folder = folder
        self._resources = resources
        self._usage = folder.usage()
        self._last = self._saved = time.monotonic()

    @property
    def usage(self) -> Usage:
        """Returns what was used until now; of trials, until the last tick."""
        wall = self._usage.wall_seconds + time.monotonic() - self._last
        return replace(self._usage, wall_seconds=wall)

    def tick(self, *, running: int) -> None:
        """Counts the time since the last tick; call it a few times a second.

        Args:
            running: How many trials hold their resources.
        """
        now = time.monotonic()
        elapsed, self._last = now - self._last, now
        self._usage = Usage(
            wall_seconds=self._usage.wall_seconds + elapsed,
            core_seconds=self._usage.core_seconds + elapsed * running * self._resources.cpus,
            gpu_seconds=self._usage.gpu_seconds + elapsed * running * self._resources.gpus,
        )
        if now - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Writes ``usage.json``."""
        self._folder.save_usage(self.usage)
        self._saved = time.monotonic()


class Plateau:
    """Notices that the hypervolume does not grow any more.

    It is flat over n trials when n trials ago it was above zero and has grown since by no more
    than a thousandth of itself. While no trial keeps the loosest floor it is zero and never flat:
    the search has still to find where it should look.
    """

    def __init__(self, config: SweepConfig) -> None:
        self._objective = config.objective
        self._front: Front | None = None
        self._areas = [0.0]
        self._known: set[str] = set()

    def add(self, result: TrialResult) -> None:
        """Takes in a trial that ended; each counts once, in the order of their ends."""
        if result.uid in self._known:
            return
        self._known.add(result.uid)
        if result.dense is not None:
            self._front = Front.of(
                [*(self._front.points if self._front else []), *result.points],
                dense=result.dense,
                sparsity=self._objective.sparsity,
                floors=self._objective.floors(result.dense.val_accuracy),
            )
        self._areas.append(self._front.hypervolume if self._front else 0.0)

    def flat(self, trials: int) -> bool:
        """Returns whether the hypervolume was flat over the last so many trials."""
        if len(self._areas) <= trials:
            return False
        before = self._areas[-1 - trials]
        return before > 0 and self._areas[-1] <= before * (1 + GROWTH)


class Stopping:
    """The limits of a sweep's budget, the number of trials excepted, which the study keeps."""

    def __init__(self, budget: Budget, meter: Meter, plateau: Plateau, *, gpus: bool) -> None:
        self._budget, self._gpus = budget, gpus
        self.meter, self.plateau = meter, plateau

    @classmethod
    def of(
        cls, folder: SweepFolder, config: SweepConfig, ended: Iterable[TrialResult]
    ) -> "Stopping":
        """Returns the limits of a sweep whose trials ended in the given order so far."""
        plateau = Plateau(config)
        for result in ended:
            plateau.add(result)
        meter = Meter(folder, config.resources)
        return cls(config.budget, meter, plateau, gpus=config.resources.gpus > 0)

    def reason(self) -> StopReason | None:
        """Returns the limit that was reached, None while further trials may start."""
        budget, usage = self._budget, self.meter.usage
        if budget.flat_trials is not None and self.plateau.flat(budget.flat_trials):
            return "flat_trials"
        if budget.hours is not None and usage.wall_seconds >= 3600 * budget.hours:
            return "hours"
        used = usage.gpu_seconds if self._gpus else usage.core_seconds
        if budget.accelerator_hours is not None and used >= 3600 * budget.accelerator_hours:
            return "accelerator_hours"
        return None
