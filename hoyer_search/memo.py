"""Records that are written once are parsed once a process."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from hoyer_search import results

Record = TypeVar("Record")


def load_once(kind: type[Record], path: Path) -> Record:
    """Returns ``results.load(kind, path)``, parsed again only when the file is another.

    The same object is returned each time: leave it as it is.

    Raises:
        StorageError: As ``results.load`` raises it.
    """
    try:
        status = path.stat()
    except OSError:
        return results.load(kind, path)  # which says what is wrong
    version = (status.st_ino, status.st_mtime_ns, status.st_size)
    record: Record = _load(cast(Any, kind), path, version)
    return record


@contextmanager
def no_collection() -> Iterator[None]:
    """Leaves off collecting garbage while many records are read.

    They hold no cycles, and looking for some takes as long as parsing. Of two threads in such a
    block the first to leave ends it for both, which costs the other some time only.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@lru_cache(maxsize=8192)
def _load(kind: Any, path: Path, version: tuple[int, int, int]) -> Any:
    return results.load(kind, path)
