"""The folder of a pruned network: what it holds, and how it is written, checked and read.

model.safetensors    parameters and buffers of the shrunk network
architecture.json    how to build it: factory, arguments, what was kept, inputs, origin
metrics.json         what was measured of it
manifest.json        format version; size and SHA-256 of each of the other files

Nothing in it is ever executed or unpickled. Networks are built by ``hoyer_search.models``. Reading
needs torch and safetensors only.
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
from torch import Tensor, nn

from hoyer_search import files
from hoyer_search.compression.cutting import Kept
from hoyer_search.compression.schema import parse
from hoyer_search.compression.weights import parse_tensors, storable
from hoyer_search.errors import ArtifactError

# 2: grouped and transposed convolutions are cut, layers without columns are hollow
# 3: layers may gather
FORMAT = 3
READABLE = (1, 2, 3)
WEIGHTS, ARCHITECTURE, METRICS, MANIFEST = (
    "model.safetensors", "architecture.json", "metrics.json", "manifest.json",
)  # fmt: skip
CONTENTS = (ARCHITECTURE, METRICS, WEIGHTS)
LARGEST_JSON = 64 * 2**20
LARGEST_INPUT = 2**28  # elements of one example
_PULL = "Pull the point again"
Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How to build a pruned network, what to feed it, and where it came from.

    Attributes:
        factory: Alias of a built-in model factory, or ``package.module:function``.
        arguments: Keyword arguments of the factory.
        kept: Rows and columns kept of the full-size network, and gathers, by module name.
        input_shape: Shape of one example.
        mean: What was subtracted from each input channel, None if nothing.
        std: What each input channel was divided by, None if nothing.
        classes: Names of the classes in the order of the outputs, None if they have none.
        origin: Sweep, trial, point, threshold and parameters that it came from.
    """

    factory: str
    input_shape: list[int]
    arguments: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    mean: list[float] | None = None
    std: list[float] | None = None
    classes: list[str] | None = None
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A checked artefact, read but not built.

    Attributes:
        folder: Where it was read from.
        architecture: How to build the network.
        metrics: What was measured when it was made.
        weights: Tensors of the shrunk network by name, all finite.
    """

    folder: Path
    architecture: Architecture
    metrics: dict[str, Any]
    weights: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Entry:
    """Size in bytes and SHA-256 (64 hex digits) of a file of an artefact."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Format version of an artefact, and its other files by name."""

    format: int
    files: dict[str, Entry]


def save_artifact(
    folder: str | os.PathLike[str],
    shrunk: nn.Module,
    *,
    architecture: Architecture,
    metrics: Mapping[str, Any],
) -> None:
    """Writes an artefact, whole or not at all. A folder that is there already stays as it is.

    Args:
        folder: The new folder.
        shrunk: The shrunk network.
        architecture: How to build it.
        metrics: What was measured of it, as JSON-ready data without NaN.

    Raises:
        OSError: The folder cannot be written.
        ValueError: A metric is NaN or infinite.
    """
    tensors = storable(shrunk.state_dict())
    with files.new_directory(Path(folder)) as temporary:
        files.write_bytes(temporary / WEIGHTS, safetensors.torch.save(tensors))
        files.write_json(temporary / ARCHITECTURE, asdict(architecture))
        files.write_json(temporary / METRICS, dict(metrics))
        entries = {
            name: {
                "size": (temporary / name).stat().st_size,
                "sha256": files.sha256_file(temporary / name),
            }
            for name in CONTENTS
        }
        files.write_json(temporary / MANIFEST, {"format": FORMAT, "files": entries})


def read_artifact(folder: str | os.PathLike[str]) -> Artifact:
    """Reads and checks an artefact without building its network.

    Raises:
        ArtifactError: A file is missing, unexpected, damaged, of an unknown format, or holds
            weights that are not finite. The message names the file.
    """
    path = Path(folder)
    contents = verify(path)
    architecture = _parse(Architecture, contents[ARCHITECTURE], path / ARCHITECTURE)
    _check_shape(architecture.input_shape, path / ARCHITECTURE)
    metrics = _parse(dict[str, Any], contents[METRICS], path / METRICS)
    weights = parse_tensors(contents[WEIGHTS], path / WEIGHTS)
    return Artifact(path, architecture, metrics, weights)


