"""A bad tracking server costs a sweep no row: none is lost, none is there twice."""

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Builder, new_sweep
from mlflow import MlflowClient
from servers import Link, Server, running

from hoyer_search.tracking import Tracker, sync
from hoyer_search.tracking.address import default_uri

FAULTS = ["delay", "hang", "reset", "500", "killed"]
SUMMARIES = ("accuracy", "compression", "nonzeros", "minutes")
# Values that MLflow makes up, or that name its own ids.
OWN_TAGS = ("mlflow.parentRunId", "mlflow.note.content", "mlflow.user", "mlflow.rootRunId")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "mlflow.db")
    with running(Server(folder)) as server:
        yield server


@pytest.fixture
def link(server: Server) -> Iterator[Link]:
    link = Link(server.port)
    yield link
    link.cut()


@contextlib.contextmanager
def bad(fault: str, link: Link, server: Server) -> Iterator[None]:
    """Makes the server bad for the length of a block."""
    if fault == "killed":
        server.end(signal.SIGKILL)
        yield
        server.start()
    else:
        link.mode = fault
        yield
    link.mend()


def rows(uri: str, sweep: Builder) -> dict[str, dict[str, Any]]:
    """Everything MLflow shows of a sweep, by uid; the histories are in the order of storage."""
    api = MlflowClient(uri)
    experiment = api.get_experiment_by_name("hoyer/mnist-lenet_300_100")
    runs = api.search_runs(
        [experiment.experiment_id], f"tags.`hoyer.sweep` = '{sweep.folder.name}'", max_results=1000
    )
    uids = [run.data.tags.get("hoyer.uid", "") for run in runs]
    assert len(uids) == len(set(uids)), "a run is there twice"
    return {
        uid: {
            "status": run.info.status,
            "name": run.info.run_name,
            "params": run.data.params,
            "tags": {k: v for k, v in run.data.tags.items() if k not in OWN_TAGS},
            "last": run.data.metrics,
            "rows": {
                key: [(m.step, m.timestamp, m.value) for m in history(api, run, key)]
                for key in run.data.metrics
            },
        }
        for uid, run in zip(uids, runs, strict=True)
    }


def history(api: Any, run: Any, key: str) -> list[Any]:
    return list(api.get_metric_history(run.info.run_id, key))


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Asserts that a server after faults holds what one without any holds."""
    assert set(found) == set(expected)
    for uid, run in expected.items():
        for key in ("status", "name", "params", "tags", "last"):
            assert found[uid][key] == run[key], (uid, key)
        for key, history in run["rows"].items():
            got = found[uid]["rows"][key]
            assert len(got) == len(set(got)), (uid, key, "a row is there twice")
            if uid == "" or "/" in key:  # by trial and by epoch: each row is known beforehand
                assert got == history, (uid, key)
            else:  # moves with the front, so one who looked more often saw more of it
                final = [value for _, _, value in got].count(run["last"][key])
                once = [value for _, _, value in history].count(run["last"][key])
                assert key not in SUMMARIES or final == once, (uid, key, got)


def wait_for(condition: Callable[[], Any], *, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_no_row_is_lost_or_doubled_or_moved(
    fault: str, server: Server, link: Link, tmp_path: Path, empty_store: Path
) -> None:
    sweep = new_sweep(tmp_path / "runs", f"faults-{fault}")
    sweep.pretrain()
    tracker = Tracker(sweep.folder, link.uri, seconds=0.2, share=1.0)
    tracker.start()
    sweep.trial(0)
    half = sweep.start(1)
    sweep.epochs(half, 4)
    wait_for(lambda: tracker.link)
    with bad(fault, link, server):
        sweep.epochs(half, 4, first=5)
        sweep.end(half)
        sweep.trial(2)
        sweep.trial(3, error="Traceback: it diverged")
        tracker.notify()
        wait_for(lambda: fault == "delay" or tracker.problem)
        sweep.epochs(sweep.start(4), 3)
        time.sleep(1)
    sweep.trial(5)
    sweep.end(sweep.folder.specs()[4])
    sweep.finish()
    tracker.close()
    sync(sweep.folder, link.uri)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    sync(sweep.folder, default_uri(tmp_path))
    same(rows(server.uri, sweep), rows(default_uri(tmp_path), sweep))
    assert sync(sweep.folder, link.uri).samples == 0
    assert registered(server.uri, sweep) == registered(default_uri(tmp_path), sweep)


def registered(uri: str, sweep: Builder) -> list[str]:
    found = MlflowClient(uri).search_model_versions("name = 'hoyer-mnist-lenet_300_100'")
    return sorted(v.tags["point"] for v in found if v.tags["sweep"] == sweep.folder.name)
