"""The Optuna study of a sweep: asked for trials and told their results, by the driver only."""

import dataclasses
import hashlib
import uuid
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from hoyer_search import spaces
from hoyer_search.config import SweepConfig
from hoyer_search.results import Knowledge, StopReason, TrialResult, TrialSpec, Value, to_json
from hoyer_search.search.journal import open_journal
from hoyer_search.search.objectives import CONSTRAINT, CURVE, OUTLOOK, outcome
from hoyer_search.search.parameters import search_space, suggest
from hoyer_search.search.parents import by_distance
from hoyer_search.search.samplers import make_sampler
from hoyer_search.store import SweepFolder
from hoyer_search.trial.levels import levels
from hoyer_search.trial.prediction import Offset, TrialCurve

_IDENTITY = "hoyer_search:identity"
_PRESET = "preset"
_EARLIER = "hoyer_search:earlier"

TEACHERS = 100
"""Trials that a new one learns from about finetuning, the latest; more would say the same."""


class Trials(Protocol):
    """Where a study keeps its trials: a ``SweepFolder``, or memory for a sweep in virtual time."""

    @property
    def name(self) -> str:
        """Returns the sweep's name."""
        ...

    def add_trial(self, spec: TrialSpec) -> None:
        """Records a trial before it starts."""
        ...

    def spec(self, uid: str) -> TrialSpec | None:
        """Returns a trial's specification, None when there is no such trial."""
        ...

    def result(self, uid: str) -> TrialResult | None:
        """Returns how a trial ended, None while it has not."""
        ...


