"""A sweep in virtual time: the real study and sampler, with a surrogate in place of training."""

import dataclasses
import heapq
import math
from dataclasses import dataclass, field

import optuna
from optuna.storages import InMemoryStorage

from hoyer_search.config import SweepConfig
from hoyer_search.front import Front
from hoyer_search.results import CurvePoint, Dense, Point, TrialResult, TrialSpec
from hoyer_search.search.early_stopping import EarlyStopping, Expected
from hoyer_search.search.simulate.recording import Finetuned, Milestone, Training
from hoyer_search.search.simulate.surrogate import Surrogate
from hoyer_search.search.study import Study
from hoyer_search.trial.milestones import milestone_quarters, probe
from hoyer_search.trial.selection import Selection


@dataclass(frozen=True, slots=True)
class Standing:
    """How good a sweep is after some of its trials, and what it cost.

    Attributes:
        seconds: Virtual time since the first trial started.
        hypervolume: Of the front so far.
        doublings: log2 of the best compression by operating point; 0 where no point keeps the
            floor, as for the dense network.
        epochs: Epochs of regularizing and finetuning of the trials that ended.
        whole_epochs: What they would have been if none of these trials had been stopped.
        stopped: Trials that were stopped.
        false_stops: Those of them that would have improved an operating point.
    """

    seconds: float
    hypervolume: float
    doublings: dict[str, float]
    epochs: int = 0
    whole_epochs: int = 0
    stopped: int = 0
    false_stops: int = 0


