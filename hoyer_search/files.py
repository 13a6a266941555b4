"""Atomic writes and checksums: no reader ever sees half a file or half a folder."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hoyer_search.errors import StorageError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")


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


def check_output(path: Path) -> None:
    """Makes the folder of a file that a user wants, and checks that the file can be written there.

    Raises:
        StorageError: It cannot, or is a folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}. Give another file") from error
    if path.is_dir():
        raise StorageError(f"{path} is a folder: give a file in it")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise StorageError(
            f"{path} cannot be written: you may not write to its folder. Give another file"
        )


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


def append_line(path: Path, line: str) -> None:
    """Appends a line whole or not at all, in one write.

    A last line that a killed writer left without its end is ended first, lest it spoil this one.

    Args:
        path: The file; made when there is none.
        line: Text without a line break.

    Raises:
        OSError: It cannot be written, e.g. for want of space; the file is as it was.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(handle).st_size
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        data = b"\n" * torn + line.encode() + b"\n"
        if os.write(handle, data) != len(data):  # the disk took a part of it
            os.ftruncate(handle, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(handle)


def read_lines(path: Path) -> Iterator[Any]:
    """Yields the value of each whole line of a JSON-lines file; no file has none.

    A last line without its end is still being written, and one that is no JSON was torn.
    """
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.endswith("\n"):
                with contextlib.suppress(ValueError):
                    yield json.loads(line)


def out_of_space(error: BaseException | None) -> bool:
    """Returns whether an error, or one that it came from, is that a disk or a quota is full."""
    while error is not None:
        full = (errno.ENOSPC, errno.EDQUOT)
        if isinstance(error, OSError) and error.errno in full:
            return True
        if any(f"(os error {number})" in str(error) for number in full):  # safetensors' own type
            return True
        error = error.__cause__ or error.__context__
    return False


def remove_unfinished(folder: Path) -> None:
    """Removes what killed writers left half-written in a folder that nobody else writes to."""
    for left in folder.glob(".*.*"):
        if _TEMPORARY.fullmatch(left.name):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


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
