"""A pipeline that takes no time: results follow from the decay by a formula.

Like the real one it is run step by step, skips what is done, and leaves a result.json behind. It
notes every start and end of a trial in the sweep's folder, for tests to look at.
"""

import dataclasses
import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hoyer_search import results
from hoyer_search.config import SweepConfig
from hoyer_search.errors import DataError, TrialDiverged
from hoyer_search.results import CurvePoint, Dense, Point, Progress, TrialResult, TrialSpec
from hoyer_search.store import SweepFolder
from hoyer_search.trial.journal import Journal

DENSE = Dense(
    val_accuracy=0.98,
    test_accuracy=0.98,
    nonzeros=100_000,
    macs=100_000,
    parameters=100_100,
    structure="300-100-10",
    latency_ms=1.0,
)


def pretrain(folder: SweepFolder, config: SweepConfig, data: Any) -> Iterator[Progress]:
    target = folder.pretrained("toy") / "dense.json"
    if not target.is_file():
        for epoch in (1, 2):
            yield progress("pretrain", epoch)
        target.parent.mkdir(exist_ok=True)
        results.save(target, DENSE)


def pretrain_diverging(folder: SweepFolder, config: SweepConfig, data: Any) -> Iterator[Progress]:
    yield from ()
    raise TrialDiverged("the dense network diverged")


def pretrain_dying_once(folder: SweepFolder, config: SweepConfig, data: Any) -> Iterator[Progress]:
    if "pretraining died" not in notes(folder.path):
        note(folder, "pretraining died")
        os._exit(1)
    yield from pretrain(folder, config, data)


def pretrain_dying(folder: SweepFolder, config: SweepConfig, data: Any) -> Iterator[Progress]:
    yield from ()
    note(folder, "pretraining died")
    os._exit(1)


def pretrain_hanging_once(
    folder: SweepFolder, config: SweepConfig, data: Any
) -> Iterator[Progress]:
    yield progress("pretrain", 1)
    if "pretraining hung" not in notes(folder.path):
        note(folder, "pretraining hung")
        os.kill(os.getpid(), signal.SIGSTOP)
    yield from pretrain(folder, config, data)


def run_trial(folder: SweepFolder, spec: TrialSpec, data: Any) -> Iterator[Progress]:
    if folder.result(spec.uid) is not None:
        return
    note(folder, f"start {spec.uid} {os.getpid()} {time.time()}")
    for epoch in (1, 2):
        if isinstance(data, dict):
            time.sleep(data.get("epoch_seconds", 0.0))
        yield progress("regularize", epoch)
    results.save(folder.trial(spec.uid) / "result.json", result(spec))
    note(folder, f"end {spec.uid} {os.getpid()} {time.time()}")


class LateWorkers:
    """What trials train on, which the first two processes have at once and all others in 3 s.

    So of the workers that a sweep starts at once, after its pretraining, only one is there soon.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_late, (self._file,)


def _load_late(path: Path) -> dict[str, float]:
    with path.open("ab", buffering=0) as file:
        file.write(b"x")
        if file.tell() > 2:
            time.sleep(3.0)
    return {"epoch_seconds": 0.2}


class Unreadable:
    """What trials train on, which no worker can read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_unreadable, ()


def _load_unreadable() -> None:
    raise ModuleNotFoundError("No module named 'mine'")


def run_watched_trial(folder: SweepFolder, spec: TrialSpec, data: Any) -> Iterator[Progress]:
    """A trial of four epochs with milestones; every second one collapses far too early."""
    if folder.result(spec.uid) is not None:
        return
    note(folder, f"start {spec.uid} {os.getpid()} {time.time()}")
    journal = Journal(folder.trial(spec.uid) / "metrics.jsonl")
    edge = 3.0 if spec.number % 2 else 6.0 + spec.number / 10
    for epoch in (1, 2, 3, 4):
        step = progress("regularize", epoch)
        step = dataclasses.replace(step, epochs=4, curve=curve(edge) if epoch < 4 else [])
        journal.add(step)
        yield step
    ended = result(spec, accuracies=(0.981, 0.972, 0.955))
    points = [
        dataclasses.replace(p, nonzeros=round(100_000 / 2 ** (edge - 1 + i / 2)))
        for i, p in enumerate(ended.points)
    ]
    ended = dataclasses.replace(ended, curve=curve(edge), points=points)
    results.save(folder.trial(spec.uid) / "result.json", ended)
    note(folder, f"end {spec.uid} {os.getpid()} {time.time()}")


