"""Secrets that a failed trial quotes get neither into the sweep's folder nor to MLflow."""

import json
import logging
from pathlib import Path

import canaries
import pytest
from conftest import Builder
from test_sweep import call

from hoyer_search.results import Finished
from hoyer_search.search.failures import add_failure, record_failed
from hoyer_search.sweep import _provenance
from hoyer_search.tracking import Tracker


def test_no_secret_is_stored_or_shown(
    stored: Builder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    canaries.plant(monkeypatch)
    stored.pretrain()
    stored.trial(0)
    spec = stored.start(1)
    text = f"Traceback (most recent call last):\nOSError: {canaries.quoted()}\n"
    add_failure(stored.folder, spec, text)
    record_failed(stored.folder, spec, text)
    provenance = _provenance(canaries.URL)
    (stored.folder.path / "provenance.json").write_text(json.dumps(provenance))
    assert provenance["tracking_uri"] == "https://127.0.0.1:1/data"
    stored.folder.save_finished(Finished(trials=2, budget=2, stopped_by="trials"))

    name, where = stored.folder.name, ("--storage", stored.folder.path.parent)
    here = ("--tracking-uri", f"sqlite:///{stored.folder.path.parent / 'mlflow.db'}")
    for command in (
        ["sync", name, *here],
        ["report", name, "-o", tmp_path / "report.html"],
        ["status", name, "--json"],
        ["status", name],
        ["list", "--json"],
        ["show", name, "--json"],
        ["show", name],
        ["logs", name, "--trial", 1, "--json"],
        ["logs", name, "--trial", 1],
    ):
        code, out, error = call(monkeypatch, capsys, *command, *where)
        assert code == 0, error
        assert canaries.in_text(out + error) == [], command
    assert "OSError: cannot open https://127.0.0.1:1/data with" in out
    assert canaries.in_folder(tmp_path) == []


def test_a_tracking_server_that_is_down_is_logged_without_its_password(
    sweep: Builder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    canaries.plant(monkeypatch)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = Tracker(sweep.folder, canaries.URL, seconds=0.01)
    with caplog.at_level(logging.DEBUG, logger="hoyer_search"):
        tracker.start()
        assert not tracker.close()
    assert "127.0.0.1:1" in tracker.problem
    assert canaries.in_text(tracker.problem + caplog.text) == []
