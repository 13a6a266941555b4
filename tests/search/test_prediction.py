import json

import curve_family
import numpy as np
import pytest
import toy_pipeline as toy

from hoyer_search.config import Objective
from hoyer_search.results import CurvePoint, TrialResult, TrialSpec
from hoyer_search.search.objectives import shortfall
from hoyer_search.trial.prediction import Offset, TrialCurve, doublings

FLOORS = np.array([0.98, 0.965, 0.95])
GRID = np.linspace(0.0, 8.0, 41)
SPEC = TrialSpec(number=0, uid="000-a", params={"decay": 1e-3}, config={})


def accuracy(knee, top=0.985):
    """Accuracy after finetuning: the floors above are kept up to knee - 2, - 0 and + 0.6."""
    return top - 0.02 * np.maximum(GRID - knee + 2.25, 0) ** 2 / 5


def curve(knee, *, finetuned=(10, 20, 30), top=0.985, share=0.9):
    """Returns a trial whose finetuning returns a share of what pruning cost."""
    tuned = accuracy(knee, top)
    raw = top - (top - tuned) / (1 - share)
    chosen = list(finetuned)
    return TrialCurve(
        dense=0.98,
        floors=FLOORS,
        raw=np.stack([GRID, raw], axis=1),
        finetuned=np.stack([GRID, tuned], axis=1)[chosen],
    )


def errors(one, others, *, knee):
    """Returns how far predicted drops are from the truth, as far as the loosest floor is kept."""
    predicted, _ = Offset.learn([*others, one]).predict(one)
    truth = doublings(0.98 - accuracy(knee))
    return np.abs(predicted - truth)[: int(5 * (knee + 0.6))]


def test_few_finetuned_points_and_the_raw_curve_say_about_as_much():
    curves = [curve(k) for k in (3.0, 4.0, 5.0)]
    for knee, one in zip((3.0, 4.0, 5.0), curves, strict=True):
        assert errors(one, curves, knee=knee).mean() < 0.2


def test_the_offset_is_learned_from_other_trials():
    others = [curve(k, share=0.6) for k in (2.5, 3.0, 3.5, 4.5)]
    new = curve(4.0, share=0.6, finetuned=(5,))
    learned, alone = (errors(new, taught, knee=4.0).sum() for taught in (others, []))
    assert learned < 0.6 * alone


def test_points_alone_do_where_the_raw_curve_does_not_know_the_objective():
    result = curve_family.Family(1, 0).run(0, {"decay": 1e-4})
    latency = TrialCurve.of(result, Objective(sparsity="latency_ms"))
    assert latency is not None
    assert latency.raw.shape == (0, 2)
    assert np.isfinite(Offset.learn([latency]).predict(latency)).all()


def test_a_record_is_json_and_nearly_exact():
    result = curve_family.Family(1, 0).run(0, {"decay": 1e-4})
    record = TrialCurve.of(result, curve_family.OBJECTIVE)
    assert record is not None
    text = json.dumps(record.to_json())
    assert len(text) < 1500
    again = TrialCurve.from_json(json.loads(text))
    assert again.raw == pytest.approx(record.raw, abs=1e-4)
    assert again.finetuned == pytest.approx(record.finetuned, abs=1e-4)
    assert (again.dense, again.floors.tolist()) == (record.dense, record.floors.tolist())


def test_compressions_are_those_of_the_objective():
    point = toy.point(SPEC, index=0, val_accuracy=0.97, nonzeros=12_500)
    raw = CurvePoint(threshold=0.1, val_accuracy=0.9, nonzeros=0, macs=50_000)
    result = TrialResult(
        number=0,
        uid=SPEC.uid,
        params=SPEC.params,
        state="complete",
        dense=toy.DENSE,
        curve=[raw],
        points=[point],
    )
    record = TrialCurve.of(result, Objective(points={"A": 0.0, "B": 0.01}, sparsity="macs"))
    assert record is not None
    assert record.raw.tolist() == [[1.0, 0.9]]
    assert record.finetuned.tolist() == [[3.0, 0.97]]
    assert record.floors == pytest.approx([0.98, 0.97])


@pytest.mark.parametrize("state", ["failed", "stopped", "complete"])
def test_trials_without_finetuned_points_have_no_record(state):
    result = TrialResult(number=0, uid=SPEC.uid, params=SPEC.params, state=state, dense=toy.DENSE)
    assert TrialCurve.of(result, Objective()) is None


def test_doublings_are_those_of_the_objectives():
    drops = np.array([-0.03, 0.0, 0.01, 0.5])
    assert doublings(drops) == pytest.approx([shortfall(d) for d in drops])
