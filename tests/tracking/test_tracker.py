import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Builder

from hoyer_search.errors import ConnectionFailed
from hoyer_search.tracking import Tracker, check, default_uri, start_ui, sync


def wait_for(condition: Any, *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_a_tracker_follows_a_sweep_to_its_end(stored: Builder, mlflow_api: Any) -> None:
    stored.pretrain()
    tracker = Tracker(stored.folder, seconds=60.0)
    tracker.start()
    wait_for(lambda: tracker.link)
    stored.trial(0)
    tracker.notify()
    cursor = stored.folder.tracking / "cursor.json"
    wait_for(lambda: cursor.is_file() and "uid0000" in cursor.read_text())
    stored.finish()
    assert tracker.close()
    experiment = mlflow_api.get_experiment_by_name("hoyer/mnist-lenet_300_100")
    runs = mlflow_api.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert mlflow_api.get_registered_model("hoyer-mnist-lenet_300_100").aliases


def test_a_failure_is_logged_once_and_told(
    sweep: Builder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = Tracker(sweep.folder, "http://127.0.0.1:1", seconds=0.01)
    with caplog.at_level(logging.WARNING, logger="hoyer_search.tracking"):
        tracker.start()
        wait_for(lambda: tracker.problem)
        tracker.notify()
        time.sleep(0.2)
        assert not tracker.close()
    assert len(caplog.records) == 1
    assert "127.0.0.1:1" in tracker.problem
    assert tracker.link is None


def test_a_damaged_folder_does_not_end_the_thread(stored: Builder) -> None:
    stored.pretrain()
    stored.trial(0)
    result = stored.folder.trial("uid0000") / "result.json"
    text = result.read_text()
    result.write_text("{")
    tracker = Tracker(stored.folder, seconds=0.05)
    tracker.start()
    wait_for(lambda: "result.json" in tracker.problem)
    result.write_text(text)
    assert tracker.close()
    assert tracker.problem == ""


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


@pytest.fixture
def server(tmp_path: Path, empty_store: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Servers to end after the test."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_a_server_may_go_and_come_back(
    sweep: Builder,
    tmp_path: Path,
    server: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    server.append(start_ui(default_uri(tmp_path), port=port))
    check(uri)
    with pytest.raises(ConnectionFailed, match=r"port \d+ is taken"):
        start_ui(default_uri(tmp_path), port=port)
    sweep.pretrain()
    sweep.trial(0)
    tracker = Tracker(sweep.folder, uri, seconds=0.1)
    tracker.start()
    wait_for(lambda: tracker.link)
    server[0].terminate()
    server[0].wait()
    sweep.trial(1)
    tracker.notify()
    wait_for(lambda: tracker.problem)
    assert not tracker.close()
    server.append(start_ui(default_uri(tmp_path), port=port))
    sweep.finish()
    report = sync(sweep.folder, uri)
    assert report.runs == 1
    assert report.versions > 0
    assert sync(sweep.folder, uri).samples == 0


def test_pages_of_a_database_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="run a sweep"):
        start_ui(default_uri(tmp_path), port=free_port())
