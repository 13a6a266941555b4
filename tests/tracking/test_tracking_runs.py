import base64
import json
import re
import zlib
from dataclasses import replace

import pytest
from conftest import Builder, new_sweep

from hoyer_search.config import Budget
from hoyer_search.results import TrialResult, TrialSpec
from hoyer_search.tracking import names, runs, views


def test_the_shown_point_is_on_the_front_before_it_keeps_a_floor(sweep: Builder) -> None:
    sweep.pretrain()
    first = sweep.trial(0)
    front = sweep.folder.front()
    assert front is not None
    alone = runs.shown_point(first.points, front)
    assert alone is not None
    kept = [p for p in first.points if p.val_accuracy >= front.floors["A"]]
    assert alone.nonzeros == min(p.nonzeros for p in kept or first.points[:1])
    only_last = type(front)(front.dense, front.sparsity, front.floors, [first.points[2]])
    assert runs.shown_point(first.points, only_last) == first.points[2]
    assert runs.shown_point([], front) is None


def test_a_point_under_every_floor_is_still_shown(sweep: Builder) -> None:
    sweep.pretrain()
    result = sweep.trial(0)
    front = sweep.folder.front()
    assert front is not None
    unreachable = type(front)(front.dense, front.sparsity, {"A": 0.9999}, front.points)
    shown = runs.shown_point(result.points, unreachable)
    assert shown == max(result.points, key=lambda p: p.val_accuracy)


def test_speed_is_a_metric_where_it_was_measured(sweep: Builder) -> None:
    sweep.pretrain()
    point = sweep.trial(0).points[0]
    front = sweep.folder.front()
    assert front is not None
    metrics = runs.point_metrics(point, front)
    assert (metrics["latency_ms"], metrics["speedup"]) == (0.05, 2.4)
    assert (metrics["examples_per_second"], metrics["batch_speedup"]) == (30_000.0, 3.33)
    older = replace(point, examples_per_second={})
    assert "batch_speedup" not in runs.point_metrics(older, front)


def test_patterns_of_layers_are_names_that_mlflow_takes(sweep: Builder) -> None:
    sweep.pretrain()
    sweep.trial(0)
    spec = replace(sweep.folder.specs()[0], params={"regularizer.layer_weights.layer4.*": 0.5})
    assert runs.trial_params(spec)["regularizer.layer_weights.layer4._"] == "0.5"


def test_a_trial_says_which_network_it_started_from(sweep: Builder) -> None:
    sweep.pretrain()
    identity = names.Identity.of(sweep.folder, sweep.config)

    def started_from(spec: TrialSpec, result: TrialResult | None) -> str:
        return runs.trial_tags(spec, result, None, identity)["hoyer.started_from"]

    result = sweep.trial(0)
    spec = sweep.folder.specs()[0]
    child = replace(spec, parent="uid0007")
    assert started_from(spec, result) == "dense"
    assert started_from(child, None) == "uid0007"
    assert started_from(child, replace(result, parent="uid0007")) == "uid0007"
    assert started_from(child, result) == "dense", "the parent's network was gone"
    assert started_from(child, replace(result, state="failed")) == "uid0007"


@pytest.mark.parametrize(
    ("stage", "point", "name", "expected"),
    [
        ("regularize", None, "loss", "train/loss"),
        ("regularize", None, "val_accuracy", "val/accuracy"),
        ("pretrain", None, "loss", "train/pretrain_loss"),
        ("pretrain", None, "val_accuracy", "val/pretrain_accuracy"),
        ("finetune", 1, "val_accuracy", "prune/val_accuracy_1"),
        ("measure", None, "seconds", "prune/seconds_measure"),
    ],
)
def test_curves_are_grouped(stage: str, point: int | None, name: str, expected: str) -> None:
    line = {"stage": stage, "epoch": 3, "epochs": 8, "point": point, "time": 1.5}
    (sample,) = runs.curves([line | {"metrics": {name: 0.25}}], None, time=0)
    assert (sample.key, sample.value, sample.time, sample.step) == (expected, 0.25, 1500, 3)


def test_values_that_are_no_number_and_foreign_lines_are_left_out() -> None:
    line = {"stage": "regularize", "epoch": 1, "epochs": 8, "time": 1.0}
    lines = [
        line | {"metrics": {"loss": float("nan"), "penalty": float("inf"), "val_accuracy": 0.5}},
        {"another": "version"},
    ]
    assert [s.key for s in runs.curves(lines, None, time=0)] == ["val/accuracy"]


def test_what_a_sweep_may_be_given_later_is_no_parameter(sweep: Builder) -> None:
    later = sweep.config.model_copy(update={"budget": Budget(trials=99), "confirm": 3})
    assert runs.sweep_params(later) == runs.sweep_params(sweep.config)


def test_an_alias_is_one_that_mlflow_takes() -> None:
    given = ("A", "top 5%", "v1", "latest", "\u03b1", "\u03b2")
    aliases = ["A", "top-5-", "point-v1", "point-latest", "\u03b1", "\u03b2"]
    assert [names.alias(name) for name in given] == aliases


def identity_of(sweep: Builder, source: str, factory: str) -> names.Identity:
    config = sweep.config.model_copy(
        update={
            "model": sweep.config.model.model_copy(update={"factory": factory}),
            "data": sweep.config.data.model_copy(update={"source": source}),
        }
    )
    return names.Identity.of(sweep.folder, config)


def test_names_of_plugins_are_short(sweep: Builder) -> None:
    identity = identity_of(sweep, "my_net.data:cells", "my_net.models:wide")
    assert identity.experiment == "hoyer/cells-wide"
    assert re.fullmatch(r"hoyer-cells-wide-[0-9a-f]{8}", identity.registered_model)


def test_only_sweeps_of_the_same_functions_share_a_registered_model(sweep: Builder) -> None:
    paths = [
        ("mine:load", "mine:make"),
        ("other:load", "other:make"),
        ("mine:load", "other:make"),
        ("other:load", "mine:make"),
        ("mnist", "mine:lenet_5"),
        ("mine:mnist", "lenet_5"),
        ("mnist", "lenet_5"),
    ]
    found = [identity_of(sweep, *pair).registered_model for pair in paths]
    assert len(set(found)) == len(paths)
    assert found[-1] == "hoyer-mnist-lenet_5"
    again = new_sweep(sweep.folder.path.parent, "quick-2")
    assert [identity_of(again, *pair).registered_model for pair in paths] == found


def test_a_view_unpacks_to_the_state_of_mlflows_page(sweep: Builder) -> None:
    identity = names.Identity.of(sweep.folder, sweep.config)
    tags = views.tags(identity, searched=["log10_decay"], points=["A"], created=5)
    view = json.loads(tags[f"mlflow.sharedViewState.hoyer-front-{identity.sweep_id}"])
    assert view["name"] == "Pareto front of quick-1"
    kind, _, packed = view["state"].partition(";")
    assert kind == "deflate"
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    scatter = state["compareRunCharts"][0]
    assert (scatter["xaxis"]["key"], scatter["yaxis"]["key"]) == ("log2_compression", "accuracy")
    sections = [section["uuid"] for section in state["compareRunSections"]]
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} <= set(sections)
    uuids = [chart["uuid"] for chart in state["compareRunCharts"]]
    assert len(uuids) == len(set(uuids))
    assert {chart["type"] for chart in state["compareRunCharts"]} == {
        "SCATTER",
        "CONTOUR",
        "PARALLEL",
    }
    assert set(state["columnWidths"]) == set(state["columnOrder"])
    assert identity.sweep_id in state["searchFilter"]
    assert max(map(len, tags.values())) < 5000
