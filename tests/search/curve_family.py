"""A family of invented sweeps whose best points are known: curves over one to three parameters.

As in real ones, a stronger decay moves the collapse of accuracy to higher compression and costs
accuracy everywhere, so that every floor has its own best decay. Other parameters have a best value
that depends on nothing. Training, finetuning and evaluation are noisy.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import FloatDistribution

from hoyer_search.config import Objective
from hoyer_search.results import CurvePoint, Dense, Point, TrialResult
from hoyer_search.search.objectives import CONSTRAINT, CURVE, outcome
from hoyer_search.search.parameters import suggest
from hoyer_search.search.samplers import make_sampler
from hoyer_search.trial.prediction import TrialCurve
from hoyer_search.trial.selection import Selection

OBJECTIVE = Objective(points={"A": 0.0, "B": 0.005, "C": 0.015, "D": 0.027})
FLOORS = np.array(list(OBJECTIVE.floors(0.98).values()))
SIZE = 266_200
DENSE = Dense(
    val_accuracy=0.98,
    test_accuracy=0.98,
    nonzeros=SIZE,
    macs=SIZE,
    parameters=SIZE,
    structure="",
    latency_ms=1.0,
)
GRID = np.linspace(0.3, 10.0, 40)
MAX_POINTS = 3


@dataclass(frozen=True)
class Family:
    """One invented task; ``best`` holds the log2 compression reachable at each floor."""

    dimensions: int
    seed: int

    def __post_init__(self):
        rng = np.random.default_rng((self.seed, self.dimensions))
        put = lambda name, *bounds: object.__setattr__(self, name, rng.uniform(*bounds))  # noqa: E731
        put("limit", 0.35, 0.75)  # decay beyond which accuracy is lost
        put("limit_slope", 8, 14)
        put("start", 2.0, 3.5)
        put("gain", 2.0, 4.0)  # doublings that decay adds
        put("middle", 0.2, 0.5)
        put("steepness", 1.2, 2.5)
        put("raw_steepness", 1.5, 3.0)
        put("gap", 0.7, 1.5)  # doublings between the collapse before and after finetuning
        put("penalty", 2.0, 6.0)
        object.__setattr__(self, "optimum", rng.uniform(0.1, 0.9, self.dimensions - 1))

    @property
    def space(self):
        return {"decay": FloatDistribution(1e-5, 1e-3, log=True)} | {
            f"weight{i}": FloatDistribution(0.1, 10.0, log=True) for i in range(1, self.dimensions)
        }

    def best(self):
        decays = np.linspace(0, 1, 1001)
        fine = np.linspace(0.3, 12.0, 2000)
        reached = np.full(len(FLOORS), -1.0)
        for decay in decays:
            u = np.array([decay, *self.optimum])
            base, knee = self.shape(u)
            accuracy = 0.98 - self.drop(fine, base, knee, self.steepness)
            for k, floor in enumerate(FLOORS):
                kept = np.flatnonzero(accuracy >= floor)
                if len(kept):
                    reached[k] = max(reached[k], fine[kept[-1]])
        return reached

    def shape(self, u):
        off = float(np.sum((u[1:] - self.optimum) ** 2))
        base = -0.0015 + 0.004 * 2 ** (self.limit_slope * (u[0] - self.limit)) + 0.01 * off
        knee = self.start + self.gain / (1 + math.exp(-7 * (u[0] - self.middle)))
        return min(base, 0.5), knee - self.penalty * off

    def drop(self, c, base, knee, steepness):
        return np.minimum(base + 0.01 * 2 ** np.minimum(steepness * (c - knee), 10), 0.88)

    def run(self, number, params, *, threshold=None):
        """Returns a trial's result: of the whole curve, or of one threshold in [0, 1]."""
        rng = np.random.default_rng((self.seed, number, int(1e6 * params["decay"])))
        u = np.array(
            [math.log10(params["decay"] / 1e-5) / 2]
            + [math.log10(params[f"weight{i}"] / 0.1) / 2 for i in range(1, self.dimensions)]
        )
        base, knee = self.shape(u)
        base += rng.normal(0, 0.0008)
        knee += rng.normal(0, 0.12)
        raw = 0.979 - self.drop(GRID, base, knee - self.gap, self.raw_steepness)
        raw += rng.normal(0, 0.0007, len(GRID))
        tuned = 0.98 - self.drop(GRID, base, knee, self.steepness)
        tuned += rng.normal(0, 0.001, len(GRID))
        curve = [
            CurvePoint(threshold=c, val_accuracy=float(a), nonzeros=round(SIZE / 2**c), macs=1)
            for c, a in zip(GRID.tolist(), raw, strict=True)
        ]
        chosen: dict[int, float] = {}
        if threshold is not None:
            i = round(threshold * (len(GRID) - 1))
            chosen[i] = float(tuned[i])
        else:
            chosen = finetune(curve, tuned)
        points = [
            Point(
                trial=number,
                uid=str(number),
                index=k,
                params=params,
                threshold=float(GRID[i]),
                raw_val_accuracy=curve[i].val_accuracy,
                val_accuracy=chosen[i],
                test_accuracy=chosen[i],
                nonzeros=curve[i].nonzeros,
                macs=1,
                physical_macs=1,
                parameters=1,
                structure="",
                exactness=0.0,
                latency_ms={"dense": 1.0, "shrunk": 1.0},
                layers=[],
            )
            for k, i in enumerate(sorted(chosen))
        ]
        return TrialResult(
            number=number,
            uid=str(number),
            params=params,
            state="complete",
            dense=DENSE,
            curve=curve if threshold is None else [],
            points=points,
        )


