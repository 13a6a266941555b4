"""What Ray Tune says of its trials, as the sweep's events."""

from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from hoyer_search import results
from hoyer_search.results import Event, TrialSpec
from hoyer_search.search.interruption import Interruption
from hoyer_search.search.stopping import Meter
from hoyer_search.search.trainable import from_report
from hoyer_search.store import SweepFolder

OnEvent = Callable[[Event], None]


class Events(tune.Callback):
    """Turns what Tune says of its trials into events, and counts them and their time."""

    def __init__(
        self, folder: SweepFolder, on_event: OnEvent, meter: Meter, interruption: Interruption
    ) -> None:
        self._folder = folder
        self._on_event = on_event
        self._meter = meter
        self._interruption = interruption
        self._specs: dict[str, TrialSpec] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Returns nothing: Tune pickles a copy of itself at the start, which is never read."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Counts the time of the trials that run; Tune takes a step about every 0.1 s."""
        running = sum(trial.status == Trial.RUNNING for trial in trials)
        self._meter.tick(running=running)
        self._interruption.running = running

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Announces a trial, once: Tune starts it anew when its worker was lost."""
        self._spec(trial)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Passes a step on."""
        progress = from_report(result)
        if progress is not None:
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
