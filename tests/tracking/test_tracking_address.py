import socket
import sys
import time
from pathlib import Path

import pytest

from hoyer_search.errors import ConnectionFailed
from hoyer_search.tracking import address, check, default_uri
from hoyer_search.tracking.address import without_password


def test_a_closed_port_is_seen_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(ConnectionFailed, match=r"does not answer.*--tracking-uri"):
        check(f"http://127.0.0.1:{port}")
    assert time.monotonic() - began < 30, "MLflow itself tries for minutes"


def test_a_silent_server_is_given_up_after_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert address.ANSWER_SECONDS <= 4
    monkeypatch.setattr(address, "ANSWER_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(ConnectionFailed, match="does not answer"):
            check(f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}")
        assert 0.5 <= time.monotonic() - began < 30


def test_a_message_shows_no_password() -> None:
    with pytest.raises(ConnectionFailed) as raised:
        check("http://user:secret@127.0.0.1:1")
    assert "secret" not in str(raised.value)
    assert without_password("postgresql://u:p@host/db") == "postgresql://host/db"


@pytest.mark.parametrize("uri", ["http://[bad", "http://no such host/", "ftp://127.0.0.1:1/x"])
def test_a_uri_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(ConnectionFailed):
        check(uri)


@pytest.mark.parametrize("uri", ["mlruns", "/tmp/mlruns", "file:///tmp/mlruns"])
def test_a_plain_folder_is_refused(uri: str) -> None:
    with pytest.raises(ConnectionFailed, match="plain folder"):
        check(uri)


def test_a_local_database_is_accepted_and_not_made(tmp_path: Path) -> None:
    check(default_uri(tmp_path / "not" / "yet"))
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(ConnectionFailed, match="runs is not a writable folder"):
        check(default_uri(tmp_path / "runs"))


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database" * 1000)
    with pytest.raises(ConnectionFailed, match="cannot be used"):
        check(default_uri(tmp_path))
    assert (tmp_path / "mlflow.db").read_text() == "no database" * 1000


def test_importing_loads_nothing_heavy() -> None:
    import subprocess

    code = (
        "import sys, hoyer_search.tracking; "
        "heavy = {'mlflow', 'plotly', 'matplotlib', 'torch', 'pandas', 'ray'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
