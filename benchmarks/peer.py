r"""Compares a sweep with what a user would write alone, on the same cores and wall time.

    python benchmarks/peer.py --minutes 15 --work /tmp/peer -o benchmarks/results/peer

Runs the recipe of ``peer_recipe.py`` and then ``hoyer-search run`` with ``peer.yaml``, and writes
OUTPUT.json, OUTPUT.png and a table. Both get the same data, the same split and the same dense
network, which is trained once and whose training time is charged to both: so the peer is spared
the slower loader here. Each side's clock starts with its process. Networks are written to
WORK/SIDE/networks.jsonl when they are there; ``--only SIDE`` runs one side again and keeps the
other, ``--only report`` runs none.
"""

import argparse
import gzip
import importlib.metadata
import json
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peer_report import Network, Side, Task, plot, summarise, table

import hoyer_search.datasets
from hoyer_search import files, spaces
from hoyer_search.config import SweepConfig
from hoyer_search.datasets.splits import Examples, split
from hoyer_search.store import SweepFolder
from hoyer_search.trial.preflight import load_checked
from hoyer_search.trial.pretraining import load_pretrained, pretrain
from hoyer_search.trial.workbench import Workbench

HERE = Path(__file__).parent
SPACE = HERE / "peer.yaml"
SIDES = ("peer", "ours")
DROPS = {"A": 0.0, "B": 0.005, "C": 0.015, "D": 0.027}
TRIALS = 200
"""Trials of ours: more than the time allows."""

GRACE_SECONDS = 300
"""Time after the end for running trials to end by themselves; what they find is not counted."""


def prepare(work: Path, config: SweepConfig) -> None:
    """Writes data, split and dense network for both sides, unless they are there."""
    if (work / "dense.json").is_file():
        return
    work.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    data = load_checked(config)
    shutil.rmtree(work / "pretraining", ignore_errors=True)
    folder = SweepFolder.create(work, "pretraining", config=config, provenance={})
    for step in pretrain(folder, config, data):
        print(f"pretraining: epoch {step.epoch} of {step.epochs}", flush=True)
    seconds = time.monotonic() - start
    dense, model, _ = load_pretrained(folder, config, Workbench(config, data))
    torch.save(model.state_dict(), work / "dense.pt")
    unpack_mnist(work / "data" / "MNIST" / "raw")
    files.write_json(work / "split.json", split_indices(config))
    record = asdict(dense) | {"seconds": seconds}
    files.write_json(work / "dense.json", record)  # last: it says that all is there


def unpack_mnist(raw: Path) -> None:
    """Lays the packaged MNIST out as torchvision wants it."""
    raw.mkdir(parents=True, exist_ok=True)
    packaged = Path(hoyer_search.datasets.__file__).parent / "files" / "mnist"
    for path in packaged.glob("*.gz"):
        with gzip.open(path) as packed, (raw / path.stem).open("wb") as file:
            shutil.copyfileobj(packed, file)


def split_indices(config: SweepConfig) -> dict[str, list[int]]:
    """Returns the examples of hoyer-search's own split, as indices into MNIST's training set."""
    every = np.arange(60_000, dtype=np.float32)[:, None]
    source = Examples(every, np.zeros(len(every), dtype=np.int64))
    parts = split(source, validation=config.data.validation, seed=config.seed)
    indices = [part.inputs[:, 0].astype(int).tolist() for part in parts]
    return {"train": indices[0], "validation": indices[1]}


def run_side(side: str, work: Path, *, seconds: float, dense_seconds: float) -> None:
    """Runs one side in a process of its own, and notes its networks when they are there."""
    folder = work / side
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    command = {"peer": peer_command, "ours": our_command}[side]
    files.write_json(folder / "run.json", {"seconds": seconds, "load": os.getloadavg()})
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as ray,
        (folder / "log.txt").open("w") as log,
    ):
        start = time.monotonic() - dense_seconds
        process = subprocess.Popen(
            command(work, seconds - dense_seconds),
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | environment(ray),
        )
        num_networks = follow(process, side, folder, start=start, end=start + seconds)
    if num_networks == 0:
        raise SystemExit(f"{side} found nothing: see {folder / 'log.txt'}")


