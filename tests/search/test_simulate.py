"""Sweeps in virtual time, on a recording whose best settings are known."""

import dataclasses
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import recorded

from hoyer_search.config import SweepConfig
from hoyer_search.errors import ConfigError, DataError
from hoyer_search.results import Value
from hoyer_search.search.simulate.comparison import Comparison, summary
from hoyer_search.search.simulate.finetuning import FinetuningMap, to_accuracy
from hoyer_search.search.simulate.recording import Training, load_recording, save_recording
from hoyer_search.search.simulate.registration import Knots
from hoyer_search.search.simulate.simulator import Standing, simulate
from hoyer_search.search.simulate.surrogate import Surrogate
from hoyer_search.trial.milestones import NUM_POINTS


def params(decay: float, channel_weight: float = 1.0) -> dict[str, Value]:
    return {"decay": decay, "regularizer.channel_weight": channel_weight}


def collapse(training: Training) -> float:
    """Returns the log2 compression at which a finished network has lost half its accuracy."""
    curve = training.milestones[-1].curve
    doublings = [math.log2(recorded.WEIGHTS / point.nonzeros) for point in curve]
    return float(np.interp(-0.5375, [-point.val_accuracy for point in curve], doublings))


def sweep(workers: int, *, trials: int = 12, **changes: object) -> list[Standing]:
    made = recorded.recording(noise=0.1)
    data = made.config.model_dump() | {"sampler": "random", "budget": {"trials": trials}} | changes
    config = SweepConfig.model_validate(data)
    return simulate(Surrogate(made), config, dense=made.dense, workers=workers)


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = recorded.recording(5, noise=0.1)
    save_recording(tmp_path / "made.parquet", made)
    assert load_recording(tmp_path / "made.parquet") == made


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no parquet")
    for name in ("text", "missing"):
        with pytest.raises(DataError, match=rf"{name} does not hold a recording.*record\.py"):
            load_recording(tmp_path / name)


