"""Which thresholds are finetuned."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyer_search.config import Floor, Objective
from hoyer_search.results import CurvePoint, Dense, Knowledge
from hoyer_search.trial.levels import levels, weights
from hoyer_search.trial.prediction import Offset, doublings
from hoyer_search.trial.selection import Selection

SIZE = 100_000
DENSE = Dense(
    val_accuracy=0.98,
    test_accuracy=0.98,
    nonzeros=SIZE,
    macs=SIZE,
    parameters=SIZE,
    structure="",
    latency_ms=1.0,
)
POINTS = {"A": 0.0, "B": 0.01, "C": 0.03}
OBJECTIVE = Objective(points=POINTS)
FLOORS = np.array([0.98, 0.97, 0.95])


def point(compression, knee=4.0):
    """Returns a network that loses a point of accuracy at the knee, four times more each doubling.

    Its threshold is the log2 compression.
    """
    lost = min(0.01 * 4 ** (compression - knee), 0.88)
    size = round(SIZE / 2**compression)
    return CurvePoint(threshold=compression, val_accuracy=0.98 - lost, nonzeros=size, macs=size)


def curve(knee=4.0):
    return [point(c, knee) for c in np.linspace(0.0, 8.0, 33).tolist()]


def tuned(compression, *, knee=5.5, top=0.983):
    """Returns what finetuning reaches: the knee moves, and the regularizer is gone."""
    return top - min(0.01 * 4 ** (compression - knee), 0.88)


def limit(floor, **shape):
    """Returns the log2 compression at which finetuned accuracy falls to a floor."""
    grid = np.linspace(0.0, 8.0, 8001)
    return float(grid[[tuned(c, **shape) >= floor for c in grid]][-1])


def knowledge(*best):
    """Returns what a sweep knows that has these compressions at A, B and C."""
    held = [max(b for b, f in zip(best, FLOORS, strict=True) if f >= a) for a in LEVELS]
    return Offset.learn([]).knowledge(np.array(held))


LEVELS = levels(FLOORS).tolist()


def run(raw, *, known=None, objective=OBJECTIVE, max_points=3, **shape):
    """Returns the chosen compressions in their order, and the selection."""
    selection = Selection(
        raw, dense=DENSE, objective=objective, max_points=max_points, knowledge=known
    )
    chosen = []
    while (one := selection.next(lambda t: point(t, 4.0))) is not None:
        chosen.append(one.threshold)
        selection.add(one, tuned(one.threshold, **shape))
    return chosen, selection


@settings(max_examples=15, deadline=None)
@given(
    knee=st.floats(2.0, 7.0),
    top=st.floats(0.90, 0.99),
    max_points=st.integers(1, 5),
    best=st.none() | st.floats(0.0, 8.0),
)
def test_at_most_max_points_and_none_twice(knee, top, max_points, best):
    known = None if best is None else knowledge(best, best, best)
    chosen, selection = run(curve(), known=known, max_points=max_points, knee=knee, top=top)
    assert 1 <= len(chosen) <= max_points
    sizes = [p.nonzeros for p in selection.curve if p.threshold in chosen]
    assert len(set(sizes)) == len(chosen)
    assert [p.threshold for p in selection.curve] == sorted(p.threshold for p in selection.curve)
    assert run(curve(), known=known, max_points=max_points, knee=knee, top=top)[0] == chosen


def test_three_finetunings_come_near_what_every_floor_allows():
    chosen, _ = run(curve())
    for floor in FLOORS:
        best = max((c for c in chosen if tuned(c) >= floor), default=0.0)
        assert best > limit(floor) - 1.2
    assert any(tuned(c) >= FLOORS[0] for c in chosen)


def test_the_strictest_floor_is_served_when_undecided():
    first = run(curve(), max_points=1)[0][0]
    assert tuned(first) >= FLOORS[1]
    assert first < limit(FLOORS[2]) - 0.5


def test_a_threshold_between_two_of_the_curve_is_evaluated_and_chosen():
    coarse = curve()[::4]
    chosen, selection = run(coarse, knee=6.0)
    between = [c for c in chosen if c not in {p.threshold for p in coarse}]
    assert between
    assert set(between) <= {p.threshold for p in selection.curve}
    assert len(selection.curve) <= len(coarse) + 3 * len(chosen)


def test_floors_weigh_more_than_what_lies_between_and_the_strictest_most():
    assert weights(1).tolist() == [3.0]
    assert weights(5).tolist() == [3.0, 1.0, 2.0, 1.0, 2.0]


def test_a_missed_floor_is_tried_again_and_denser():
    selection = Selection(
        curve(), dense=DENSE, objective=Objective(points={"B": 0.01}), max_points=2
    )
    first = selection.next(point)
    selection.add(first, 0.965)
    second = selection.next(point)
    assert second.threshold < first.threshold


def test_a_trial_that_can_improve_nothing_finetunes_once():
    chosen, _ = run(curve(), known=knowledge(7.5, 7.5, 7.5))
    assert len(chosen) == 1
    assert tuned(chosen[0]) >= FLOORS[1], "and not where nothing is left of the network"


def test_only_what_the_sweep_lacks_is_finetuned():
    at_b = limit(FLOORS[1]) + 0.1
    known = knowledge(limit(FLOORS[0]) + 0.3, at_b, at_b)
    chosen, _ = run(curve(), known=known)
    assert all(c > limit(FLOORS[1]) for c in chosen)
    assert max(c for c in chosen if tuned(c) >= FLOORS[2]) > at_b


def test_nothing_is_spent_on_a_hopeless_floor():
    hopeless = Objective(points={"A": Floor(floor=0.999), "C": 0.03})
    without = Objective(points={"C": 0.03})
    chosen, _ = run(curve(), objective=hopeless)
    assert all(abs(c - limit(FLOORS[2])) < 2.0 for c in chosen[:2])  # the last may hope
    alone = run(curve(), objective=without)[0]
    assert len(chosen) <= len(alone) + 1
    far, _ = run(curve(), objective=Objective(points={"A": Floor(floor=1.0)}), top=0.97)
    assert len(far) == 1


def test_networks_that_answer_by_chance_are_not_finetuned():
    """The first trial knows little, and the emptiest network would be worth most by far."""
    real = {0.0: 0.980, 2.9: 0.980, 3.9: 0.979, 5.0: 0.947, 6.4: 0.285, 8.9: 0.099, 16.6: 0.100}
    grid = np.linspace(0.0, 16.6, 40).tolist()

    def network(c):
        accuracy = float(np.interp(c, list(real), list(real.values())))
        return dataclasses.replace(point(c), val_accuracy=accuracy)

    selection = Selection(list(map(network, grid)), dense=DENSE, objective=OBJECTIVE, max_points=3)
    reached = iter((0.979, 0.978, 0.98))
    while (one := selection.next(network)) is not None:
        assert one.val_accuracy > 0.11
        selection.add(one, next(reached))


def test_what_the_sweep_learned_moves_the_first_choice():
    prior = Offset.learn([])
    sure = 1e-4 * np.eye(len(prior.surface))
    surfaces = [np.where(np.arange(10) == 0, shift, 0.0) for shift in (-0.6, 0.0, 0.6)]
    taught = [Offset(surface, sure, 0.1).knowledge(np.zeros(1)) for surface in surfaces]
    one = Objective(points={"B": 0.01})
    chosen = [run(curve(), objective=one, max_points=1, known=k)[0][0] for k in taught]
    assert chosen[0] > chosen[1] > chosen[2]
    assert np.array_equal(Offset.of(prior.knowledge(np.zeros(1))).covariance, prior.covariance)


def test_points_of_one_threshold_are_not_chosen_for_ever():
    several = [dataclasses.replace(one, threshold=1.0) for one in curve()]
    selection = Selection(several, dense=DENSE, objective=OBJECTIVE, max_points=3)
    chosen = selection.next(point)
    assert chosen is not None
    selection.add(chosen, 0.9)
    assert selection.next(point) is None


def test_a_single_threshold_is_finetuned_once():
    assert run([point(5.0)])[0] == [5.0]


@pytest.mark.parametrize("sparsity", ["macs", "physical_macs", "parameters", "latency_ms"])
def test_every_objective_has_its_measure(sparsity):
    raw = [dataclasses.replace(p, macs=math.ceil(p.macs / 2)) for p in curve()]
    chosen, _ = run(raw, objective=Objective(points=POINTS, sparsity=sparsity))
    assert 1 <= len(chosen) <= 3


def test_levels_are_the_floors_and_between():
    assert np.allclose(LEVELS, [0.98, 0.975, 0.97, 0.96, 0.95])
    assert levels(np.array([0.9, 0.9])).tolist() == [0.9]


def test_what_an_older_version_learned_is_forgotten():
    old = Knowledge(covariance=np.eye(3).tolist(), deviation=0.2, best=[1.0] * 5)
    assert np.array_equal(Offset.of(old).covariance, Offset.learn([]).covariance)
    assert run(curve(), known=old)[0]


def test_knowledge_is_plain_numbers():
    known = knowledge(1.0, 2.0, 3.0)
    assert isinstance(known, Knowledge)
    assert known.best == [1.0, 1.0, 2.0, 2.0, 3.0]
    assert doublings(0.01) == 1.0