def simulate(
    surrogate: Surrogate, config: SweepConfig, *, dense: Dense, workers: int = 1
) -> list[Standing]:
    """Runs a whole sweep and returns its standing after each trial, in the order of their ends.

    A free worker gets its next trial at once, and the study has then been told all that ended.

    Args:
        surrogate: Gives the trials' curves and accuracies.
        config: The sweep: space, objective, sampler, early stopping, number of trials, seed.
        dense: The dense network.
        workers: How many trials run at once, at least 1.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = Study(_Memory("simulated"), config, InMemoryStorage())
    replay = TrialReplay(surrogate, config, dense)
    stopping = EarlyStopping(config, dense) if config.stops_early else None
    events: list[tuple[float, int, Replayed]] = []
    points, standings = list[Point](), list[Standing]()

    def start(now: float) -> None:
        spec = study.ask()
        if spec is not None:
            trial = replay.run(spec)
            heapq.heappush(events, (now + trial.until_next, spec.number, trial))

    for _ in range(workers):
        start(0.0)
    while events:
        now, number, trial = heapq.heappop(events)
        if trial.milestones and stopping is not None:
            reached, *left = trial.milestones
            expected = stopping.verdict(trial.result.uid, reached.quarter, reached.curve)
            if expected is None:
                trial = dataclasses.replace(trial, milestones=left, spent=reached.seconds)
                heapq.heappush(events, (now + trial.until_next, number, trial))
                continue
            trial = trial.stop(expected)
        last = standings[-1] if standings else _NOTHING
        study.tell(trial.result)
        if stopping is not None:
            stopping.learn(trial.result)
        points += trial.result.points
        after = standing(points, config, dense=dense, seconds=now)
        would = standing([*points, *trial.forgone], config, dense=dense, seconds=now)
        standings.append(
            dataclasses.replace(
                after,
                epochs=last.epochs + trial.epochs,
                whole_epochs=last.whole_epochs + trial.whole_epochs,
                stopped=last.stopped + (trial.result.state == "stopped"),
                false_stops=last.false_stops + (would.doublings != after.doublings),
            )
        )
        start(now)
    return standings


def standing(points: list[Point], config: SweepConfig, *, dense: Dense, seconds: float) -> Standing:
    """Returns how good a set of finetuned points is."""
    objective = config.objective
    front = Front.of(
        points,
        dense=dense,
        sparsity=objective.sparsity,
        floors=objective.floors(dense.val_accuracy),
    )
    best = front.operating_points
    return Standing(
        seconds=seconds,
        hypervolume=front.hypervolume,
        doublings={
            name: 0.0 if (point := best[name]) is None else math.log2(front.compression(point))
            for name in objective.points
        },
    )


@dataclass(frozen=True, slots=True)
class Look:
    """A look at a simulated trial before its end.

    Attributes:
        quarter: Of regularizing.
        epoch: Epochs done.
        curve: The raw curve, at the thresholds that a trial evaluates there.
        seconds: Of the trial until the look is done.
    """

    quarter: int
    epoch: int
    curve: list[CurvePoint]
    seconds: float


@dataclass(frozen=True, slots=True)
class Replayed:
    """A simulated trial.

    Attributes:
        result: How it ends.
        epochs: Its epochs of regularizing and finetuning.
        whole_epochs: The same if it is not stopped.
        milestones: What is to come before its end.
        spent: Seconds until the last milestone, 0 before the first.
        forgone: Points that it would have had.
    """

    result: TrialResult
    epochs: int
    whole_epochs: int
    milestones: list[Look]
    spent: float = 0.0
    forgone: list[Point] = field(default_factory=list)

    @property
    def until_next(self) -> float:
        """Returns the seconds from the last milestone to the next, or to the end."""
        ahead = [look.seconds for look in self.milestones[:1]]
        return (ahead or [sum(self.result.wall_seconds.values())])[0] - self.spent

    def stop(self, expected: Expected) -> "Replayed":
        """Returns the trial stopped at its next milestone."""
        look = self.milestones[0]
        result = dataclasses.replace(
            self.result,
            state="stopped",
            curve=look.curve,
            points=[],
            wall_seconds={"regularize": look.seconds},
            forecast=expected.forecast,
            outlook=expected.outlook,
        )
        return dataclasses.replace(
            self, result=result, epochs=look.epoch, milestones=[], forgone=self.result.points
        )


class TrialReplay:
    """Runs trials as ``trial.pipeline`` does, with a surrogate in place of training."""

    def __init__(self, surrogate: Surrogate, config: SweepConfig, dense: Dense) -> None:
        self._surrogate, self._config, self._dense = surrogate, config, dense

    def run(self, spec: TrialSpec) -> Replayed:
        """Returns a trial that is not stopped: milestones, curve, and the chosen finetunings."""
        searched = spec.params.get("threshold")
        training = self._train(spec, None if searched is None else [float(searched)])
        last = training.milestones[-1]
        selection = Selection(
            last.curve,
            dense=self._dense,
            objective=self._config.objective,
            max_points=self._config.pipeline.finetune.max_points,
            knowledge=spec.knowledge,
        )
        known = {one.threshold: one for one in training.finetuned}

        def evaluate(threshold: float) -> CurvePoint:
            extra = self._train(spec, [threshold])
            known[extra.finetuned[0].threshold] = extra.finetuned[0]
            return extra.milestones[-1].curve[0]

        chosen: list[Finetuned] = []
        while (point := selection.next(evaluate)) is not None:
            chosen.append(known[point.threshold])
            selection.add(point, chosen[-1].val_accuracy)
        chosen.sort(key=lambda one: -one.nonzeros)
        per_threshold = last.wall_seconds / len(last.curve)
        looks = self._looks(training if searched is None else self._train(spec, None))
        watching = looks[-1].seconds - self._share(looks[-1], last) if looks else 0.0
        result = TrialResult(
            number=spec.number,
            uid=spec.uid,
            params=spec.params,
            state="complete",
            dense=self._dense,
            curve=selection.curve,
            points=[to_point(spec, i, one) for i, one in enumerate(chosen)],
            wall_seconds={
                "regularize": training.wall_seconds + watching,
                "curve": per_threshold * len(selection.curve),
                "finetune": sum(one.wall_seconds for one in chosen),
            },
        )
        epochs = last.epoch + len(chosen) * self._config.pipeline.finetune.epochs
        return Replayed(result, epochs=epochs, whole_epochs=epochs, milestones=looks)

    def _looks(self, training: Training) -> list[Look]:
        """Returns a trial's milestones: none when no trial is stopped."""
        if not self._config.stops_early:
            return []
        quarters = milestone_quarters(training.milestones[-1].epoch)
        looks, watching = list[Look](), 0.0
        for one in training.milestones[:-1]:
            if one.epoch in quarters:
                accuracies = [point.val_accuracy for point in one.curve]
                curve = [one.curve[i] for i in probe(accuracies.__getitem__, len(accuracies))]
                watching += len(curve) * self._surrogate.threshold_seconds
                look = Look(quarters[one.epoch], one.epoch, curve, 0.0)
                seconds = self._share(look, training.milestones[-1]) + watching
                looks.append(dataclasses.replace(look, seconds=seconds))
        return looks

    def _share(self, look: Look, last: Milestone) -> float:
        """Returns the seconds of training until a milestone."""
        return self._surrogate.regularize_seconds * look.epoch / last.epoch

    def _train(self, spec: TrialSpec, thresholds: list[float] | None) -> Training:
        return self._surrogate.train(spec.params, seed=self._config.seed, thresholds=thresholds)


def to_point(spec: TrialSpec, index: int, finetuned: Finetuned) -> Point:
    """Returns a finetuned threshold as the point of a trial.

    A recording has no shapes: a shrunk network counts as large as the masked one, and there is
    neither a structure nor a latency.
    """
    return Point(
        trial=spec.number,
        uid=spec.uid,
        index=index,
        params=spec.params,
        threshold=finetuned.threshold,
        raw_val_accuracy=finetuned.raw_val_accuracy,
        val_accuracy=finetuned.val_accuracy,
        test_accuracy=finetuned.test_accuracy,
        nonzeros=finetuned.nonzeros,
        macs=finetuned.macs,
        physical_macs=finetuned.macs,
        parameters=finetuned.nonzeros,
        structure="",
        exactness=0.0,
        latency_ms={"dense": math.nan, "shrunk": math.nan},
        layers=[],
    )


_NOTHING = Standing(seconds=0.0, hypervolume=0.0, doublings={})


@dataclass(frozen=True, slots=True)
class _Memory:
    """The trials of a simulated sweep, kept in memory."""

    name: str
    specs: dict[str, TrialSpec] = field(default_factory=dict)

    def add_trial(self, spec: TrialSpec) -> None:
        self.specs[spec.uid] = spec

    def spec(self, uid: str) -> TrialSpec | None:
        return self.specs.get(uid)

    def result(self, uid: str) -> TrialResult | None:
        return None  # a simulated trial is told as soon as it ends
