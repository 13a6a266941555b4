"""Tracking URIs: the default one, and whether what one names can be used."""

import http.client
import os
import sqlite3
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from hoyer_search.errors import ConnectionFailed

ANSWER_SECONDS = 4.0
SQLITE = "sqlite:///"


def default_uri(storage: Path) -> str:
    """Returns the tracking URI of a storage folder's own database, ``STORAGE/mlflow.db``."""
    return f"{SQLITE}{storage.absolute() / 'mlflow.db'}"


def is_server(uri: str) -> bool:
    """Returns whether a tracking URI names a server over HTTP."""
    return urlsplit(uri).scheme in ("http", "https")


def without_password(uri: str) -> str:
    """Returns a URI without its user and password, fit to be printed."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def check_address(uri: str) -> None:
    """Checks that a server answers, or that a SQLite file can be written, without MLflow.

    Raises:
        ConnectionFailed: It does not, within about four seconds; or MLflow has no such store.
    """
    try:
        scheme = urlsplit(uri).scheme
    except ValueError as error:
        raise ConnectionFailed(f"tracking URI {uri!r} is no URI: {error}") from error
    if is_server(uri):
        _check_server(uri)
    elif uri.startswith(SQLITE):
        _check_sqlite(Path(uri.removeprefix(SQLITE)))
    elif scheme in ("", "file"):
        raise ConnectionFailed(
            f"tracking URI {uri!r} is a plain folder, which MLflow no longer writes to: "
            f"give http://HOST:PORT, {SQLITE}PATH or another database URI"
        )


def _check_server(uri: str) -> None:
    shown = without_password(uri)
    try:
        with urllib.request.urlopen(f"{shown.rstrip('/')}/health", timeout=ANSWER_SECONDS):
            pass
    except urllib.error.HTTPError:
        return  # it answers; whether it lets us in is seen by the first call
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return  # MLflow has its own settings for certificates
        raise ConnectionFailed(
            f"the tracking server {shown} does not answer ({reason}): "
            "start it, or correct --tracking-uri"
        ) from error


def _check_sqlite(path: Path) -> None:
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ConnectionFailed(
            f"the tracking database {path} cannot be written: {parent} is not a writable folder. "
            "Give another with --tracking-uri"
        )
    if not path.exists():
        return
    try:
        connection = sqlite3.connect(path, timeout=ANSWER_SECONDS)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise ConnectionFailed(
            f"the tracking database {path} cannot be used ({error}): "
            "give another with --tracking-uri"
        ) from error
