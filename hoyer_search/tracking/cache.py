"""Pulled networks on this machine, by the digest of their manifest: downloaded once, whole or not.

CACHE/DIGEST/            an artefact; DIGEST is the SHA-256 of its manifest.json
CACHE/.DIGEST.partial/   what an interrupted download left; the next one goes on with it

Anything in it may be deleted at any time.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from hoyer_search import files
from hoyer_search.errors import ArtifactError, ConnectionFailed, StorageError

ATTEMPTS = 3
"""How often a file's download is begun or gone on with before it is given up."""

Download = Callable[[str, Path, int], None]
"""Writes the file of a name to a path, at most so many bytes; goes on with what is there."""


def cache_folder() -> Path:
    """Returns ``$HOYER_SEARCH_CACHE``, else ``hoyer-search`` in ``$XDG_CACHE_HOME`` or ~/.cache."""
    own = os.environ.get("HOYER_SEARCH_CACHE")
    if own:
        return Path(own).absolute()
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches).absolute() / "hoyer-search"


def cached(download: Download) -> Path:
    """Returns the folder of an artefact in the cache, downloaded unless it is there.

    The manifest is always downloaded: it says which artefact it is. Every byte is checked against
    it, of an artefact in the cache too; a damaged one is downloaded again.

    Args:
        download: Downloads one file of the artefact.

    Raises:
        ArtifactError: What the server has is damaged.
        ConnectionFailed: A download broke off; the next call goes on with it.
        StorageError: The cache cannot be written.
    """
    from hoyer_search.compression.artifact import LARGEST_JSON, MANIFEST, verify

    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".") as temporary:
            manifest = Path(temporary) / MANIFEST
            download(MANIFEST, manifest, LARGEST_JSON)
            content = manifest.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        folder = cache / digest
        with FileLock(cache / f".{digest}.lock"):
            if folder.is_dir():
                with contextlib.suppress(ArtifactError):
                    verify(folder)
                    return folder
                shutil.rmtree(folder)
            _fill(folder, content, download)
    except OSError as error:
        raise StorageError(
            f"the cache {cache} cannot be written: {error}. Set HOYER_SEARCH_CACHE to another"
        ) from error
    return folder


def _fill(folder: Path, manifest: bytes, download: Download) -> None:
    """Makes the folder of an artefact; its files are downloaded into a partial one first."""
    from hoyer_search.compression.artifact import MANIFEST, read_manifest, verify

    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir(exist_ok=True)
    for name, entry in read_manifest(manifest, Path(MANIFEST)).files.items():
        path = partial / name
        if not _is(path, entry.sha256):
            _get(name, path, entry.size, entry.sha256, download)
    files.write_bytes(partial / MANIFEST, manifest)
    verify(partial)
    partial.rename(folder)


def _get(name: str, path: Path, size: int, sha256: str, download: Download) -> None:
    """Downloads one file, going on after each interruption with what had arrived."""
    part = path.with_name(f".{name}.part")
    for attempt in range(ATTEMPTS):
        try:
            download(name, part, size)
        except ConnectionFailed:
            if attempt == ATTEMPTS - 1:
                raise
            continue
        if _is(part, sha256):
            part.replace(path)
            return
        part.unlink(missing_ok=True)  # damaged, or begun from a file that was replaced since
    raise ArtifactError(
        f"{name} must have the SHA-256 {sha256[:16]}... that its manifest says: what the tracking "
        "server has is damaged. Upload it again: delete it there and run `hoyer-search sync`"
    )


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and files.sha256_file(path) == sha256
