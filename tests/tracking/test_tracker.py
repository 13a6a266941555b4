import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Builder
from servers import Link, free_port

from hoyer_search.errors import ConnectionFailed
from hoyer_search.tracking import Tracker, check, default_uri, start_ui, stop_ui, sync


def wait_for(condition: Any, *, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_a_tracker_follows_a_sweep_to_its_end(stored: Builder, mlflow_api: Any) -> None:
    stored.pretrain()
    tracker = Tracker(stored.folder, seconds=60.0, share=1.0)
    tracker.start()
    tracker.notify()
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


def test_the_first_sync_of_a_short_sweep_may_be_its_last(
    sweep: Builder, request: pytest.FixtureRequest
) -> None:
    sweep.pretrain()
    sweep.trial(0)
    sweep.finish()
    tracker = Tracker(sweep.folder)
    tracker.start()
    assert tracker.close(), tracker.problem  # making the database alone takes seconds
    mlflow_api = request.getfixturevalue("mlflow_api")  # which would make it
    assert mlflow_api.get_registered_model("hoyer-mnist-lenet_300_100").aliases


def test_mlflow_is_switched_off_from_calling_home_before_anything_imports_it(
    sweep: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = Tracker(sweep.folder, "http://127.0.0.1:1", seconds=60.0)
    tracker.start()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert not tracker.close()


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
    tracker = Tracker(stored.folder, seconds=0.05, share=1.0)
    tracker.start()
    wait_for(lambda: "result.json" in tracker.problem)
    result.write_text(text)
    assert tracker.close()
    assert tracker.problem == ""


@pytest.fixture
def server(tmp_path: Path, empty_store: Path) -> Iterator[int]:
    """The port of a tracking server."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    port = free_port()
    process = start_ui(default_uri(tmp_path), port=port)
    yield port
    stop_ui(process)


@pytest.mark.slow
def test_a_server_may_go_and_come_back(
    sweep: Builder, tmp_path: Path, server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConnectionFailed, match=r"port \d+ is taken"):
        start_ui(default_uri(tmp_path), port=server)
    link = Link(server)
    uri = f"http://127.0.0.1:{link.port}"
    check(uri)
    sweep.pretrain()
    sweep.trial(0)
    tracker = Tracker(sweep.folder, uri, seconds=0.1, share=1.0)
    tracker.start()
    wait_for(lambda: tracker.link)
    link.cut()
    sweep.trial(1)
    tracker.notify()
    wait_for(lambda: tracker.problem)
    assert not tracker.close()
    link.mend()
    sweep.finish()
    report = sync(sweep.folder, uri)
    assert report.runs == 1
    assert report.versions > 0
    assert sync(sweep.folder, uri).samples == 0
    link.cut()


def test_pages_of_a_database_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="run a sweep"):
        start_ui(default_uri(tmp_path), port=free_port())