def curve(edge: float) -> list[CurvePoint]:
    """Returns a raw curve that collapses around a log2 compression."""
    return [
        CurvePoint(
            threshold=0.1 + compression,
            val_accuracy=0.985 - 0.88 / (1 + math.exp(-4 * (compression - edge))),
            nonzeros=round(100_000 / 2**compression),
            macs=1,
        )
        for compression in (0.1, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    ]


def run_troubled_trial(folder: SweepFolder, spec: TrialSpec, data: Any) -> Iterator[Progress]:
    """Trial 0 always raises, 1 raises once, 2 diverges, 3 loses its process once, 4 reads NaN."""
    note(folder, f"start {spec.uid} {os.getpid()} {time.time()}")
    yield progress("regularize", 1)
    before = starts(folder, spec.uid)
    if spec.number == 0 or (spec.number == 1 and before == 1):
        raise ValueError(f"no luck with {spec.uid}")
    if spec.number == 2:
        raise TrialDiverged("the loss became nan")
    if spec.number == 3 and before == 1:
        os._exit(1)
    if spec.number == 4:
        raise DataError("inputs must be finite, got nan")
    yield from run_trial(folder, spec, data)


def result(spec: TrialSpec, *, accuracies: tuple[float, ...] | None = None) -> TrialResult:
    """Returns a result whose compression grows with the decay and whose accuracy falls."""
    decades = math.log10(float(spec.params.get("decay", 1e-3))) + 5  # 0 to 2.5
    accuracies = accuracies or (0.981 - 0.004 * decades, 0.975 - 0.02 * decades)
    points = [
        point(spec, index=i, val_accuracy=a, nonzeros=int(100_000 / (2 + decades) / 4**i))
        for i, a in enumerate(accuracies)
    ]
    if spec.retrains is not None:
        luck = spec.retrains.seed % 100 / 1e5
        kept = [p for p in points if p.threshold in spec.retrains.thresholds]
        points = [dataclasses.replace(p, val_accuracy=p.val_accuracy - luck) for p in kept]
    return TrialResult(
        number=spec.number,
        uid=spec.uid,
        params=spec.params,
        state="complete",
        dense=DENSE,
        points=points,
        retrains=spec.retrains,
    )


def point(spec: TrialSpec, *, index: int, val_accuracy: float, nonzeros: int) -> Point:
    return Point(
        trial=spec.number,
        uid=spec.uid,
        index=index,
        params=spec.params,
        threshold=0.02 * (index + 1),
        raw_val_accuracy=val_accuracy - 0.1,
        val_accuracy=val_accuracy,
        test_accuracy=val_accuracy,
        nonzeros=nonzeros,
        macs=nonzeros,
        physical_macs=nonzeros,
        parameters=nonzeros,
        structure="30-10-10",
        exactness=0.0,
        latency_ms={"dense": 1.0, "shrunk": 0.5},
        layers=[],
    )


def progress(stage: str, epoch: int) -> Progress:
    return Progress(
        stage=stage, epoch=epoch, epochs=2, metrics={"loss": 1.0 / epoch}, time=time.time()
    )


def note(folder: SweepFolder, text: str) -> None:
    with (folder.path / "notes.txt").open("a") as file:
        file.write(text + "\n")


def durations(path: Path) -> list[float]:
    """Returns the seconds that each finished trial took, in the order of their ends."""
    began, taken = {}, []
    for event, uid, _, at in (line.split() for line in notes(path) if line.count(" ") == 3):
        if event == "start":
            began[uid] = float(at)
        else:
            taken.append(float(at) - began[uid])
    return taken


def starts(folder: SweepFolder, uid: str) -> int:
    return sum(line.startswith(f"start {uid} ") for line in notes(folder.path))


def notes(path: Path) -> list[str]:
    file = path / "notes.txt"
    return file.read_text().splitlines() if file.is_file() else []