def finetune(curve, tuned):
    """Returns what a trial's choice of thresholds on the grid reached, by place on it."""
    selection = Selection(curve, dense=DENSE, objective=OBJECTIVE, max_points=MAX_POINTS)
    places = {point.threshold: i for i, point in enumerate(curve)}
    chosen = {}
    while point := selection.next(lambda t: min(curve, key=lambda p: abs(p.threshold - t))):
        chosen[places[point.threshold]] = float(tuned[places[point.threshold]])
        selection.add(point, chosen[places[point.threshold]])
    return chosen


def new_study(space, sampler, *, seed, trials):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if isinstance(sampler, str):
        sampler = make_sampler(sampler, space=space, seed=seed, num_trials=trials)
    return optuna.create_study(directions=["maximize"] * len(FLOORS), sampler=sampler)


def tell(study, trial, result):
    """Tells an in-memory study what ``Study.tell`` tells a sweep's."""
    told = outcome(result, OBJECTIVE)
    curve = TrialCurve.of(result, OBJECTIVE)
    if curve is not None and result.curve:
        trial.set_user_attr(CURVE, curve.to_json())
    trial.set_constraint(CONSTRAINT, told.violation)
    study.tell(trial, told.values)


def sweep(family, sampler, *, seed, trials, workers=1, joint=False):
    """Returns the told values of a sweep in the order of their end, shape (trials, floors)."""
    space = family.space
    if joint:
        space = space | {"threshold": FloatDistribution(0.0, 1.0)}
    study = new_study(space, sampler, seed=seed, trials=trials)
    live, values = [], []
    for number in itertools.count():
        if number < trials:
            trial = study.ask()
            suggest(trial, space)
            live.append(trial)
        if len(live) == workers or number >= trials:
            if not live:
                break
            done = live.pop(0)
            params = dict(done.params)
            threshold = params.pop("threshold", None)
            result = family.run(done.number, params, threshold=threshold)
            tell(study, done, result)
            values.append(outcome(result, OBJECTIVE).values)
    return np.array(values)


def regret(family, values):
    """Returns the doublings missing at each floor after each trial, shape (trials, floors)."""
    best = np.maximum.accumulate(np.maximum(values, 0.0), axis=0)
    return family.best() - best
