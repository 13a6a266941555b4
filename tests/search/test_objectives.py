import dataclasses
import math

import pytest
import toy_pipeline as toy

from hoyer_search.config import Objective
from hoyer_search.results import TrialResult, TrialSpec
from hoyer_search.search.objectives import outcome, shortfall

SPEC = TrialSpec(number=3, uid="003-abc", params={"decay": 1e-3}, config={})
OBJECTIVE = Objective(points={"A": 0.0, "B": 0.01, "C": 0.05})  # floors 0.98, 0.97, 0.93


def trial(*points: tuple[float, int], state: str = "complete") -> TrialResult:
    return TrialResult(
        number=3,
        uid=SPEC.uid,
        params=SPEC.params,
        state=state,
        dense=toy.DENSE,
        points=[
            toy.point(SPEC, index=i, val_accuracy=a, nonzeros=n) for i, (a, n) in enumerate(points)
        ],
    )


def test_each_objective_is_the_best_compression_that_keeps_its_floor():
    told = outcome(trial((0.985, 50_000), (0.98, 25_000), (0.94, 6_250)), OBJECTIVE)
    assert told.values == pytest.approx([2.0, 2.0, 4.0])  # a floor is kept when it is met exactly
    assert told.violation < 0


def test_values_follow_the_order_of_the_configuration():
    loosest_first = Objective(points={"C": 0.05, "A": 0.0})
    assert outcome(trial((0.94, 6_250)), loosest_first).values == pytest.approx(
        [4.0, -math.log2(1 + 0.04 / 0.01)]
    )


def test_an_absolute_floor_counts_as_itself():
    told = outcome(trial((0.96, 50_000)), Objective(points={"A": {"floor": 0.97}}))
    assert told.values == pytest.approx([-1.0])
    assert told.violation == pytest.approx(1.0)


def test_other_sparsities_are_taken_from_their_field():
    told = outcome(trial((0.98, 50_000)), Objective(points={"A": 0.0}, sparsity="latency_ms"))
    assert told.values == pytest.approx([1.0])  # 1.0 ms dense, 0.5 ms shrunk


def test_an_infeasible_trial_is_worse_the_more_accuracy_it_lacks():
    accuracies = [0.9799, 0.97, 0.9, 0.5, 0.0]
    told = [outcome(trial((a, 1000)), Objective(points={"A": 0.0})) for a in accuracies]
    values = [t.values[0] for t in told]
    assert values == sorted(values, reverse=True)
    assert -7 < values[-1] < values[0] < 0
    assert [t.violation for t in told] == pytest.approx([-v for v in values])


def test_feasible_is_who_keeps_the_loosest_floor():
    assert outcome(trial((0.931, 10)), OBJECTIVE).violation < 0
    assert outcome(trial((0.929, 10)), OBJECTIVE).violation > 0


@pytest.mark.parametrize(
    "lost", [trial(state="complete"), trial((0.99, 10), state="failed"), trial(state="stopped")]
)
def test_trials_without_a_usable_point_have_lost_everything(lost):
    told = outcome(lost, OBJECTIVE)
    assert told.values == [-shortfall(1.0)] * 3
    assert told.violation == shortfall(1.0)
    worst = outcome(trial((0.0, 1)), OBJECTIVE)
    assert all(a < b for a, b in zip(told.values, worst.values, strict=True))


def test_a_stopped_trial_counts_as_what_was_expected_of_it_and_as_infeasible():
    stopped = dataclasses.replace(trial(state="stopped"), forecast={"A": -0.5, "B": 1.0, "C": 3.0})
    assert outcome(stopped, OBJECTIVE).values == [-0.5, 1.0, 3.0]
    assert 0 < outcome(stopped, OBJECTIVE).violation < 0.01
    hopeless = dataclasses.replace(stopped, forecast={"A": -3.0, "B": -2.5, "C": -2.0})
    assert outcome(hopeless, OBJECTIVE).violation == 2.0
