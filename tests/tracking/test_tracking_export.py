"""`hoyer-search report` and `compare`: files for people and for other programs."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from conftest import Builder, new_sweep
from test_sweep import call

from hoyer_search.comparison import compare
from hoyer_search.tracking import write_comparison


@pytest.fixture
def ended(sweep: Builder) -> Builder:
    sweep.pretrain()
    for number in range(5):
        sweep.trial(number, error="Traceback" if number == 3 else None)
    return sweep


def test_the_command_writes_report_pictures_and_tables(
    ended: Builder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    storage = ended.folder.path.parent
    html, png, data = tmp_path / "new" / "sweep.html", tmp_path / "png", tmp_path / "data"
    options = ["-o", html, "--png", png, "--data", data, "--storage", storage, "--json"]
    code, out, error = call(monkeypatch, capsys, "report", "quick-1", *options)
    assert code == 0, error
    written = {Path(name) for name in json.loads(out)["files"]}
    assert html in written
    assert written == {html, *png.iterdir(), *data.iterdir()}
    names = {path.stem for path in png.iterdir()}
    assert {"front", "progress", "parallel", "timeline", "weights-D"} <= names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in png.iterdir())
    code, out, _ = call(monkeypatch, capsys, "report", "quick-1", "--storage", storage)
    assert code == 0
    assert (ended.folder.path / "report.html").is_file()


def test_tables_hold_what_the_folder_holds(
    ended: Builder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    storage = ended.folder.path.parent
    call(monkeypatch, capsys, "report", "quick-1", "--data", tmp_path, "--storage", storage)
    front, curves, trials = (
        pyarrow.parquet.read_table(tmp_path / f"{name}.parquet")
        for name in ("front", "curves", "trials")
    )
    points = ended.folder.front().points
    assert front["nonzeros"].to_pylist() == [p.nonzeros for p in points]
    assert front["params.decay"].to_pylist() == [p.params["decay"] for p in points]
    assert "D" in [name for names in front["operating_points"].to_pylist() for name in names]
    results = ended.folder.results()
    assert curves.num_rows == sum(len(r.curve) for r in results)
    assert trials["state"].to_pylist() == [r.state for r in results]
    assert trials["wall_seconds"].to_pylist() == [51.5] * 5
    assert trials.schema.field("start").type == pyarrow.timestamp("ms", tz="UTC")
    assert (trials["end"].to_numpy() > trials["start"].to_numpy()).all()


def test_tables_of_categories_and_of_nothing(tmp_path: Path) -> None:
    from hoyer_search.tracking.data import parquet, sweep_tables
    from hoyer_search.tracking.snapshot import Snapshot

    sweep = new_sweep(
        tmp_path / "runs",
        search={
            "decay": {"low": 1e-5, "high": 3e-3, "log": True},
            "regularizer.name": {"choices": ["hoyer", "hoyer_square"]},
        },
    )
    empty = sweep_tables(Snapshot.of(sweep.folder))
    assert all(parquet(table) for table in empty.values())
    assert {table.num_rows for table in empty.values()} == {0}
    sweep.pretrain()
    spec = sweep.start(0)
    spec.params["regularizer.name"] = "hoyer"
    sweep.end(spec)
    full = sweep_tables(Snapshot.of(sweep.folder))
    assert {name: t.schema for name, t in full.items()} == {n: t.schema for n, t in empty.items()}
    assert set(full["front"]["params.regularizer.name"].to_pylist()) == {"hoyer"}


@pytest.mark.parametrize("unknown", [True, False])
def test_a_sweep_without_a_trial_is_refused(
    sweep: Builder,
    unknown: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sweep.pretrain()
    name = "quick-2" if unknown else "quick-1"
    storage = sweep.folder.path.parent
    code, _, error = call(monkeypatch, capsys, "report", name, "--storage", storage)
    assert code == 2
    assert ("did you mean 'quick-1'" if unknown else "no finished trial yet") in error
    assert not (sweep.folder.path / "report.html").exists()


def test_a_place_that_cannot_be_written_is_named(
    ended: Builder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    storage = ("--storage", ended.folder.path.parent)
    for options in (
        ["report", "quick-1", "-o", tmp_path / "file" / "x.html"],
        ["report", "quick-1", "-o", tmp_path / "x.html", "--png", tmp_path / "file" / "figures"],
        ["compare", "quick-1", "--with", "paper", "-o", tmp_path / "file" / "x.html"],
    ):
        code, _, error = call(monkeypatch, capsys, *options, *storage)
        assert code == 2
        assert f"{tmp_path / 'file'}" in error
        assert "cannot be written" in error
    assert [path.name for path in tmp_path.glob("*.html")] == []


def test_a_comparison_draws_every_sweep_and_what_was_published(
    ended: Builder, tmp_path: Path
) -> None:
    other = new_sweep(ended.folder.path.parent, "quick-2")
    other.seed = 1
    other.pretrain()
    for number in range(3):
        other.trial(number)
    storage = ended.folder.path.parent
    comparison = compare("quick-1", "quick-2", storage=storage, published="paper")
    write_comparison(comparison, tmp_path / "page" / "comparison.html")
    page = (tmp_path / "page" / "comparison.html").read_text()
    figure = json.loads(
        next(line for line in page.splitlines() if line.startswith("const page = "))[13:-1]
    )["figures"]["front"]
    traces = {trace.get("name"): trace for trace in figure["data"]}
    for name, front in comparison.fronts.items():
        assert traces[name]["y"] == [point.val_accuracy for point in front.points]
        assert f"{front.hypervolume:.4f}" in page
    published = traces["published (test accuracy)"]
    assert published["text"] == ["Han", "ADMM", "SNIP", "Hoyer", "Hoyer-Square"]
    assert figure["layout"]["yaxis"]["range"][1] > 0.984
