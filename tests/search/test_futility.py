"""The rules of early stopping, on curves made by formula."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoyer_search.search.futility import (
    LEAST_TRIALS,
    Lesson,
    Track,
    forecast,
    hopeless,
    lagging,
)
from hoyer_search.trial.levels import levels

DENSE = 0.98
FLOORS = np.array([0.98, 0.975, 0.965, 0.953])
GRID = np.linspace(0.0, 10.0, 9)
NOTHING = np.full(4, np.nan)


def curve(edge: float, *, top: float = 0.98) -> np.ndarray:
    """Returns a raw curve that collapses around a log2 compression."""
    return np.stack([GRID, top - 0.88 / (1 + np.exp(-3 * (GRID - edge)))], axis=1)


def track(edge: float, *, growth: float = 0.5, gain: float = 0.004) -> Track:
    """Returns a finished trial whose curves moved by ``growth`` since its milestones."""
    final = curve(edge + growth)
    at = np.array([edge - 1.5, edge - 0.5, edge])
    raw = np.interp(at, final[:, 0], final[:, 1])
    reached = raw + 0.9 * (0.98 - raw) + gain
    milestones = {quarter: curve(edge) for quarter in (1, 2, 3)}
    return Track(milestones=milestones, final=final, finetuned=np.stack([at, reached], axis=1))


def lesson(*tracks: Track) -> Lesson:
    learned = Lesson.learn(list(tracks), quarter=1, dense=DENSE)
    assert learned is not None
    return learned


LESSON = lesson(*(track(edge) for edge in np.linspace(4, 7, 8)))


def stops(
    edge: float,
    best: np.ndarray,
    *,
    top: float = 0.98,
    learned: Lesson = LESSON,
    left: float = 0.8,
) -> bool:
    return hopeless(learned, curve(edge, top=top), dense=DENSE, levels=FLOORS, best=best, left=left)


def test_nothing_is_learned_from_too_few_trials():
    known = [track(5.0 + i / 2) for i in range(LEAST_TRIALS)]
    assert Lesson.learn(known, quarter=1, dense=DENSE) is not None
    unfinished = Track(milestones={1: curve(5.0)})
    for tracks in (known[:-1], [*known[:-1], unfinished]):
        assert Lesson.learn(tracks, quarter=1, dense=DENSE) is None
    assert Lesson.learn(known, quarter=4, dense=DENSE) is None


def test_growth_until_the_end_is_learned():
    assert LESSON.growth == pytest.approx(0.5, abs=0.1)
    late = lesson(*(track(edge, growth=2.0) for edge in (4.0, 5.0, 6.0)))
    assert late.growth == pytest.approx(2.0, abs=0.3)
    # What is far behind now is not when all trials catch up at the very end.
    best = np.array([3.0, 4.5, 5.0, 5.5])
    assert stops(3.0, best)
    assert not stops(3.0, best, learned=late)


def test_predictions_meet_what_such_trials_reached():
    for edge in (4.5, 5.5, 6.5):
        other = track(edge)
        grid, expected, _ = LESSON.predict(curve(edge), dense=DENSE, points=100)
        drops = np.interp(other.finetuned[:, 0], grid, expected)
        accuracy = DENSE - 0.01 * np.sign(drops) * (2 ** np.abs(drops) - 1)
        assert accuracy == pytest.approx(other.finetuned[:, 1], abs=0.01)


def test_few_trials_make_it_careful():
    few = lesson(*(track(edge) for edge in (4.0, 5.5, 7.0)))
    spread = [one.predict(curve(5.0), dense=DENSE, points=9)[2] for one in (few, LESSON)]
    assert np.all(spread[0] > 1.2 * spread[1])


def test_a_trial_that_is_behind_everywhere_stops_and_one_that_leads_does_not():
    best = np.array([4.5, 5.0, 5.5, 6.0])
    assert stops(3.0, best)
    assert not stops(7.0, best)


def test_a_trial_goes_on_for_less_the_nearer_its_end():
    best = np.array([4.5, 5.0, 5.5, 6.0])
    edges = np.linspace(3.0, 7.0, 41).tolist()
    first = {left: next(e for e in edges if not stops(e, best, left=left)) for left in (0.8, 0.1)}
    assert first[0.1] < first[0.8]


def test_the_first_feasible_trial_is_never_stopped():
    assert not stops(0.5, NOTHING)
    # Nor is one that alone keeps a floor, however dense its network.
    best = np.array([np.nan, 9.0, 9.0, 9.0])
    assert not stops(3.0, best)
    assert stops(3.0, best, top=0.9)


@given(
    edge=st.floats(0.5, 9),
    best=st.lists(st.floats(0, 10) | st.just(math.nan), min_size=4, max_size=4),
    better=st.lists(st.floats(0, 5), min_size=4, max_size=4),
)
def test_better_incumbents_never_save_a_trial(edge, best, better):
    incumbents = np.array(best)
    if stops(edge, incumbents):
        assert stops(edge, incumbents + np.array(better))


@given(
    edges=st.lists(st.floats(1, 9), min_size=LEAST_TRIALS, max_size=6),
    growth=st.floats(-1, 2),
    gain=st.floats(-0.05, 0.05),
)
def test_more_compression_never_means_more_accuracy(edges, growth, gain):
    learned = lesson(*(track(edge, growth=growth, gain=gain) for edge in edges))
    grid, drops, std = learned.predict(curve(5.0), dense=DENSE, points=50)
    assert np.all(np.diff(grid) > 0)
    assert np.all(np.diff(drops) >= -1e-9)
    assert np.isfinite(drops).all()
    assert np.all(std > 0)


def test_forecasts_are_in_the_unit_of_objectives():
    expected = forecast(LESSON, curve(5.0), dense=DENSE, floors=FLOORS)
    assert np.all(np.diff(expected) >= 0), "a lower floor allows more compression"
    assert 3.5 < expected[1] < 6
    lost = forecast(LESSON, curve(5.0, top=0.7), dense=DENSE, floors=FLOORS)
    assert np.all(lost < -1)
    assert np.all(np.diff(lost) > 0), "a lower floor is missed by less"
    assert forecast(None, curve(5.0), dense=DENSE, floors=FLOORS)[1] == pytest.approx(
        expected[1], abs=1.5
    )


def test_accuracies_between_floors_are_watched():
    watched = levels(FLOORS[[2, 0, 3, 1]])
    assert watched == pytest.approx([0.98, 0.9775, 0.975, 0.97, 0.965, 0.959, 0.953])
    assert levels(np.array([0.9])) == pytest.approx([0.9])


def test_halving_keeps_the_better_half_and_all_leaders():
    read = [np.array([a, b]) for a, b in ((5.0, 1.0), (1.0, 6.0), (2.0, 2.0), (3.0, 3.0))]
    assert not lagging(read[:1], read[2]), "two trials say nothing"
    assert not lagging([read[0], read[2], read[3]], read[1])
    assert lagging(read[:2] + read[3:], read[2])
    assert not lagging(read[1:], read[0])
    assert lagging(read[:3], np.array([1.0, 1.0]))
