"""MLflow's pages end with whoever asked for them, and leave no process behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Builder, new_sweep
from processes import descendants, read, wait_for_end
from test_sweep import call

from hoyer_search.tracking import default_uri, sweep_link, sync, ui


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_pages_that_do_not_answer_yet(
    tmp_path: Path, empty_store: Path, number: signal.Signals, code: int
) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    main = "from hoyer_search.cli import main; main()"
    pages = subprocess.Popen(
        [sys.executable, "-c", main, "ui", "--storage", str(tmp_path), "--port", str(port)],
        env=os.environ,
        # A shell's background job ignores Ctrl-C, and nohup's the end of the terminal.
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (number, signal.SIGINT)],
    )

    def servers() -> list[int]:
        return [p for p in descendants(pages.pid) if "mlflow" in read(p, "cmdline")]

    while not servers():
        assert pages.poll() is None
        time.sleep(0.05)
    below = servers()
    assert not any("mlflow.db" in read(pid, "cmdline") for pid in below)
    pages.send_signal(number)
    assert pages.wait(60) == code
    wait_for_end(below)


def test_pages_open_on_the_newest_front(
    stored: Builder, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    stored.pretrain()
    stored.trial(0)
    sync(stored.folder, running=False)
    storage = stored.folder.path.parent
    new_sweep(storage, "not-synced")
    shutil.copytree(stored.folder.path, storage / "damaged")
    (storage / "damaged" / "sweep.yaml").write_text("name: [")
    opened = sweep_link(stored.folder, port=5050)

    def stand_in(uri: str, *, port: int) -> subprocess.Popen[bytes]:
        """Starts a process that ends at once in place of a server, which another test starts."""
        assert (uri, port) == (default_uri(storage), 5050)
        command = [sys.executable, "-c", f"raise SystemExit({ended_with})"]
        return subprocess.Popen(command, start_new_session=True)

    monkeypatch.setattr(ui, "start_ui", stand_in)
    ended_with = 0
    code, out, error = call(monkeypatch, capsys, "ui", "--storage", storage, "--port", 5050)
    assert code == 0, error
    assert out.split() == ["MLflow:", opened]
    assert "viewStateShareKey=hoyer-front-" in str(opened)
    ended_with = 3
    code, _, error = call(monkeypatch, capsys, "ui", "--storage", storage, "--port", 5050)
    assert (code, "with exit code 3" in error) == (1, True)
