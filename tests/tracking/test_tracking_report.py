import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Builder, new_sweep

from hoyer_search import results
from hoyer_search.tracking import note, panel, report, write_front_png, write_report
from hoyer_search.tracking.report import front_json
from hoyer_search.tracking.snapshot import Snapshot


def page_of(sweep: Builder, tmp_path: Path) -> str:
    path = tmp_path / "report.html"
    write_report(sweep.folder, path)
    return path.read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r"^const page = (.*);$", page, flags=re.MULTILINE)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def figures_of(page: str) -> dict[str, dict[str, list[dict[str, object]]]]:
    figures: dict[str, dict[str, list[dict[str, object]]]] = data_of(page)["figures"]
    return figures


def test_the_report_holds_every_point_and_needs_no_network(sweep: Builder, tmp_path: Path) -> None:
    sweep.pretrain()
    for number in range(6):
        sweep.trial(number)
    page = page_of(sweep, tmp_path)
    assert not re.search(r"""<(script|link|img|iframe)[^>]*(src|href)\s*=""", page)
    assert page.count("plotly.js v") == 1
    front, figures = sweep.folder.front(), figures_of(page)
    assert front is not None
    assert set(figures) == {"front", "progress", "parallel", "timeline"}
    for name in figures:
        assert f'<div id="{name}" class="figure"></div>' in page
    traces = {trace.get("name"): trace for trace in figures["front"]["data"]}
    shown = traces["Pareto front"]
    assert shown["y"] == [point.val_accuracy for point in front.points]
    expected = [front.compression(point) for point in front.points]
    assert shown["x"] == pytest.approx(expected, rel=1e-3)
    others = traces["finetuned network"]["x"]
    assert isinstance(others, list)
    assert len(others) + len(front.points) == len(sweep.folder.points())
    for name, point in front.operating_points.items():
        if point is not None:
            assert f"--point {name} " in page
            assert f"{point.nonzeros:,}" in page


