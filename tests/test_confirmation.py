"""Winners trained again: the verdict, its mean and spread, and what is left out."""

import pytest
from test_front import make_front, make_point

from hoyer_search.confirmation import Spread, confirmations, confirmed_by_point, spread_text
from hoyer_search.results import Point, Retraining, TrialResult

WINNER = make_point(3, 0.981, 100, threshold=0.2)


def again(repeat: int, *points: Point, uid: str = WINNER.uid, **changes) -> TrialResult:
    retraining = Retraining(uid=uid, repeat=repeat, seed=repeat, thresholds=[0.1, 0.2])
    values = {"number": 3, "uid": f"{uid}-r{repeat}", "params": {}, "state": "complete"}
    return TrialResult(**(values | {"points": list(points), "retrains": retraining} | changes))


def reached(accuracy: float, nonzeros: int = 100, threshold: float = 0.2) -> Point:
    return make_point(3, accuracy, nonzeros, threshold=threshold)


def found(*retrainings: TrialResult, wanted: int = 3):
    return confirmations(make_front(WINNER), retrainings, wanted=wanted)


def test_the_mean_of_all_retrainings_decides_at_each_floor():
    one = found(
        again(1, reached(0.982, 90)), again(2, reached(0.976, 110)), again(3, reached(0.979, 130))
    )
    assert {name: c.confirmed for name, c in one.items()} == {"A": False, "B": True, "D": True}
    accuracy = one["A"].spreads["val_accuracy"]
    assert accuracy.mean == pytest.approx(0.979)
    assert accuracy.std == pytest.approx(0.003)
    assert (accuracy.min, accuracy.max) == (0.976, 0.982)
    assert one["A"].spreads["nonzeros"].mean == 110
    assert confirmed_by_point(one.values()) == {WINNER.name: False}, "it wins at A as well"
    described = one["B"].describe()
    assert (described["confirmed"], described["retrained"], described["failed"]) == (True, 3, 0)
    assert described["macs"]["max"] == 4 * 130


def test_equal_accuracies_keep_a_floor_they_are_equal_to():
    assert found(*(again(k, reached(0.98)) for k in (1, 2, 3)))["A"].confirmed is True


def test_nothing_is_known_before_the_last_retraining():
    assert found(again(1, reached(0.99)), again(2, reached(0.99)))["A"].confirmed is None
    assert found()["A"].spreads == {}
    assert confirmed_by_point(found().values()) == {WINNER.name: None}


def test_a_failed_retraining_refutes():
    one = found(again(1, reached(0.99)), again(2, state="failed", error="nan"))["A"]
    assert (one.confirmed, one.failed) == (False, 1)


def test_other_thresholds_and_former_winners_are_left_out():
    other = again(1, reached(0.5, threshold=0.1), reached(0.99))
    former = again(1, reached(0.5), uid="001-abcdef")
    one = found(other, former, wanted=1)["A"]
    assert [p.val_accuracy for p in one.points] == [0.99]
    assert one.confirmed is True


def test_a_sweep_without_retrainings_has_no_verdicts():
    assert found(wanted=0) == {}
    assert set(found(again(1, reached(0.99)), wanted=0)) == {"A", "B", "D"}


def test_spreads_in_words():
    assert Spread.of([5.0]).std is None
    assert spread_text(Spread.of([0.5]), percent=True) == "50.00% (50.00 to 50.00)"
    text = spread_text(Spread.of([1000, 2000]), percent=False)
    assert text == "1,500 ±707 (1,000 to 2,000)"
