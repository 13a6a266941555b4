"""A small network that takes its time and writes down every step it is trained by.

``STEPS`` names a file to which each step of training appends its start, host and process. Another
beside it, ``.pace``, says how many seconds a forward pass takes, without work for a processor; it
may change at any time.
"""

import os
import socket
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hoyer_search.datasets import Data
from hoyer_search.files import write_text

EXAMPLES, VALIDATION, BATCH = 600, 200, 50
STEPS_PER_EPOCH = (EXAMPLES - VALIDATION) // BATCH

SPACE = """\
name: counted
model: {factory: "counted:mlp"}
data: {source: "counted:blobs", validation: 200}
regularizer: {name: hoyer_square}
pipeline:
  pretrain: {epochs: 3, lr: 1.0e-2, batch_size: 50}
  regularize: {epochs: 60, lr: 1.0e-2, batch_size: 50}
  curve: {points: 12}
  finetune: {epochs: 2, lr: 1.0e-2, batch_size: 50, max_points: 2}
  checkpoint_minutes: 1.0e-9
search:
  decay: {low: 1.0e-4, high: 1.0e-1, log: true}
objective: {points: {A: 0.0, B: 0.05, C: 0.3}}
budget: {trials: 2}
resources: {cpus: 1, workers: 1}
"""


class Step(NamedTuple):
    """One step of training."""

    time: float
    host: str
    pid: int


class Paced(nn.Module):
    """Passes its input on, and takes its time; in training it notes the step."""

    def forward(self, x: Tensor) -> Tensor:
        # Not while torch.fx follows the network, nor with a single example, as for latency.
        if isinstance(x, Tensor) and len(x) > 1 and "STEPS" in os.environ:
            file = Path(os.environ["STEPS"])
            if self.training:
                _append(file, f"{time.time()} {socket.gethostname()} {os.getpid()}\n")
            time.sleep(pace(file))
        return x


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), Paced(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 4)
    )  # fmt: skip


def blobs() -> Data:
    """Returns images of shape (1, 6, 6): a pattern of each of four classes, and noise."""
    generator = torch.Generator().manual_seed(7)
    patterns = torch.randn(4, 1, 6, 6, generator=generator)

    def draw(number: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(4, (number,), generator=generator)
        return patterns[labels] + torch.randn(number, 1, 6, 6, generator=generator), labels

    return Data(train=draw(EXAMPLES), test=draw(EXAMPLES // 2), mean=[0.0], std=[1.0])


def set_pace(file: Path, seconds: float) -> None:
    """Sets how long a forward pass takes from now on."""
    write_text(file.with_suffix(".pace"), str(seconds))


def pace(file: Path) -> float:
    """Returns how long a forward pass takes, in seconds."""
    path = file.with_suffix(".pace")
    return float(path.read_text()) if path.is_file() else 0.0


def steps(path: Path) -> list[Step]:
    """Returns the steps that were noted, in their order."""
    if not path.is_file():
        return []
    lines = (line.split() for line in path.read_text().splitlines())
    return [Step(float(at), host, int(pid)) for at, host, pid in lines]


def _append(file: Path, line: str) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)