class Study:
    """A sweep's trials: which are to run, and how those that ran ended.

    The study and the trials' folders may disagree after a crash; ``recover`` settles it. A trial
    counts against the budget from the moment it is asked for, so that none is lost or run twice.
    It is not safe for threads: all calls come from one at a time.

    Trials of an earlier sweep come first in the study, marked by a user attribute. They are known
    to the sampler and to nothing else: numbers here start behind them, and none of them counts.
    """

    def __init__(
        self,
        folder: Trials,
        config: SweepConfig,
        storage: BaseStorage,
        *,
        earlier: Sequence[TrialResult] = (),
    ) -> None:
        self._folder = folder
        self._earlier = earlier
        self._tried = [result.params for result in earlier]
        self._config = config
        self._storage = storage
        self._space = search_space(config)
        self._relaunch: deque[TrialSpec] = deque()
        self._taught: dict[int, TrialCurve] = {}
        self._study = optuna.create_study(
            study_name=folder.name,
            storage=storage,
            directions=["maximize"] * len(config.objective.points),
            load_if_exists=True,
        )
        self._set_up()
        self.recover()

    @classmethod
    def open(cls, folder: SweepFolder, config: SweepConfig) -> "Study":
        """Opens the study in a sweep's folder, creates it when there is none, and recovers it.

        The caller holds the sweep's lock.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        earlier = folder.earlier()
        storage = open_journal(folder.study_journal)
        return cls(folder, config, storage, earlier=earlier.trials if earlier else ())

    @property
    def num_trials(self) -> int:
        """Returns the budget: all trials, at most the number of settings not tried earlier."""
        return spaces.num_trials(self._config, self._tried)

    @property
    def num_left(self) -> int:
        """Returns how many trials of the budget have not ended, whether or not they started."""
        return max(self.num_trials - self.num_ended, self.num_open)

    @property
    def num_open(self) -> int:
        """Returns how many trials were asked for and have not ended."""
        return sum(trial.state == TrialState.RUNNING for trial in self._trials())

    @property
    def num_ended(self) -> int:
        """Returns how many trials the study was told of."""
        return len(self.ended())

    @property
    def stopped_by(self) -> StopReason:
        """Returns what bounds the number of trials: the budget, or a finite space's settings."""
        untried = spaces.num_untried(self._config, self._tried)
        return "settings" if untried <= self._config.budget.trials else "trials"

    def ended(self) -> list[int]:
        """Returns the numbers of the trials that the study was told of, in that order."""
        told = [trial for trial in self._trials() if trial.state.is_finished()]
        return [self._number(trial) for trial in sorted(told, key=_end)]

    def ask(self, *, start: bool = True) -> TrialSpec | None:
        """Returns the next trial to run, None when the budget is spent.

        Trials that were started and did not end come first, then presets, then suggestions. The
        specification is on disk when it is returned.

        Args:
            start: Whether further trials may start; if not, those that were started still end.
        """
        if self._relaunch:
            return self._relaunch.popleft()
        if not start:
            return None
        if sum(trial.state != TrialState.WAITING for trial in self._trials()) >= self.num_trials:
            return None
        trial = self._study.ask()
        suggest(trial, self._space)
        return self._record(trial)

    def tell(self, result: TrialResult) -> None:
        """Records how a trial ended; telling it again changes nothing.

        Every trial becomes COMPLETE with a constraint, also a failed one: GPSampler raises when
        one has none, and learns nothing from FAIL, so that it would suggest the same again.
        ``result.json`` says which trials failed. A complete one's curves, and what was expected of
        a stopped one, are kept as user attributes, for samplers that learn from them.
        """
        trial = self._trial(result.number)
        told = outcome(result, self._config.objective)
        for name, found in self._found(result).items():
            if name not in trial.user_attrs:
                trial.set_user_attr(name, found)
        # A driver that died between the two writes has set the constraint already.
        if CONSTRAINT not in trial.constraints:
            trial.set_constraint(CONSTRAINT, told.violation)
        number = result.number + len(self._earlier)
        self._study.tell(number, told.values, skip_if_finished=True)

    def recover(self) -> None:
        """Settles what an earlier run of the driver, or of Tune, left open.

        Results that the study does not know are told; the other running trials will be asked for
        again, under the same number and uid.
        """
        self._relaunch.clear()
        asked = [t for t in self._trials() if t.state != TrialState.WAITING]
        # A fresh one: a sampler that had run before the crash would suggest the same points again.
        self._study.sampler = make_sampler(
            self._config.sampler,
            space=self._space,
            seed=self._config.seed,
            num_trials=self.num_trials,
            num_existing=len(self._earlier) + len(asked),
        )
        for frozen in asked:
            if frozen.state != TrialState.RUNNING:
                continue
            number = self._number(frozen)
            result = self._folder.result(self._uid(number))
            if result is None:
                trial = self._trial(number)
                suggest(trial, self._space)  # what a crash in the middle of `ask` left open
                self._relaunch.append(self._record(trial))
            else:
                self.tell(result)

    def _set_up(self) -> None:
        """Gives a new study its identity, what is known and the presets.

        A crash in between is made good: what is known comes before all else, one trial a write.
        """
        if _IDENTITY not in self._study.user_attrs:
            self._study.set_user_attr(_IDENTITY, uuid.uuid4().hex)
        self._identity: str = self._study.user_attrs[_IDENTITY]
        told = sum(_EARLIER in t.user_attrs for t in self._study.get_trials(deepcopy=False))
        for result in self._earlier[told:]:
            self._study.add_trial(self._told(result))
        enqueued = sum(_PRESET in trial.user_attrs for trial in self._trials())
        for index, params in enumerate(self._presets()[enqueued:], start=enqueued):
            self._study.enqueue_trial(params, user_attrs={_PRESET: index})

    def _told(self, result: TrialResult) -> FrozenTrial:
        """Returns a trial of an earlier sweep as the study is told it.

        Its outcome is that against its own dense network, on whose accuracy its floors depend.
        """
        told = outcome(result, self._config.objective)
        return create_trial(
            values=told.values,
            params={name: result.params[name] for name in self._space},
            distributions=self._space,
            user_attrs={_EARLIER: result.uid} | self._found(result),
            constraints={CONSTRAINT: told.violation},
        )

    def _found(self, result: TrialResult) -> dict[str, Any]:
        """Returns what samplers learn from a trial beyond its values, as user attributes."""
        found: dict[str, Any] = {}
        curve = TrialCurve.of(result, self._config.objective)
        if curve is not None:
            found[CURVE] = curve.to_json()
        if result.outlook is not None:
            found[OUTLOOK] = to_json(result.outlook)
        return found

    def _presets(self) -> list[dict[str, Value]]:
        """Returns the settings to try first: those given, without any that was tried earlier."""
        return [preset for preset in _presets(self._config) if preset not in self._tried]

    def _record(self, trial: Trial) -> TrialSpec:
        """Returns a trial's specification, which is on disk then."""
        number = trial.number - len(self._earlier)
        uid = self._uid(number)
        known = self._folder.spec(uid)
        if known is not None:
            return self._with_resources(known)
        trial.set_user_attr("uid", uid)
        frozen = self._storage.get_trial(self._trial_id(number))
        params = frozen.params
        spec = TrialSpec(
            number=number,
            uid=uid,
            params=params,
            config=spaces.apply_params(self._config, params).model_dump(mode="json"),
            parent=None if _PRESET in frozen.user_attrs else self._parent(params),
            knowledge=self._knowledge(),
        )
        self._folder.add_trial(spec)
        return spec

    def _parent(self, params: dict[str, Value]) -> str | None:
        """Returns the trial that one of these parameters starts from, None for the dense network.

        Trials that failed or were stopped early have no finished network to start from.
        """
        if self._config.warm_start == "dense":
            return None
        ended = [trial for trial in self._trials() if trial.state.is_finished()]
        for index in by_distance(self._space, params, [trial.params for trial in ended]):
            result = self._folder.result(self._uid(self._number(ended[index])))
            if result is not None and result.state == "complete":
                return result.uid
        return None

    def _with_resources(self, spec: TrialSpec) -> TrialSpec:
        """Returns a trial's specification with the resources that a resumed sweep may have."""
        resources = self._config.resources.model_dump(mode="json")
        if spec.config["resources"] == resources:
            return spec
        changed = dataclasses.replace(spec, config=spec.config | {"resources": resources})
        self._folder.add_trial(changed)
        return changed

    def _knowledge(self) -> Knowledge | None:
        """Returns what the trials told so far teach a new one; None before the first."""
        for trial in self._trials():
            if CURVE in trial.user_attrs and trial.number not in self._taught:
                self._taught[trial.number] = TrialCurve.from_json(trial.user_attrs[CURVE])
        return learned([self._taught[number] for number in sorted(self._taught)])

    def _uid(self, number: int) -> str:
        """Returns a trial's id: the same whenever it is asked for, unlike that of other sweeps."""
        text = f"{self._folder.name}\n{self._identity}\n{number}"
        return f"{number:03d}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"

    def _trial(self, number: int) -> Trial:
        """Returns the live trial of a number; after a restart nothing else has it."""
        return Trial(self._study, self._trial_id(number))

    def _trial_id(self, number: int) -> int:
        study_id = self._storage.get_study_id_from_name(self._study.study_name)
        at = number + len(self._earlier)
        return self._storage.get_trial_id_from_study_id_trial_number(study_id, at)

    def _number(self, trial: FrozenTrial) -> int:
        return trial.number - len(self._earlier)

    def _trials(self) -> list[FrozenTrial]:
        """Returns the sweep's own trials."""
        return self._study.get_trials(deepcopy=False)[len(self._earlier) :]


def learned(curves: Sequence[TrialCurve]) -> Knowledge | None:
    """Returns what a sweep's finished trials, oldest first, teach a new one; None before any."""
    if not curves:
        return None
    best = np.max([curve.reached(levels(curve.floors)) for curve in curves], axis=0)
    return Offset.learn(curves[-TEACHERS:]).knowledge(best)


def _end(trial: FrozenTrial) -> datetime:
    if trial.datetime_complete is None:
        raise ValueError(f"trial {trial.number} has not ended")
    return trial.datetime_complete


def _presets(config: SweepConfig) -> list[dict[str, Value]]:
    """Returns the different settings to try first, without a threshold that a curve sweeps."""
    presets: list[dict[str, Value]] = []
    for preset in config.presets:
        params = {n: v for n, v in preset.items() if n in config.search.dimensions}
        if params and params not in presets:
            presets.append(params)
    return presets