def test_a_report_of_as_many_winners_as_it_has_layers_of(
    sweep: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep.pretrain()
    for number in range(2):
        sweep.trial(number)
    winners = len(data_of(page_of(sweep, tmp_path))["network"]["labels"])
    monkeypatch.setattr(panel, "DETAILED", winners)
    assert len(data_of(page_of(sweep, tmp_path))["network"]["layers"]) >= winners


def test_dollars_in_names_are_no_formulas(tmp_path: Path) -> None:
    sweep = new_sweep(
        tmp_path / "runs",
        description=r"from $\n to $",
        objective={"points": {r"$\y$": 0.0, "B": 0.005}},
    )
    sweep.pretrain()
    for number in range(2):
        sweep.trial(number)
    written = write_report(sweep.folder, tmp_path / "x.html", png=tmp_path)
    assert {path.name for path in written} >= {"front.png", "weights-B.png", "weights---y-.png"}


def test_hypervolume_ends_at_the_fronts(sweep: Builder, tmp_path: Path) -> None:
    sweep.pretrain()
    for number in range(4):
        sweep.trial(number)
    areas = figures_of(page_of(sweep, tmp_path))["progress"]["data"][0]["y"]
    assert isinstance(areas, list)
    front = sweep.folder.front()
    assert front is not None
    assert areas == sorted(areas)
    assert (areas[0], areas[-1]) == (0.0, pytest.approx(front.hypervolume))


@pytest.mark.parametrize("stage", ["empty", "pretrained", "started", "one", "failed"])
def test_a_sweep_at_any_stage_has_a_report(sweep: Builder, tmp_path: Path, stage: str) -> None:
    if stage != "empty":
        sweep.pretrain()
    if stage == "started":
        sweep.start(0)
    if stage == "one":
        sweep.trial(0)
    if stage == "failed":
        sweep.trial(0, error="Traceback:\n<script>alert(1)</script>")
    page = page_of(sweep, tmp_path)
    write_front_png(sweep.folder, tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    expected = {
        "empty": "not trained yet",
        "pretrained": "No trial has started yet",
        "started": "not ended",
        "one": "1 of 6 trials ended",
        "failed": "1 failed",
    }
    assert expected[stage] in page
    assert "<script>alert" not in page


def test_operating_points_that_nothing_keeps_are_said_so(tmp_path: Path) -> None:
    strict = new_sweep(tmp_path / "runs", objective={"points": {"A": {"floor": 0.999}}})
    strict.pretrain()
    strict.trial(0)
    page = page_of(strict, tmp_path)
    assert "no network keeps this floor yet" in page
    assert "Fetch a network" not in page
    assert "front" in figures_of(page)


def test_categories_and_fixed_thresholds_have_axes(tmp_path: Path) -> None:
    sweep = new_sweep(
        tmp_path / "runs",
        search={
            "decay": {"low": 1e-5, "high": 3e-3, "log": True},
            "threshold": {"low": 0.01, "high": 0.1},
            "regularizer.name": {"choices": ["hoyer", "hoyer_square"]},
        },
    )
    sweep.pretrain()
    for number, name in enumerate(["hoyer_square", "hoyer"]):
        spec = sweep.start(number)
        spec.params["regularizer.name"] = name
        sweep.end(spec)
    dimensions = figures_of(page_of(sweep, tmp_path))["parallel"]["data"][0]["dimensions"]
    assert isinstance(dimensions, list)
    named = {dimension["label"]: dimension for dimension in dimensions}
    assert len(named) == len(dimensions)
    assert named["regularizer.name"]["ticktext"] == ["hoyer", "hoyer_square"]
    assert named["regularizer.name"]["values"] == [1, 1, 1, 0, 0, 0]


def test_other_objectives_have_a_report(tmp_path: Path) -> None:
    sweep = new_sweep(tmp_path / "runs", objective={"sparsity": "latency_ms"})
    sweep.pretrain()
    sweep.trial(0)
    assert "times fewer milliseconds" in page_of(sweep, tmp_path)


def test_the_front_as_json_reads_back(sweep: Builder) -> None:
    assert front_json(Snapshot.of(sweep.folder))["front"] == []
    sweep.pretrain()
    sweep.trial(0)
    snapshot = Snapshot.of(sweep.folder)
    assert snapshot.front is not None
    data = json.loads(json.dumps(front_json(snapshot)))
    assert [p["nonzeros"] for p in data["front"]] == [p.nonzeros for p in snapshot.front.points]
    assert data["dense"] == results.to_json(snapshot.front.dense)
    best = snapshot.front.operating_points["D"]
    assert data["operating_points"]["D"] == (best.name if best else None)


def test_the_panel_shows_what_was_measured(sweep: Builder, tmp_path: Path) -> None:
    sweep.pretrain()
    for number in range(6):
        sweep.trial(number)
    panel = data_of(page_of(sweep, tmp_path))["network"]
    front = sweep.folder.front()
    assert front is not None
    columns = panel["points"]
    assert {len(column) for column in columns.values()} == {len(sweep.folder.points())}
    shown = [(columns["uid"][i], columns["nonzeros"][i]) for i in panel["order"]]
    assert shown == [(p.uid, p.nonzeros) for p in front.points]
    best = next(p for p in front.operating_points.values() if p is not None)
    first = panel["first"]
    assert columns["structure"][first] == best.structure
    assert panel["params"]["decay"][first] == best.params["decay"]
    layer = best.layers[0]
    assert panel["layers"][str(first)] == [
        [layer.name, layer.weights, layer.nonzeros, layer.rows, layer.columns, layer.macs]
    ]
    stages = panel["histograms"]
    for drawn in (
        stages["dense"],
        stages["regularized"][best.uid],
        stages["finetuned"][str(first)],
    ):
        limit, counts = drawn["fc1"]
        assert limit > 0
        assert sum(counts) > 0
    assert panel["runs"] == {}
    assert all("hoyer-search pull quick-1 --point" in panel["pull"][str(i)] for i in panel["order"])


def test_pages_of_a_server_name_it_in_their_commands(sweep: Builder) -> None:
    sweep.pretrain()
    for number in range(3):
        sweep.trial(number)
    shown = Snapshot.of(sweep.folder)
    uri = "https://user:secret@mlflow.example/base"
    text = note.sweep_note(shown, links={}, trials=Everything(), picture="", uri=uri)
    for page in (report.html(shown, uri=uri), text):
        commands = re.findall(r"hoyer-search pull [^\"<\n]*", page)
        assert commands
        for command in commands:
            assert "--tracking-uri https://mlflow.example/base -o" in command
            assert "--storage" not in command
        assert "secret" not in page
    local = report.html(shown, uri="sqlite:////data/runs/mlflow.db")
    assert f"--storage {sweep.folder.path.parent}" in local


class Everything(dict[str, str]):
    """A link for whatever is asked for."""

    def __missing__(self, uid: str) -> str:
        return f"#/{uid}"


def test_trials_of_older_versions_have_no_histograms(sweep: Builder, tmp_path: Path) -> None:
    sweep.pretrain()
    result = sweep.trial(0)
    (sweep.folder.trial(result.uid) / "histograms.json").unlink()
    panel = data_of(page_of(sweep, tmp_path))["network"]
    assert panel["histograms"] == {"dense": None, "regularized": {}, "finetuned": {}}
    assert panel["layers"]


def test_the_timeline_has_every_trial_once(sweep: Builder, tmp_path: Path) -> None:
    sweep.pretrain()
    for number in range(4):
        sweep.trial(number, error="Traceback" if number == 2 else None)
    bars = figures_of(page_of(sweep, tmp_path))["timeline"]["data"]
    assert sum(len(bar["x"]) for bar in bars) == 4
    assert {"on the front", "failed"} <= {bar["name"] for bar in bars}


def test_a_collapsed_network_on_the_front_does_not_press_the_others_together(
    sweep: Builder, tmp_path: Path
) -> None:
    sweep.pretrain()
    result = sweep.trial(0)
    points = [*result.points[:2], replace(result.points[2], val_accuracy=0.11, nonzeros=0)]
    path = sweep.folder.trial(result.uid) / "result.json"
    results.save(path, replace(result, points=points))
    front = sweep.folder.front()
    assert front is not None
    assert points[2] in front.points
    figures = figures_of(page_of(sweep, tmp_path))
    layout: Any = figures["front"]["layout"]
    assert layout["yaxis"]["range"][0] > 0.9
    assert 10 ** layout["xaxis"]["range"][1] < 1000
    assert len(figures["parallel"]["data"][0]["line"]["color"]) == 2
