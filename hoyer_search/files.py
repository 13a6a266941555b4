"""Atomic writes and checksums: no reader ever sees half a file or half a folder."""

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def sha256_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: object) -> str:
    """Returns the SHA-256 of a JSON-serialisable value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file so that readers see the old one or the new, and a crash keeps one of them."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Writes a value as indented JSON, atomically. NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Returns the value of a JSON file.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not JSON.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def sync_directory(folder: Path) -> None:
    """Flushes a folder's entries to disk, so that a rename in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yields a temporary folder that becomes ``path`` when the block ends without an error.

    Every file in it is flushed before the rename. If ``path`` exists by then, what stands there
    stays and the new folder is dropped: both came from the same inputs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
        with contextlib.suppress(OSError):
            temporary.rename(path)
        if not path.is_dir():
            raise OSError(f"cannot move {temporary} to {path}")
        sync_directory(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
