"""Stages that skip themselves: an output on disk, keyed by the hash of all it depends on."""

import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hoyer_search import files
from hoyer_search.compression.weights import storable
from hoyer_search.errors import TrialFenced

# Raised when a stage's meaning changes, so that outputs of older code are not taken for new ones.
VERSION = 1
_WEIGHTS, _INFO, _MANIFEST = "weights.safetensors", "info.json", "manifest.json"


@dataclass(frozen=True, slots=True)
class Output:
    """What a finished stage left: a network's weights, or none, and plain JSON data."""

    weights: dict[str, Tensor]
    info: dict[str, Any]


class Attempt:
    """One attempt at a trial: the newest one owns its folder, older ones may write no more.

    A worker that a cluster has given up for dead may still train on; its successor takes the
    folder, and what the orphan does afterwards is refused.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "attempt"
        self._id = uuid.uuid4().hex
        files.write_text(self._file, self._id)
        for part in (folder, *folder.glob("*.partial")):
            files.remove_unfinished(part)

    @property
    def current(self) -> bool:
        """Returns whether this attempt still owns the folder."""
        try:
            return self._file.read_text(encoding="utf-8") == self._id
        except FileNotFoundError:
            return False  # the whole sweep was removed

    def check(self) -> None:
        """Checks that this attempt still owns the folder.

        Raises:
            TrialFenced: A newer attempt has taken over.
        """
        if not self.current:
            raise TrialFenced(f"{self._file.parent} was taken over by a newer attempt, or removed")


def stage_key(**inputs: Any) -> str:
    """Returns the key of a stage: a hash of everything its output depends on."""
    return files.digest({"version": VERSION, **inputs})[:16]


def load_stage(folder: Path) -> Output | None:
    """Returns a finished stage's output; a damaged one is removed and None is returned."""
    if not folder.is_dir():
        return None
    try:
        return read_stage(folder)
    except (OSError, ValueError):
        shutil.rmtree(folder, ignore_errors=True)
        return None


def read_stage(folder: Path) -> Output:
    """Returns a finished stage's output, and leaves the folder as it is.

    Raises:
        OSError: A file is missing or cannot be read.
        ValueError: A file is damaged.
    """
    manifest = files.read_json(folder / _MANIFEST)
    if any(files.sha256_file(folder / name) != sha for name, sha in manifest.items()):
        raise ValueError(f"{folder}: a file's checksum differs from the manifest's")
    try:
        weights = load_file(folder / _WEIGHTS) if _WEIGHTS in manifest else {}
    except SafetensorError as error:
        raise ValueError(f"{folder / _WEIGHTS}: {error}") from error
    return Output(weights, files.read_json(folder / _INFO))


def save_stage(
    folder: Path,
    *,
    attempt: Attempt,
    model: nn.Module | None,
    info: dict[str, Any],
    records: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Writes a stage's output whole or not at all.

    Args:
        folder: The stage's folder.
        attempt: The attempt that writes.
        model: Network to keep the weights of.
        info: Plain JSON data.
        records: Further JSON files by name.

    Raises:
        TrialFenced: A newer attempt owns the trial.
    """
    attempt.check()
    with files.new_directory(folder) as temporary:
        if model is not None:
            save_file(storable(model.state_dict()), temporary / _WEIGHTS)
        files.write_json(temporary / _INFO, info)
        for name, record in records.items():
            files.write_json(temporary / name, record)
        manifest = {name: files.sha256_file(temporary / name) for name in os.listdir(temporary)}
        files.write_json(temporary / _MANIFEST, manifest)
        attempt.check()
