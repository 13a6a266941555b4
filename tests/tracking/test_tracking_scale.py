"""Two thousand trials: what everybody looks at stays quick and small.

Seconds are those of this process, so that a busy machine fails no test.
"""

import importlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import DENSE, Builder, new_sweep
from test_tracking_importance import SEARCH
from test_tracking_report import data_of

from hoyer_search import results
from hoyer_search.client import open_sweep
from hoyer_search.comparison import compare
from hoyer_search.results import Progress, TrialResult, TrialSpec
from hoyer_search.store import SweepFolder
from hoyer_search.tracking import write_comparison, write_report

TRIALS = 2000


def record(sweep: Builder, number: int) -> None:
    """Writes one trial's records without waiting for the disk."""
    params = {
        "decay": 10 ** (-5 + 2.4 * (number * 0.618 % 1)),
        "regularizer.filter_weight": 10 ** (-1 + 2 * (number * 0.755 % 1)),
        "regularizer.name": "hoyer" if number % 2 else "hoyer_square",
    }
    uid = f"{number:04d}-{number * 7919 % 0xFFFFFF:06x}"
    config = sweep.config.model_dump(mode="json")
    spec = TrialSpec(number=number, uid=uid, params=params, config=config)
    result = TrialResult(
        number=number,
        uid=uid,
        params=params,
        state="complete",
        dense=DENSE,
        curve=sweep.curve(spec),
        points=[sweep.point(spec, k) for k in range(3)],
        wall_seconds={"regularize": 50.0, "measure": 2.0},
    )
    folder = sweep.folder.trial(uid)
    folder.mkdir()
    steps = [
        Progress(stage="regularize", epoch=e, epochs=2, metrics={}, time=60.0 * (number // 8) + e)
        for e in (1, 50)
    ]
    lines = [json.dumps(results.to_json(step)) for step in steps]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    for name, one in (("spec", spec), ("result", result)):
        (folder / f"{name}.json").write_text(json.dumps(results.to_json(one)))


def large_sweep(storage: Path) -> SweepFolder:
    """Makes a sweep of many trials."""
    sweep = new_sweep(storage, "large", search=SEARCH)
    sweep.pretrain()
    for number in range(TRIALS):
        record(sweep, number)
    return sweep.folder


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    return large_sweep(tmp_path_factory.mktemp("scale") / "runs")


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    began = time.process_time()
    yield
    spent = time.process_time() - began
    assert spent < seconds, f"{spent:.1f} s"


def test_the_report_is_quick_and_small(large: SweepFolder, tmp_path: Path) -> None:
    importlib.import_module("optuna.importance")  # takes its second once a process
    with at_most(5.0):
        write_report(large, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 8e6
    figures = data_of((tmp_path / "report.html").read_text(encoding="utf-8"))["figures"]
    front = large.front()
    assert front is not None
    shown = {trace.get("name"): trace for trace in figures["front"]["data"]}
    assert len(shown["Pareto front"]["x"]) == len(front.points)
    assert 1000 < len(shown["finetuned network"]["x"]) <= 1500, "a browser draws them at once"


def test_a_comparison_is_quick(large: SweepFolder, tmp_path: Path) -> None:
    with at_most(5.0):
        found = compare("large", storage=large.path.parent, published="paper")
        write_comparison(found, tmp_path / "comparison.html")
    assert found.trials == {"large": TRIALS}


def test_reading_is_quick(large: SweepFolder) -> None:
    sweep = open_sweep("large", storage=large.path.parent)
    with at_most(5.0):
        assert sweep.front().num_rows > 1


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["show", "large"], f"{TRIALS} of {TRIALS} trials ended"),
        (["show", "large", "--json"], '"trials"'),
        (["status", "large"], f"{TRIALS} complete"),
        (["list"], f"{TRIALS} complete"),
    ],
)
def test_commands_are_quick(large: SweepFolder, arguments: list[str], shown: str) -> None:
    # In a process of its own: nothing of the sweep has been read there before.
    command = [sys.executable, "-m", "hoyer_search", *arguments]
    before = children()
    done = subprocess.run(
        [*command, "--storage", str(large.path.parent)], capture_output=True, text=True, check=True
    )
    assert shown in done.stdout
    assert children() - before < 5.0


def children() -> float:
    """Returns the processor seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
