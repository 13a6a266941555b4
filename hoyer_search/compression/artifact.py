"""The folder of a pruned network: what it holds, and how it is written, checked and read.

model.safetensors    parameters and buffers of the shrunk network
architecture.json    how to build it: factory, arguments, kept rows and columns, inputs, origin
metrics.json         what was measured of it
manifest.json        format version; size and SHA-256 of each of the other files

Nothing in it is ever executed or unpickled. Networks are built by ``hoyer_search.models``.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from hoyer_search import files
from hoyer_search.compression.cutting import Kept
from hoyer_search.compression.weights import parse_tensors
from hoyer_search.errors import ArtifactError

FORMAT = 1
WEIGHTS, ARCHITECTURE, METRICS, MANIFEST = (
    "model.safetensors", "architecture.json", "metrics.json", "manifest.json",
)  # fmt: skip
CONTENTS = (ARCHITECTURE, METRICS, WEIGHTS)
_PULL = "Pull the point again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How to build a pruned network, what to feed it, and where it came from.

    Attributes:
        factory: Alias of a built-in model factory, or ``package.module:function``.
        arguments: Keyword arguments of the factory.
        kept: Rows and columns kept of the full-size network, by module name.
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
class _Entry:
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Manifest:
    format: int
    files: dict[str, _Entry]


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
    tensors = {n: t.detach().cpu().contiguous().clone() for n, t in shrunk.state_dict().items()}
    with files.new_directory(Path(folder)) as temporary:
        safetensors.torch.save_file(tensors, temporary / WEIGHTS)
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
    manifest = _parse(_Manifest, _read(path / MANIFEST), path / MANIFEST)
    if manifest.format != FORMAT:
        raise ArtifactError(
            f"{path / MANIFEST}: this version reads artefacts of format {FORMAT}, got format "
            f"{manifest.format}. Install a version of hoyer-search that knows it"
        )
    if set(manifest.files) != set(CONTENTS):
        raise ArtifactError(
            f"{path / MANIFEST} must list exactly {', '.join(CONTENTS)}, "
            f"got {', '.join(sorted(manifest.files)) or 'nothing'}. {_PULL}"
        )
    return {name: _checked(path / name, entry) for name, entry in manifest.files.items()}


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


def _checked(path: Path, entry: _Entry) -> bytes:
    content = _read(path)
    if len(content) != entry.size:
        raise ArtifactError(
            f"{path} must have {entry.size} bytes, it has {len(content)}: it is damaged. {_PULL}"
        )
    found = hashlib.sha256(content).hexdigest()
    if found != entry.sha256:
        raise ArtifactError(
            f"{path} must have the SHA-256 {entry.sha256[:16]}..., it has {found[:16]}...: "
            f"it is damaged or was changed. {_PULL}"
        )
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error}. {_PULL}") from error


def _parse(kind: Any, content: bytes, path: Path) -> Any:
    try:
        return TypeAdapter(kind).validate_json(content, strict=True)
    except ValidationError as error:
        reasons = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3]]
        raise ArtifactError(
            f"{path} breaks the format of an artefact: {'; '.join(reasons)}. {_PULL}"
        ) from error