MISSING = object()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A recording of five trainings, to be spoilt."""
    path = tmp_path / "made.parquet"
    save_recording(path, recorded.recording(5))
    return path


def _put(place: Any, keys: list[str | int], *, value: object) -> None:
    *path, last = keys
    for key in path:
        place = place[key]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value


@pytest.mark.parametrize(
    ("keys", "value", "wrong"),
    [
        (["wall_seconds"], None, "row.1.wall_seconds: .* valid number, got None"),
        (["params", "decay"], None, r"row.1.params.decay.*: .*, got None"),
        (["finetuned", 0, "macs"], None, "row.1.finetuned.0.macs: .* valid integer, got None"),
        (["number"], 1.5, "row.1.number: .* integer.*, got 1.5"),
        (["milestones"], [], "row.1.milestones: .* at least 1 item.*"),
        (["finetuned"], [], "row.1.finetuned: .* at least 1 item.*"),
        (["wall_seconds"], float("nan"), "row.1.wall_seconds: .* finite number, got nan"),
    ],
)
def test_the_first_wrong_field_of_a_recording_is_named(
    made: Path, keys: list[str | int], value: object, wrong: str
) -> None:
    table = pq.read_table(made)
    rows = table.to_pylist()
    for row in rows[1:]:
        _put(row, keys, value=value)
    changed = pa.Table.from_pylist(rows).replace_schema_metadata(table.schema.metadata)
    pq.write_table(changed, made)
    _refused(made, wrong)


def test_a_missing_column_of_a_recording_is_named(made: Path) -> None:
    pq.write_table(pq.read_table(made).drop_columns(["wall_seconds"]), made)
    _refused(made, "row.0.wall_seconds: Field required, got .*")


@pytest.mark.parametrize(
    ("keys", "value", "wrong"),
    [
        (["config", "budget", "trials"], "x", "config.budget.trials: .* integer, got 'x'"),
        (["config"], MISSING, "config: .*, got None"),
        (["dense", "nonzeros"], MISSING, "dense.nonzeros: Field required, got .*"),
        (["version"], 9, "its version is 9, this code reads 1"),
    ],
)
def test_the_first_wrong_field_of_a_recording_s_metadata_is_named(
    made: Path, keys: list[str | int], value: object, wrong: str
) -> None:
    table = pq.read_table(made)
    head = json.loads(table.schema.metadata[b"hoyer_search"])
    _put(head, keys, value=value)
    for metadata, reason in (
        ({"hoyer_search": json.dumps(head)}, wrong),
        ({"hoyer_search": "[1]"}, "head: .*, got \\[1\\]"),
        (None, "its metadata has no hoyer_search"),
    ):
        pq.write_table(table.replace_schema_metadata(metadata), made)
        _refused(made, reason)


def _refused(path: Path, wrong: str) -> None:
    with pytest.raises(DataError) as caught:
        load_recording(path)
    message = str(caught.value)
    assert re.fullmatch(
        rf"{path} does not hold a recording \({wrong}\): make one with \S*record\.py", message
    ), message


def test_a_path_cannot_be_replayed(tmp_path: Path) -> None:
    made = recorded.recording()
    config = made.config.model_copy(update={"warm_start": "path"})
    save_recording(tmp_path / "path.parquet", dataclasses.replace(made, config=config))
    with pytest.raises(ConfigError, match=r"path cannot be replayed.* warm_start=dense"):
        Comparison.open(tmp_path / "path.parquet", trials=5, workers=1, seeds=1)


def test_too_few_trainings_are_refused() -> None:
    with pytest.raises(DataError, match="at least 5 trainings to interpolate, it has 4"):
        Surrogate(recorded.recording(4))


@pytest.mark.parametrize(("decay", "weight"), [(3e-5, 0.5), (1e-3, 1.0), (5e-3, 4.0)])
def test_trainings_that_were_not_recorded_are_interpolated(decay: float, weight: float) -> None:
    surrogate = Surrogate(recorded.recording(48))
    training = surrogate.train(params(decay, weight), seed=0)
    assert collapse(training) == pytest.approx(recorded.edge(decay, weight), abs=0.15)
    for one in training.finetuned:
        expected = 0.977 - 0.1 * (0.975 - one.raw_val_accuracy)
        assert one.val_accuracy == pytest.approx(expected, abs=0.015)


def test_a_network_of_nothing_answers_by_chance_whatever_a_recording_ends_at() -> None:
    trainings = [
        dataclasses.replace(t, finetuned=t.finetuned[:4]) for t in recorded.recording(24).trainings
    ]
    assert min(f.val_accuracy for t in trainings for f in t.finetuned) > 0.8
    finetuning = FinetuningMap.fit(trainings, chance=0.1)
    sizes, raw = np.log([90_000.0, 1.0]), np.array([0.97, 0.1])
    reached = finetuning(Knots(log_threshold=sizes, log_size=sizes, log_macs=sizes, raw=raw))
    assert to_accuracy(reached.val) == pytest.approx([0.975, 0.1], abs=0.02)


def test_noise_is_as_large_as_in_the_recording() -> None:
    surrogate = Surrogate(recorded.recording(64, noise=0.3))
    collapses = [collapse(surrogate.train(params(1e-3), seed=seed)) for seed in range(200)]
    assert np.std(collapses) == pytest.approx(0.3, rel=0.35)
    assert np.mean(collapses) == pytest.approx(6.0, abs=0.3)


def test_a_setting_has_one_outcome_for_each_seed() -> None:
    surrogate = Surrogate(recorded.recording(noise=0.3))
    once = surrogate.train(params(1e-3), seed=1)
    assert surrogate.train(params(1e-3), seed=1) == once
    assert surrogate.train(params(1e-3), seed=2) != once
    assert surrogate.train(params(1.1e-3), seed=1).milestones != once.milestones


def test_curves_get_sparser_with_the_threshold() -> None:
    surrogate = Surrogate(recorded.recording(noise=0.5))
    for seed in range(20):
        for milestone in surrogate.train(params(1e-4), seed=seed).milestones:
            curve = milestone.curve
            assert len(curve) == 40
            assert all(a.nonzeros >= b.nonzeros for a, b in itertools.pairwise(curve))
            assert all(a.threshold <= b.threshold for a, b in itertools.pairwise(curve))


def test_a_searched_threshold_lies_on_the_same_curve() -> None:
    surrogate = Surrogate(recorded.recording(noise=0.3))
    whole = surrogate.train(params(1e-3), seed=0)
    for one in whole.finetuned[10:30]:
        single = surrogate.train(params(1e-3), seed=0, thresholds=[one.threshold])
        assert len(single.finetuned) == 1
        assert single.finetuned[0].val_accuracy == pytest.approx(one.val_accuracy, abs=1e-9)
        assert single.finetuned[0].nonzeros == one.nonzeros


def test_a_sweep_ends_after_its_budget_and_only_gets_better() -> None:
    standings = sweep(workers=1)
    assert len(standings) == 12
    for before, after in itertools.pairwise(standings):
        assert after.seconds > before.seconds
        assert after.hypervolume >= before.hypervolume
        assert all(after.doublings[p] >= d for p, d in before.doublings.items())
    assert standings[-1].hypervolume > standings[0].hypervolume > 0


def test_workers_share_the_trials() -> None:
    alone, shared = (sweep(workers=workers, early_stopping="none") for workers in (1, 4))
    assert len(shared) == len(alone)
    assert 0.249 < shared[-1].seconds / alone[-1].seconds < 0.334
    assert len(sweep(workers=1024)) == 12


def test_a_trial_costs_its_stages() -> None:
    first = sweep(workers=1, trials=1, early_stopping="none")[0].seconds
    watched = sweep(workers=1, trials=1, early_stopping="curve")[0].seconds
    assert watched - first == pytest.approx(3 * NUM_POINTS * 0.01)
    made = recorded.recording()
    finetunings = (first - 10.0 - 40 * 0.01) / 2.0
    assert finetunings == pytest.approx(round(finetunings), abs=0.05)  # and thresholds in between
    assert 1 <= round(finetunings) <= made.config.pipeline.finetune.max_points


@pytest.mark.parametrize("rule", ["curve", "asha"])
def test_stopped_trials_save_epochs_and_time(rule: str) -> None:
    whole, stopped = (sweep(workers=2, trials=20, early_stopping=one)[-1] for one in ("none", rule))
    assert (whole.stopped, whole.false_stops) == (0, 0)
    assert whole.epochs == whole.whole_epochs
    assert 3 <= stopped.stopped <= 17
    assert stopped.epochs < 0.8 * stopped.whole_epochs
    assert stopped.seconds < whole.seconds
    assert 0 <= stopped.false_stops <= stopped.stopped
    # Random draws do not depend on what they are told: the same trials, so never more.
    assert stopped.hypervolume <= whole.hypervolume
    if rule == "curve":
        assert stopped.false_stops <= 0.2 * stopped.stopped
        assert stopped.hypervolume > 0.95 * whole.hypervolume


def test_a_stopped_trial_ends_at_its_milestone() -> None:
    standings = sweep(workers=1, trials=20, early_stopping="curve")
    spent = np.diff([s.epochs for s in standings], prepend=0)
    stopped = np.diff([s.stopped for s in standings], prepend=0).astype(bool)
    assert set(spent[stopped]) <= {1, 2, 3}, "epochs of regularizing, and none of finetuning"
    assert spent[~stopped].min() > 4
    seconds = np.diff([s.seconds for s in standings], prepend=0.0)
    # A quarter of 10 s an epoch, and nine thresholds at each milestone so far.
    assert seconds[stopped] == pytest.approx(spent[stopped] * (2.5 + NUM_POINTS * 0.01))
    assert not stopped[:3].any()


def test_methods_can_name_their_early_stopping() -> None:
    comparison = Comparison(recorded.recording(), trials=4, workers=1, seeds=1)
    chosen = {m: comparison.config(m, 0).early_stopping for m in ("gp", "gp+asha", "gp-joint")}
    assert chosen == {"gp": "none", "gp+asha": "asha", "gp-joint": "none"}
    assert comparison.config("gp-joint+curve", 0).early_stopping == "curve"
    none = Comparison(recorded.recording(), trials=4, workers=1, seeds=1, early_stopping="none")
    assert none.config("gp", 0).early_stopping == "none"
    with pytest.raises(ConfigError, match="unknown early stopping 'curves': did you mean 'curve'"):
        comparison.check("gp+curves")


def test_a_joint_search_can_be_stopped_early() -> None:
    made = recorded.recording(noise=0.1)
    comparison = Comparison(made, trials=15, workers=1, seeds=1)
    last = simulate(Surrogate(made), comparison.config("random-joint+asha", 0), dense=made.dense)[
        -1
    ]
    assert last.stopped > 0
    assert last.epochs < last.whole_epochs


def test_a_joint_trial_finetunes_one_threshold() -> None:
    made = recorded.recording(noise=0.1)
    comparison = Comparison(made, trials=6, workers=1, seeds=1)
    config = comparison.config("tpe-joint", 3)
    assert (config.sampler, config.seed) == ("tpe", 3)
    assert list(config.search.dimensions) == ["decay", "threshold", "regularizer.channel_weight"]
    standings = simulate(Surrogate(made), config, dense=made.dense)
    assert np.diff([s.seconds for s in standings]) == pytest.approx(10.0 + 0.01 + 2.0)


def test_presets_come_first_in_every_method() -> None:
    made = recorded.recording()
    data = made.config.model_dump() | {"presets": [{"decay": 1e-3, "threshold": 0.2}]}
    made = dataclasses.replace(made, config=SweepConfig.model_validate(data))
    comparison = Comparison(made, trials=4, workers=1, seeds=1)
    assert comparison.config("random", 0).presets == comparison.config("gp-joint", 0).presets
    assert comparison.config("gp-joint", 0).presets == [{"decay": 1e-3, "threshold": 0.2}]


def test_the_curve_beats_the_joint_search() -> None:
    comparison = Comparison(recorded.recording(noise=0.1), trials=10, workers=1, seeds=5)
    curve, joint = (summary(comparison.run(method)) for method in ("random", "random-joint"))
    for name in ("A", "B", "C", "D"):
        assert curve["regret"][name]["10"]["median"] < joint["regret"][name]["10"]["median"]
    assert list(curve["hypervolume_regret"]) == ["5", "10"]


def test_regret_falls_towards_the_reference() -> None:
    comparison = Comparison(recorded.recording(noise=0.1), trials=40, workers=1, seeds=2)
    runs = comparison.run("random")
    assert runs.hypervolume_regret.shape == (2, 40)
    assert (np.diff(runs.hypervolume_regret, axis=1) <= 0).all()
    assert np.median(runs.hypervolume_regret[:, -1]) < 0.1


def test_an_unknown_method_and_objective_are_refused() -> None:
    made = recorded.recording()
    with pytest.raises(ConfigError, match="unknown method 'tpe-join': did you mean 'tpe-joint'"):
        Comparison(made, trials=1, workers=1, seeds=1).run("tpe-join")
    data = made.config.model_dump() | {"objective": {"sparsity": "latency_ms"}}
    timed = dataclasses.replace(made, config=SweepConfig.model_validate(data))
    with pytest.raises(ConfigError, match="holds nonzeros and macs; its space asks for latency"):
        Comparison(timed, trials=1, workers=1, seeds=1)
