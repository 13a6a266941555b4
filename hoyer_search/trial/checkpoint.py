"""Checkpoints inside a stage: safetensors and JSON, two generations, no pickle."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hoyer_search import files
from hoyer_search.compression.weights import storable

GENERATIONS = 2
_STATE, _MANIFEST = "state.safetensors", "manifest.json"


@dataclass(slots=True)
class State:
    """All that a training stage needs to go on.

    Attributes:
        model: The network being trained.
        optimizer: Its optimizer.
        epoch: Epochs done.
        wall_seconds: Seconds of training so far, over all attempts.
        best_accuracy: Best validation accuracy so far, -1 before the first.
        best_weights: Parameters and buffers of that epoch, None unless they are kept.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    wall_seconds: float = 0.0
    best_accuracy: float = -1.0
    best_weights: dict[str, Tensor] | None = None

    def keep(self, accuracy: float) -> None:
        """Remembers the current weights as the best."""
        self.best_accuracy = accuracy
        self.best_weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def restore_best(self) -> None:
        """Gives the network its best weights back."""
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)


class Checkpoints:
    """The checkpoints of one stage of one trial, in a folder of their own."""

    def __init__(self, folder: Path, *, every_minutes: float) -> None:
        self._folder = folder
        self._interval = 60 * every_minutes
        self._last = time.monotonic()

    def save_if_due(self, state: State, *, last: bool) -> None:
        """Saves when the interval has passed; the last epoch is saved by its stage instead."""
        if not last and time.monotonic() - self._last >= self._interval:
            self.save(state)

    def save(self, state: State) -> None:
        """Saves a generation and drops all but the newest two."""
        with files.new_directory(self._folder / f"epoch-{state.epoch:06d}") as folder:
            save_file(_tensors(state), folder / _STATE)
            files.write_json(
                folder / _MANIFEST,
                {
                    "sha256": files.sha256_file(folder / _STATE),
                    "epoch": state.epoch,
                    "wall_seconds": state.wall_seconds,
                    "best_accuracy": state.best_accuracy,
                },
            )
        self._last = time.monotonic()
        for old in self._generations()[:-GENERATIONS]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self, state: State) -> None:
        """Loads the newest generation that is whole; leaves the state as it is without one."""
        for folder in reversed(self._generations()):
            try:
                manifest = files.read_json(folder / _MANIFEST)
                if files.sha256_file(folder / _STATE) != manifest["sha256"]:
                    continue
                _load_tensors(state, load_file(folder / _STATE))
            except (OSError, ValueError, KeyError, SafetensorError, RuntimeError):
                continue  # damaged: the generation before it, or the start of the stage
            state.epoch = manifest["epoch"]
            state.wall_seconds = manifest["wall_seconds"]
            state.best_accuracy = manifest["best_accuracy"]
            return

    def clear(self) -> None:
        """Removes all generations, when the stage's output is on disk."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _generations(self) -> list[Path]:
        return sorted(self._folder.glob("epoch-*"))


def _tensors(state: State) -> dict[str, Tensor]:
    tensors = {f"model.{k}": v for k, v in state.model.state_dict().items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
    for name, value in (state.best_weights or {}).items():
        tensors[f"best.{name}"] = value
    return storable(tensors)


def _load_tensors(state: State, tensors: dict[str, Tensor]) -> None:
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "best": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    optimizer: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimizer"].items():
        index, _, key = name.partition(".")
        optimizer.setdefault(int(index), {})[key] = value
    state.model.load_state_dict(parts["model"])
    state.optimizer.load_state_dict(
        {"state": optimizer, "param_groups": state.optimizer.state_dict()["param_groups"]}
    )
    # Fused optimizers walk the memory of parameters and their state side by side, whatever the
    # strides: both must lie alike, and a file holds no layout.
    for parameter, values in state.optimizer.state.items():
        for key, value in values.items():
            if value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    device = next(state.model.parameters()).device
    state.best_weights = {k: v.to(device) for k, v in parts["best"].items()} or None
