"""A user's network with faults: a trial says by its batch size which one befalls it.

What happened is noted in the folder that ``HOYER_SEARCH_FAULTS`` names, a line an event: batch
size, process, Unix time, and ``epoch`` for the first step of an epoch or ``fault``.
"""

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

import torch
import toys
from torch import Tensor, nn

from hoyer_search.datasets import Data

FOLDER = "HOYER_SEARCH_FAULTS"
EXAMPLES, VALIDATION = 600, 200
HEALTHY, ALWAYS, ONCE, NAN, INFINITE, KILLED, HANGS, HUNGRY = range(50, 58)
GREEDY = 59  # of 58 a last batch of 52 would remain

PIECES, PIECE = 80, 100 << 20
"""A trial takes at most so many pieces of memory of so many bytes: 8 GB."""
LIMIT = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
MOST = 16 << 30
"""Bytes that a machine may have at most for a trial to take any of them."""


class Noted(NamedTuple):
    batch_size: int
    pid: int
    time: float
    event: str


def network() -> nn.Module:
    model = toys.mlp()
    model.register_forward_hook(Fault())
    return model


def blobs() -> Data:
    return toys.blobs(EXAMPLES)


class Fault:
    """A hook on the network's output, which torch.fx does not trace."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        size = len(inputs[0])
        if not module.training or not HEALTHY < size <= GREEDY:
            return output
        steps = (EXAMPLES - VALIDATION) // size
        self._calls += 1
        if self._calls % steps == 1:  # the last batch of an epoch is smaller, and is not counted
            note(size, "epoch")
        if size == ALWAYS:
            raise RuntimeError("this trial always fails")
        if size == NAN:
            return output * torch.nan
        if size == INFINITE:  # one class is certain; its loss is 0, that of all others infinite
            certain = torch.full_like(output, -torch.inf)
            certain[:, 0] = 0.0
            return certain + 0.0 * output
        at = 3 if size == GREEDY else 2 * steps + 3  # in the first epoch, or in the third
        if self._calls == at and (size == GREEDY or first_time(size)):
            note(size, "fault")
            act(size)
        return output


def act(size: int) -> None:
    if size == ONCE:
        raise RuntimeError("this trial fails once")
    if size == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if size == HANGS:
        os.kill(os.getpid(), signal.SIGSTOP)  # not even its threads go on
    if size in (HUNGRY, GREEDY):
        take_memory()


def take_memory() -> None:
    """Takes memory piece by piece until Ray kills the process, and gives it back if it does not."""
    if int(LIMIT.read_text()) > MOST:
        raise RuntimeError("the machine has no limit of memory: none is taken")
    pieces = []
    for number in range(PIECES):
        pieces.append(bytes([number + 1]) * PIECE)
        time.sleep(0.1)
    time.sleep(5)


def first_time(size: int) -> bool:
    try:
        (Path(os.environ[FOLDER]) / f"done-{size}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def note(size: int, event: str) -> None:
    with (Path(os.environ[FOLDER]) / "notes").open("a") as file:
        file.write(f"{size} {os.getpid()} {time.time()} {event}\n")


def notes(folder: Path, size: int) -> list[Noted]:
    """Returns what happened to the trials of a batch size, in its order."""
    lines = (line.split() for line in (folder / "notes").read_text().splitlines())
    noted = [Noted(int(s), int(pid), float(at), event) for s, pid, at, event in lines]
    return [one for one in noted if one.batch_size == size]


def seconds_to_recover(folder: Path, size: int) -> float:
    """Returns the time from the first fault to the next epoch's first step."""
    (fault, *_) = (one for one in notes(folder, size) if one.event == "fault")
    after = (one for one in notes(folder, size) if one.time > fault.time and one.event == "epoch")
    return next(after).time - fault.time


SPACE = """\
name: faulty
model: {factory: "faulty:network"}
data: {source: "faulty:blobs", validation: 200}
regularizer: {name: hoyer_square}
pipeline:
  pretrain: {epochs: 2, lr: 1.0e-2, batch_size: 50}
  regularize: {epochs: 4, lr: 1.0e-2, batch_size: 50}
  curve: {points: 12}
  finetune: {epochs: 1, lr: 1.0e-2, batch_size: 50, max_points: 1}
  checkpoint_minutes: 1.0e-9
search:
  decay: {low: 1.0e-4, high: 1.0e-1, log: true}
  pipeline.regularize.batch_size: {choices: [50, 51, 52, 53, 54, 55, 56, 57, 59]}
objective: {points: {A: 0.0, B: 0.05, C: 0.3}}
sampler: random
resources: {cpus: 1, workers: 2}
"""
