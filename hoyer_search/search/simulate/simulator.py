"""A sweep in virtual time: the real study and sampler, with a surrogate in place of training."""

import heapq
import math
from dataclasses import dataclass, field

import optuna
from optuna.storages import InMemoryStorage

from hoyer_search.config import SweepConfig
from hoyer_search.front import Front
from hoyer_search.results import CurvePoint, Dense, Point, TrialResult, TrialSpec
from hoyer_search.search.simulate.recording import Finetuned, Training
from hoyer_search.search.simulate.surrogate import Surrogate
from hoyer_search.search.study import Study
from hoyer_search.trial.selection import Selection


@dataclass(frozen=True, slots=True)
class Standing:
    """How good a sweep is after some of its trials.

    Attributes:
        seconds: Virtual time since the first trial started.
        hypervolume: Of the front so far.
        doublings: log2 of the best compression by operating point; 0 where no point keeps the
            floor, as for the dense network.
    """

    seconds: float
    hypervolume: float
    doublings: dict[str, float]


def simulate(
    surrogate: Surrogate, config: SweepConfig, *, dense: Dense, workers: int = 1
) -> list[Standing]:
    """Runs a whole sweep and returns its standing after each trial, in the order of their ends.

    A free worker gets its next trial at once, and the study has then been told all that ended.

    Args:
        surrogate: Gives the trials' curves and accuracies.
        config: The sweep: space, objective, sampler, number of trials, seed.
        dense: The dense network.
        workers: How many trials run at once, at least 1.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = _Memory("simulated")
    study = Study(folder, config, InMemoryStorage())
    replay = TrialReplay(surrogate, config, dense)
    running: list[tuple[float, int, TrialResult]] = []
    now, points, standings = 0.0, list[Point](), list[Standing]()
    for _ in range(workers):
        _start(study, replay, running, now)
    while running:
        now, _, result = heapq.heappop(running)
        study.tell(result)
        points += result.points
        standings.append(standing(points, config, dense=dense, seconds=now))
        _start(study, replay, running, now)
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


class TrialReplay:
    """Runs trials as ``trial.pipeline`` does, with a surrogate in place of training."""

    def __init__(self, surrogate: Surrogate, config: SweepConfig, dense: Dense) -> None:
        self._surrogate, self._config, self._dense = surrogate, config, dense

    def run(self, spec: TrialSpec) -> TrialResult:
        """Returns how a trial ends: its curve, and the thresholds that it chose to finetune."""
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
        return TrialResult(
            number=spec.number,
            uid=spec.uid,
            params=spec.params,
            state="complete",
            dense=self._dense,
            curve=selection.curve,
            points=[to_point(spec, i, one) for i, one in enumerate(chosen)],
            wall_seconds={
                "regularize": training.wall_seconds,
                "curve": per_threshold * len(selection.curve),
                "finetune": sum(one.wall_seconds for one in chosen),
            },
        )

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


def _start(
    study: Study, replay: TrialReplay, running: list[tuple[float, int, TrialResult]], now: float
) -> None:
    spec = study.ask()
    if spec is not None:
        result = replay.run(spec)
        end = now + sum(result.wall_seconds.values())
        heapq.heappush(running, (end, result.number, result))


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
