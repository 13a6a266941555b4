"""Ray Tune's view of what runs next, and of early stopping: verdicts on trials' milestones."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from hoyer_search import results
from hoyer_search.config import SweepConfig
from hoyer_search.results import CurvePoint, Dense, Progress, TrialResult, TrialSpec
from hoyer_search.search.early_stopping import EarlyStopping, Expected
from hoyer_search.search.trainable import from_report
from hoyer_search.store import SweepFolder
from hoyer_search.trial.milestones import milestone_quarters


class NewestFirst(FIFOScheduler):
    """Gives a worker that is free to the trial that was asked for last.

    Tune would give it to the first that waits, also when a worker is starting for that one, and
    end the worker that starts. Where trials end more often than a worker takes to start, none would
    ever start: a machine that joins would have nothing to do.
    """

    def __init__(self, room: Callable[[], int]) -> None:
        """Knows no trial yet.

        Args:
            room: Returns how many trials the nodes have room for. Where more are there, the first
                may wait for a node, and is the first to get a worker.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._room = room

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """Returns the trial that gets the next free worker, None when none waits for one."""
        trials: list[Trial] = tune_controller.get_trials()  # type: ignore[no-untyped-call]
        waiting = [trial for trial in trials if trial.status == Trial.PENDING]
        running = sum(trial.status == Trial.RUNNING for trial in trials)
        if not waiting:
            return None
        return waiting[-1 if len(waiting) + running <= self._room() else 0]

    def __getstate__(self) -> dict[str, Any]:
        """Returns nothing: Tune pickles a copy of itself at the start, which is never read."""
        return {}


class StoppingScheduler(NewestFirst):
    """Stops trials early. What it knows comes from the sweep's folder, also after a restart.

    A stopped trial has its ``result.json`` before Tune hears of the verdict, so that the study is
    told and the trial never runs again, whenever the driver dies.
    """

    def __init__(
        self, folder: SweepFolder, config: SweepConfig, dense: Dense, *, room: Callable[[], int]
    ) -> None:
        """Reads what earlier trials left.

        Args:
            folder: The sweep.
            config: Its configuration, one that ``stops_early``.
            dense: Its dense network.
            room: As for ``NewestFirst``.
        """
        super().__init__(room)
        self._folder, self._dense = folder, dense
        self._stopping = EarlyStopping(config, dense)
        for spec in folder.specs():
            for progress in _milestones(folder, spec):
                self._stopping.remember(spec.uid, _quarter(progress), progress.curve)
        for result in folder.results():
            self._learn(result)

    def on_trial_result(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> str:
        """Returns STOP at a milestone from which a trial leads nowhere, else CONTINUE."""
        progress = from_report(result)
        if progress is None or not progress.curve:
            return TrialScheduler.CONTINUE
        spec = results.load(TrialSpec, self._folder.trial(trial.config["uid"]) / "spec.json")
        if spec.retrains is not None:
            return TrialScheduler.CONTINUE  # a winner's spread is wanted, good or bad
        expected = self._stopping.verdict(spec.uid, _quarter(progress), progress.curve)
        if expected is None:
            return TrialScheduler.CONTINUE
        stopped = record_stopped(self._folder, spec, progress, dense=self._dense, expected=expected)
        self._stopping.learn(stopped)
        return TrialScheduler.STOP

    def on_trial_complete(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> None:
        """Learns from a trial that ran to its end."""
        ended = self._folder.result(trial.config["uid"])
        if ended is not None:
            self._learn(ended)

    def _learn(self, result: TrialResult) -> None:
        if result.retrains is None:  # its twin of another seed is known
            self._stopping.learn(result)

    def save(self, checkpoint_path: str) -> None:
        """Writes an empty file: the sweep's folder is the state, and Tune insists on one."""
        Path(checkpoint_path).touch()


def record_stopped(
    folder: SweepFolder,
    spec: TrialSpec,
    progress: Progress,
    *,
    dense: Dense,
    expected: Expected,
) -> TrialResult:
    """Writes the result of a trial stopped at a milestone, and returns it.

    Args:
        folder: The sweep.
        spec: The trial.
        progress: The step with the milestone's curve.
        dense: The dense network.
        expected: What it would have come to.
    """
    result = TrialResult(
        number=spec.number,
        uid=spec.uid,
        params=spec.params,
        state="stopped",
        dense=dense,
        curve=progress.curve,
        wall_seconds={progress.stage: progress.wall_seconds},
        forecast=expected.forecast,
        outlook=expected.outlook,
    )
    results.save(folder.trial(spec.uid) / "result.json", result)
    return result


def _milestones(folder: SweepFolder, spec: TrialSpec) -> Iterator[Progress]:
    """Yields a trial's steps that have a curve."""
    for line in folder.metrics(spec.uid):
        if line.get("curve"):
            curve = [CurvePoint(**point) for point in line["curve"]]
            yield Progress(**(line | {"curve": curve}))


def _quarter(progress: Progress) -> int:
    return milestone_quarters(progress.epochs)[progress.epoch]
