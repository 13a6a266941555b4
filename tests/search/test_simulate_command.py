"""``hoyer-search simulate``, and the recorder that makes its input."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import recorded
from click.testing import CliRunner, Result

from hoyer_search.cli import cli
from hoyer_search.errors import ConfigError, StorageError
from hoyer_search.search.simulate import report
from hoyer_search.search.simulate.recording import load_recording, save_recording

ROOT = Path(__file__).parents[2]


@pytest.fixture
def simulate(tmp_path: Path) -> Callable[..., Result]:
    save_recording(tmp_path / "made.parquet", recorded.recording(noise=0.1))

    def run(*arguments: str) -> Result:
        command = ["simulate", str(tmp_path / "made.parquet"), "--trials", "6", "--seeds", "3"]
        return CliRunner().invoke(cli, [*command, *arguments], catch_exceptions=False)

    return run


def test_json_has_quartiles_of_every_regret(simulate: Callable[..., Result]) -> None:
    result = simulate("--sampler", "random", "--against", "tpe-joint", "--workers", "2", "--json")
    document = json.loads(result.output)
    assert (document["trials"], document["workers"], document["seeds"]) == (6, 2, 3)
    assert list(document["methods"]) == ["random", "tpe-joint"]
    for method in document["methods"].values():
        regrets = [method["hypervolume_regret"], *method["regret"].values()]
        for at in (*regrets, method["hypervolume"], method["seconds"], *method["size"].values()):
            assert list(at) == ["5", "6"]
            assert all(q["q1"] <= q["median"] <= q["q3"] for q in at.values())
        assert list(method["regret"]) == ["A", "B", "C", "D"]
    p = document["p"]["tpe-joint"]
    assert list(p["regret"]) == ["A", "B", "C", "D"]
    assert all(0 < one <= 1 for one in (p["hypervolume_regret"], *p["regret"].values()))


def test_a_method_is_compared_with_itself_without_early_stopping(
    simulate: Callable[..., Result],
) -> None:
    arguments = ("--sampler", "random", "--against", "random+none", "--trials", "12")
    document = json.loads(simulate(*arguments, "--early-stopping", "asha", "--json").output)
    stopped, whole = document["methods"].values()
    assert list(document["methods"]) == ["random", "random+none"]
    assert stopped["epochs_saved"]["12"]["median"] > 0.2
    assert stopped["epochs"]["12"]["median"] < 0.8 * whole["epochs"]["12"]["median"]
    assert stopped["stopped"] > 0
    assert 0 <= stopped["false_stop_rate"] <= 1
    assert whole["epochs_saved"]["12"] == {"median": 0, "q1": 0, "q3": 0}
    assert (whole["stopped"], whole["false_stop_rate"]) == (0, None)
    assert "trials stopped" in simulate(*arguments, "--early-stopping", "asha").output


def test_tables_and_plot(simulate: Callable[..., Result], tmp_path: Path) -> None:
    plot = tmp_path / "new" / "plot.png"
    result = simulate("--sampler", "random", "--against", "nsga2", "-o", str(plot))
    assert result.output.count("nsga2") == 5
    assert "[" in result.output
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_an_unknown_method_is_refused_before_any_sweep(simulate: Callable[..., Result]) -> None:
    with pytest.raises(ConfigError, match="unknown method 'bayes'"):
        simulate("--sampler", "random", "--against", "bayes")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("made.parquet/x.png", "x.png cannot be written"),
        ("folder", r"must end in \.png, got \S*folder"),
        ("folder.png", "is a folder"),
        ("first.log", r"must end in \.png, got \S*first\.log"),
        ("x.jpg", r"must end in \.png, got \S*x\.jpg"),
    ],
)
def test_a_plot_that_cannot_be_written_is_refused_before_any_sweep(
    simulate: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    wrong: str,
) -> None:
    for folder in ("folder", "folder.png"):
        (tmp_path / folder).mkdir()
    (tmp_path / "first.log").write_text("kept")
    monkeypatch.delattr(report, "Comparison")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StorageError, match=wrong):
        simulate("--sampler", "random", "-o", str(tmp_path / name))
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "first.log").read_text() == "kept"


def test_a_plot_that_fails_to_be_written_says_so(
    simulate: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(report, "save_plot", full)
    with pytest.raises(StorageError, match=r"x\.png cannot be written: .*No space left"):
        simulate("--sampler", "random", "-o", str(tmp_path / "x.png"))


@pytest.mark.slow
def test_the_recorder_goes_on_where_it_was_stopped(toy_file: Path, tmp_path: Path) -> None:
    output, work = tmp_path / "toy.parquet", tmp_path / "work"

    def record(trainings: int) -> str:
        command = [sys.executable, str(ROOT / "benchmarks" / "record.py"), str(toy_file)]
        arguments = ["--trainings", str(trainings), "--work", str(work), "-o", str(output)]
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        return subprocess.run(
            [*command, *arguments],
            env={**os.environ, "PYTHONPATH": path},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert record(1).count("decay") == 1
    first = load_recording(output)
    record(3)
    recording = load_recording(output)
    assert recording.trainings[:1] == first.trainings  # the times too: it did not run again
    assert [t.number for t in recording.trainings] == [0, 1, 2]
    assert recording.dense == first.dense
    for training in recording.trainings:
        assert [m.epoch for m in training.milestones] == [1, 2, 3, 4]
        assert len(training.finetuned) == 4
        last = training.milestones[-1].curve
        assert last[0].nonzeros > last[-1].nonzeros
        assert {f.threshold for f in training.finetuned} <= {point.threshold for point in last}