def verify(folder: str | os.PathLike[str]) -> dict[str, bytes]:
    """Checks every byte of an artefact against its manifest and returns the files by name.

    Raises:
        ArtifactError: As in ``read_artifact``, but for what the files say.
    """
    path = Path(folder)
    _check_names(path)
    manifest = read_manifest(_read(path / MANIFEST, limit=LARGEST_JSON), path / MANIFEST)
    return {name: _checked(path / name, entry) for name, entry in manifest.files.items()}


def read_manifest(content: bytes, path: Path) -> Manifest:
    """Returns what a manifest says of the other files of its artefact.

    Args:
        content: The bytes of the manifest.
        path: Where they are from, for messages.

    Raises:
        ArtifactError: It is no manifest, of an unknown format, or lists other files.
    """
    manifest = _parse(Manifest, content, path)
    if manifest.format not in READABLE:
        raise ArtifactError(
            f"{path}: this version reads artefacts of format {READABLE[0]} to "
            f"{READABLE[-1]}, got format {manifest.format}. Install a version of hoyer-search that "
            "knows it"
        )
    if set(manifest.files) != set(CONTENTS):
        raise ArtifactError(
            f"{path} must list exactly {', '.join(CONTENTS)}, "
            f"got {', '.join(sorted(manifest.files)) or 'nothing'}. {_PULL}"
        )
    return manifest


def _check_names(path: Path) -> None:
    if not path.is_dir():
        raise ArtifactError(f"{path} is no folder. Give the folder that `pull` wrote")
    found = {file.name for file in path.iterdir() if not file.name.startswith(".")}
    expected = {*CONTENTS, MANIFEST}
    for name in sorted(expected - found):
        raise ArtifactError(f"{path / name} is missing: an artefact is all its files. {_PULL}")
    for name in sorted(found - expected):
        raise ArtifactError(
            f"{path / name} does not belong into an artefact, which holds only "
            f"{', '.join(sorted(expected))}. Remove it, or pull the point again"
        )


def _checked(path: Path, entry: Entry) -> bytes:
    content = _read(path, size=entry.size, limit=None if path.name == WEIGHTS else LARGEST_JSON)
    found = hashlib.sha256(content).hexdigest()
    if found != entry.sha256:
        raise ArtifactError(
            f"{path} must have the SHA-256 {entry.sha256[:16]}..., it has {found[:16]}...: "
            f"it is damaged or was changed. {_PULL}"
        )
    return content


def _read(path: Path, *, size: int | None = None, limit: int | None = None) -> bytes:
    """Returns the bytes of a regular file, read once, so that what is checked is what is used."""
    try:
        # Without O_NONBLOCK a pipe would wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is no regular file")
            if size is not None and status.st_size != size:
                raise ArtifactError(
                    f"{path} must have {size} bytes, it has {status.st_size}: it is damaged. "
                    f"{_PULL}"
                )
            if limit is not None and status.st_size > limit:
                raise ArtifactError(
                    f"{path} must have at most {limit} bytes, it has {status.st_size}. {_PULL}"
                )
            return file.read()
    except OSError as error:
        link = " (it is a link, and links are not followed)" if path.is_symlink() else ""
        raise ArtifactError(f"{path} cannot be read: {error}{link}. {_PULL}") from error


def _parse(kind: type[Kind], content: bytes, path: Path) -> Kind:
    try:
        return parse(kind, content)
    except ValueError as error:
        raise ArtifactError(f"{path} breaks the format of an artefact: {error}. {_PULL}") from error


def _check_shape(shape: list[int], path: Path) -> None:
    elements = 1
    for size in shape:
        elements *= max(size, 0)
    if not shape or not 0 < elements <= LARGEST_INPUT:
        raise ArtifactError(
            f"{path}: input_shape must have from 1 to {LARGEST_INPUT:,} elements, got "
            f"{str(shape)[:80]}. {_PULL}"
        )
