"""Records that are written once are parsed once a process."""

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


@lru_cache(maxsize=8192)
def _load(kind: Any, path: Path, version: tuple[int, int, int]) -> Any:
    return results.load(kind, path)
