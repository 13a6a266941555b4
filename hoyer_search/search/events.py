"""What Ray Tune says of its trials, as the sweep's events."""

import errno
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from hoyer_search import results
from hoyer_search.results import Event, TrialSpec
from hoyer_search.search.failures import NO_SPACE, add_failure
from hoyer_search.search.interruption import Interruption
from hoyer_search.search.stopping import Meter
from hoyer_search.search.trainable import from_report
from hoyer_search.search.watchdog import Watchdog
from hoyer_search.store import SweepFolder

OnEvent = Callable[[Event], None]


class Events(tune.Callback):
    """Turns what Tune says of its trials into events, counts them and their time, ends what hangs.

    Attributes:
        actors: The trial that each actor runs or ran last, by the actor's id.
        losses: How each trial lost its worker last, by uid; the last line of what Ray says.
    """

    def __init__(
        self,
        folder: SweepFolder,
        on_event: OnEvent,
        meter: Meter,
        interruption: Interruption,
        watchdog: Watchdog,
    ) -> None:
        self.actors: dict[str, str] = {}
        self.losses: dict[str, str] = {}
        self._folder = folder
        self._on_event = on_event
        self._meter = meter
        self._interruption = interruption
        self._watchdog = watchdog
        self._specs: dict[str, TrialSpec] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Returns nothing: Tune pickles a copy of itself at the start, which is never read."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Counts the time of the trials that run; Tune takes a step about every 0.1 s."""
        running = {t.config["uid"]: t for t in trials if t.status == Trial.RUNNING}
        self._meter.tick(running=len(running))
        self._interruption.running = len(running)
        for uid, seconds in [*self._watchdog.look(running)]:
            self._kill(running[uid], seconds)

    def _kill(self, trial: Trial, seconds: float) -> None:
        """Ends the process of a trial that hangs; Tune starts the trial again, or ends it."""
        spec = self._spec(trial)
        self._watchdog.left(spec.uid)
        if self._folder.result(spec.uid) is None:
            text = f"no step for {seconds:.0f} s (resources.hang_minutes): its process was killed"
            add_failure(self._folder, spec, text)
        actor = trial.temporary_state.ray_actor
        if actor is not None:
            ray.kill(actor)

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Announces a trial, once: Tune starts it anew when its worker was lost."""
        uid = self._spec(trial).uid
        self._watchdog.stepped(uid)
        actor = trial.temporary_state.ray_actor
        if actor is not None:
            self.actors[actor._actor_id.hex()] = uid

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Notes how a trial lost its worker; Tune starts it anew, unless that was too often."""
        said = Path(str(trial.error_file)).read_text(encoding="utf-8")
        self.losses[trial.config["uid"]] = said.strip().rpartition("\n")[2]

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Passes a step on."""
        progress = from_report(result)
        self._watchdog.stepped(trial.config["uid"])
        if progress is not None:
            self._watchdog.learn(progress)
            self._on_event(Event(spec=self._spec(trial), progress=progress))

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Passes a trial's result on."""
        self._end(trial)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Passes the result on of a trial whose worker was lost too often."""
        self._end(trial)

    def _end(self, trial: Trial) -> None:
        spec = self._spec(trial)
        self._watchdog.left(spec.uid)
        if trial.last_result.get("state") == NO_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder.path))
        result = self._folder.result(spec.uid)
        if result is not None:
            self._on_event(Event(spec=spec, result=result))

    def _spec(self, trial: Trial) -> TrialSpec:
        uid = trial.config["uid"]
        if uid not in self._specs:
            spec = results.load(TrialSpec, self._folder.trial(uid) / "spec.json")
            self._specs[uid] = spec
            self._on_event(Event(spec=spec))
        return self._specs[uid]


def import_integrations() -> None:
    """Imports what Tune does to count its callbacks before the first trial: MLflow takes seconds.

    Meant for a thread beside Ray's start, in which the main one waits.
    """
    importlib.import_module("ray.air.integrations.mlflow")