def environment(temporary: str) -> dict[str, str]:
    """Returns what both sides' Ray needs: a folder, and a token that keeps others out."""
    return {
        "RAY_TMPDIR": temporary,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def follow(
    process: subprocess.Popen[bytes], side: str, folder: Path, *, start: float, end: float
) -> int:
    """Notes a side's networks until its process ends; returns how many there are."""
    read = {"peer": read_peer, "ours": read_ours}[side]
    known: set[Path] = set()
    count, ended = 0, False
    with (folder / "networks.jsonl").open("w") as file:
        while not ended:
            ended = process.poll() is not None  # before the last look, so that nothing is missed
            now = time.monotonic()
            for path, networks in read(folder, known):
                known.add(path)
                count += len(networks)
                for network in networks:
                    row = json.dumps(asdict(Network(seconds=now - start, **network)))
                    print(row, file=file, flush=True)
                    print(side, row, flush=True)
            if now > end + GRACE_SECONDS:
                process.send_signal(signal.SIGINT)
                process.wait()
            time.sleep(0.2)
    return count


Networks = Iterator[tuple[Path, list[dict[str, Any]]]]
Read = Callable[[Path, set[Path]], Networks]


def peer_command(work: Path, seconds: float) -> list[str]:
    return [
        *(sys.executable, str(HERE / "peer_recipe.py")),
        *("--data", str(work / "data"), "--split", str(work / "split.json")),
        *("--dense", str(work / "dense.pt"), "--seconds", f"{seconds:.1f}"),
        *("--output", str(work / "peer")),
    ]


def our_command(work: Path, seconds: float) -> list[str]:
    settings = {
        "model.weights": work / "dense.pt",
        "budget.trials": TRIALS,
        "budget.hours": f"{seconds / 3600:.5f}",
    }
    return [
        *(str(Path(sys.executable).with_name("hoyer-search")), "run", str(SPACE)),
        *("--name", "sweep", "--storage", str(work / "ours")),
        *(part for key, value in settings.items() for part in ("--set", f"{key}={value}")),
    ]


def read_peer(folder: Path, known: set[Path]) -> Networks:
    """Yields the networks of Tune's finished trials that are not known yet."""
    for path in set(folder.glob("deephoyer/*/result.json")) - known:
        line, newline, _ = path.read_text().partition("\n")
        if newline:  # else the trial has not reported yet
            reported = json.loads(line)
            names = ("test_accuracy", "nonzeros")
            network = {name: reported[name] for name in names}
            yield path, [network | {"val_accuracy": reported["accuracy"]}]


def read_ours(folder: Path, known: set[Path]) -> Networks:
    """Yields the networks of the sweep's finished trials that are not known yet."""
    for path in set(folder.glob("sweep/trials/*/result.json")) - known:
        points = json.loads(path.read_text())["points"]
        names = ("val_accuracy", "test_accuracy", "nonzeros")
        yield path, [{name: point[name] for name in names} for point in points]


def report(work: Path, output: Path, seconds: float) -> None:
    """Writes and prints the comparison of what the work folder holds."""
    dense = json.loads((work / "dense.json").read_text())
    task = Task(
        dense_accuracy=dense["val_accuracy"],
        dense_nonzeros=dense["nonzeros"],
        drops=DROPS,
        seconds=seconds,
    )
    found, runs = {}, {}
    for side in SIDES:
        if not (work / side / "networks.jsonl").is_file():
            raise SystemExit(f"{side} has not run in {work}: give --only {side} for the comparison")
        lines = (work / side / "networks.jsonl").read_text().splitlines()
        found[side] = [Network(**json.loads(line)) for line in lines]
        runs[side] = json.loads((work / side / "run.json").read_text())
    sides = {side: Side(task, networks) for side, networks in found.items()}
    summary = summarise(task, **sides)
    packages = ("torch", "torchvision", "ray", "optuna", "mlflow")
    output.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "seconds": seconds,
        "dense": {k: dense[k] for k in ("val_accuracy", "test_accuracy", "nonzeros", "seconds")},
        **summary,
        "runs": runs,
        "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "found": {side: [asdict(n) for n in networks] for side, networks in found.items()},
    }
    files.write_json(output.with_suffix(".json"), document)
    plot(output.with_suffix(".png"), task, sides)
    print(table(summary))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=15.0, help="wall time of each side")
    parser.add_argument("--only", choices=(*SIDES, "report"), help="run one side again, or none")
    parser.add_argument("--work", type=Path, required=True, help="folder of raw results")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON and PNG, no suffix")
    args = parser.parse_args()
    work, seconds = args.work.absolute(), 60 * args.minutes
    prepare(work, spaces.load(SPACE))
    dense_seconds = json.loads((work / "dense.json").read_text())["seconds"]
    for side in SIDES:
        if args.only in (None, side):
            run_side(side, work, seconds=seconds, dense_seconds=dense_seconds)
    report(work, args.output, seconds)


if __name__ == "__main__":
    main()
