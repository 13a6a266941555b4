"""Which thresholds are finetuned."""

import numpy as np

from hoyer_search.results import CurvePoint
from hoyer_search.trial.selection import next_threshold, predict_finetuned

SIZES = [1000, 500, 250, 120, 60, 30]


def curve(*accuracies):
    return [
        CurvePoint(threshold=i / 10, val_accuracy=a, nonzeros=n, macs=n)
        for i, (a, n) in enumerate(zip(accuracies, SIZES, strict=True))
    ]


CURVE = curve(0.98, 0.98, 0.97, 0.90, 0.60, 0.10)


def test_strictest_floor_first_then_loosest_then_between():
    floors = [0.98, 0.96, 0.9]
    first = next_threshold(CURVE, {}, floors)
    second = next_threshold(CURVE, {first: 0.9801}, floors)
    third = next_threshold(CURVE, {first: 0.9801, second: 0.92}, floors)
    assert first < third < second


def test_what_finetuning_reached_corrects_the_prediction():
    before = predict_finetuned(CURVE, {})
    assert np.all(np.diff(before) <= 0)
    worse = predict_finetuned(CURVE, {3: before[3] - 0.02})
    assert worse[3] == before[3] - 0.02
    assert worse[4] < before[4] - 0.02, "what lost more loses more"
    assert before[1] - 0.002 < worse[1] <= before[1], "what lost nothing stays"
    better = predict_finetuned(CURVE, {3: 0.99})
    assert better[3] == 0.99
    assert np.all(better >= before - 1e-9)


def test_a_collapsed_network_is_not_expected_to_recover():
    assert predict_finetuned(CURVE, {})[5] < 0.2
    # One that did not recover says little of the dense end.
    after = predict_finetuned(CURVE, {5: 0.1})
    assert np.allclose(after[:3], predict_finetuned(CURVE, {})[:3], atol=0.01)


def test_a_floor_out_of_reach_is_passed_over():
    chosen = next_threshold(CURVE, {}, [1.0, 0.95])
    assert predict_finetuned(CURVE, {})[chosen] >= 0.95
    assert next_threshold(CURVE, {chosen: 0.95}, [1.0, 0.95]) is None


def test_when_all_floors_are_out_of_reach_the_best_is_finetuned_once():
    chosen = next_threshold(CURVE, {}, [1.0, 0.999])
    assert chosen == 1, "the sparsest of the most accurate"
    assert next_threshold(CURVE, {chosen: 0.98}, [1.0, 0.999]) is None


def test_no_threshold_is_finetuned_twice():
    finetuned, floors = {}, [0.98, 0.975, 0.97, 0.9, 0.5]
    while (index := next_threshold(CURVE, finetuned, floors)) is not None:
        assert index not in finetuned
        finetuned[index] = CURVE[index].val_accuracy + 0.002
    assert 1 <= len(finetuned) <= len(CURVE)
