r"""Records real trainings of a search space, for ``hoyer-search simulate``.

    python benchmarks/record.py lenet300-mnist-element --trainings 64 --work /tmp/recording \
        --set pipeline.regularize.epochs=8 -o benchmarks/recordings/lenet300-mnist-element.parquet

The searched parameters follow a scrambled Sobol sequence. Each training is the pipeline's own, from
one dense network: its raw curve is evaluated at quarters of its epochs, and thresholds across its
operating points are finetuned. The Parquet file is written anew after each training; a training
that is in the work folder or in that file is not run again, so the same command goes on where it
was stopped, and a larger ``--trainings`` adds to the ones there are. See
``benchmarks/recordings/README.md``.
"""

import argparse
import copy
import math
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution
from scipy.stats import qmc
from torch import nn

from hoyer_search import results, spaces
from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.threshold_grid import threshold_grid
from hoyer_search.config import SweepConfig
from hoyer_search.datasets import Splits
from hoyer_search.errors import TrialDiverged
from hoyer_search.results import CurvePoint, Dense, Progress, Value
from hoyer_search.search.parameters import search_space
from hoyer_search.search.simulate.recording import (
    Finetuned,
    Milestone,
    Recording,
    Training,
    load_recording,
    save_recording,
)
from hoyer_search.store import SweepFolder
from hoyer_search.trial.checkpoint import Checkpoints
from hoyer_search.trial.curve import evaluate_curve, make_masks
from hoyer_search.trial.prediction import Offset, TrialCurve, doublings
from hoyer_search.trial.preflight import load_checked
from hoyer_search.trial.pretraining import load_pretrained, pretrain
from hoyer_search.trial.training import evaluate
from hoyer_search.trial.workbench import Workbench

MILESTONES = 4
"""Curves of each training, evenly spread over its epochs."""

FAR = 2
"""The last finetuned threshold aims at this many times the loosest operating point's drop."""

T = TypeVar("T")


def design(config: SweepConfig, trainings: int) -> list[dict[str, Value]]:
    """Returns the settings to train: a scrambled Sobol sequence, a prefix of any longer one."""
    space = search_space(config)
    sobol = qmc.Sobol(len(space), scramble=True, rng=config.seed)
    points = sobol.random_base2(max(0, (trainings - 1).bit_length()))[:trainings]
    return [
        {name: setting(d, float(u)) for (name, d), u in zip(space.items(), point, strict=True)}
        for point in points
    ]


def setting(distribution: BaseDistribution, share: float) -> Value:
    """Returns the value at a share, in [0, 1), of a parameter's range."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(share * len(distribution.choices))]
    low, high = distribution.low, distribution.high
    value = low * (high / low) ** share if distribution.log else low + share * (high - low)
    return type(low)(value)


def record(
    folder: SweepFolder, bench: Workbench, number: int, params: dict[str, Value], thresholds: int
) -> None:
    """Runs one training and writes it into the folder, unless it is there."""
    path = training_path(folder, number)
    if path.is_file():
        return
    config = spaces.apply_params(bench.config, params)
    dense, model, _ = load_pretrained(folder, bench.config, bench)
    bench.config = config
    graph = bench.graph(model)
    # A training that was cut short starts over: it would lack its first milestones.
    checkpoints = bench.checkpoints(path.with_suffix(".partial"))
    checkpoints.clear()
    milestones, seconds = regularize(model, graph, bench, checkpoints, thresholds)
    finetuned = finetune(model, graph, bench, milestones[-1].curve, dense, checkpoints)
    training = Training(
        number=number,
        params=params,
        milestones=milestones,
        finetuned=finetuned,
        wall_seconds=seconds,
    )
    results.save(path, training)


def regularize(
    model: nn.Module,
    graph: ChannelGraph,
    bench: Workbench,
    checkpoints: Checkpoints,
    thresholds: int,
) -> tuple[list[Milestone], float]:
    """Trains with the regularizer; returns the curves at milestones, and seconds of training."""
    settings = bench.config.pipeline.regularize
    due = {round(settings.epochs * (i + 1) / MILESTONES) for i in range(MILESTONES)}
    milestones, seconds = [], 0.0
    for epoch in bench.train(
        model,
        settings,
        stage="regularize",
        checkpoints=checkpoints,
        penalty=bench.penalty(model),
    ):
        seconds = epoch.wall_seconds
        if epoch.epoch in due:
            start = time.perf_counter()
            curve = dense_curve(model, graph, bench, thresholds)
            took = time.perf_counter() - start
            milestones.append(Milestone(epoch=epoch.epoch, curve=curve, wall_seconds=took))
    checkpoints.clear()
    return milestones, seconds


def dense_curve(
    model: nn.Module, graph: ChannelGraph, bench: Workbench, thresholds: int
) -> list[CurvePoint]:
    """Returns a network's raw curve over a dense grid of thresholds."""
    pruning = bench.config.pruning
    grid = threshold_grid(
        model, graph, rule=pruning.rule, granularity=pruning.granularity, points=thresholds
    )
    return returned(evaluate_curve(model, graph, bench, grid))


def finetune(
    model: nn.Module,
    graph: ChannelGraph,
    bench: Workbench,
    curve: list[CurvePoint],
    dense: Dense,
    checkpoints: Checkpoints,
) -> list[Finetuned]:
    """Finetunes a threshold near each operating point's floor, and one far below all of them.

    Each aims at the sparsest threshold whose predicted accuracy keeps the floor; what earlier ones
    reached corrects the prediction. One that is taken already makes way for its nearest neighbour.
    """
    floors = sorted(bench.config.objective.floors(dense.val_accuracy).values(), reverse=True)
    targets = [*floors, dense.val_accuracy - FAR * (dense.val_accuracy - floors[-1])]
    reached: dict[int, float] = {}
    finetuned: dict[int, Finetuned] = {}
    for target in targets[: len(curve)]:
        drops = expected_drops(curve, reached, dense)
        limit = doublings(dense.val_accuracy - target)
        aim = max((i for i, drop in enumerate(drops) if drop <= limit), default=drops.argmin())
        index = min(set(range(len(curve))) - reached.keys(), key=lambda i: (abs(i - aim), -i))
        finetuned[index] = finetune_one(model, graph, bench, curve[index], checkpoints)
        reached[index] = finetuned[index].val_accuracy
    return [finetuned[index] for index in sorted(finetuned)]


def expected_drops(
    curve: list[CurvePoint], reached: dict[int, float], dense: Dense
) -> npt.NDArray[np.float64]:
    """Returns the drop of accuracy to expect after finetuning, in doublings, along a curve."""
    sizes = [math.log2(dense.nonzeros / max(point.nonzeros, 1)) for point in curve]
    known = [(sizes[i], accuracy) for i, accuracy in sorted(reached.items())]
    raw = [(size, point.val_accuracy) for size, point in zip(sizes, curve, strict=True)]
    drops, _ = Offset.learn([]).predict(
        TrialCurve(
            dense=dense.val_accuracy,
            floors=np.empty(0),
            raw=np.array(raw),
            finetuned=np.array(known).reshape(-1, 2),
        )
    )
    return drops


def finetune_one(
    model: nn.Module,
    graph: ChannelGraph,
    bench: Workbench,
    point: CurvePoint,
    checkpoints: Checkpoints,
) -> Finetuned:
    """Prunes and finetunes a copy of a network."""
    network = copy.deepcopy(model)
    masks = make_masks(network, graph, threshold=point.threshold, pruning=bench.config.pruning)
    masks.apply_(network)
    reached, seconds = point.val_accuracy, 0.0
    for epoch in bench.train(
        network,
        bench.config.pipeline.finetune,
        stage="finetune",
        checkpoints=checkpoints,
        masks=masks,
        keep_best=True,
    ):
        reached, seconds = epoch.best_accuracy, epoch.wall_seconds
    checkpoints.clear()
    return Finetuned(
        threshold=point.threshold,
        nonzeros=point.nonzeros,
        macs=point.macs,
        raw_val_accuracy=point.val_accuracy,
        val_accuracy=reached,
        test_accuracy=evaluate(network, bench.test, topk=bench.topk),
        wall_seconds=seconds,
    )


def returned(steps: Generator[Progress, None, T]) -> T:
    """Runs a generator to its end and returns what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def training_path(folder: SweepFolder, number: int) -> Path:
    return folder.path / "trials" / f"{number:04d}.json"


def trainings_of(folder: SweepFolder) -> Iterator[Training]:
    for path in sorted((folder.path / "trials").glob("*.json")):
        yield results.load(Training, path)


def open_work(work: Path, config: SweepConfig) -> SweepFolder:
    """Returns the work folder, created when there is none.

    Raises:
        SystemExit: It holds trainings of other settings.
    """
    if not work.is_dir():
        return SweepFolder.create(work.parent, work.name, config=config, provenance={})
    folder = SweepFolder.open(work.parent, work.name)
    if folder.config() != config:
        raise SystemExit(f"{work} holds trainings of other settings: give another --work")
    return folder


def take_over(output: Path, folder: SweepFolder, config: SweepConfig) -> None:
    """Writes the trainings of an earlier recording into the work folder, e.g. of another machine.

    Raises:
        SystemExit: The file holds trainings of other settings.
    """
    if not output.is_file():
        return
    recording = load_recording(output)
    if recording.config != config:
        raise SystemExit(f"{output} holds trainings of other settings: give another -o")
    for training in recording.trainings:
        path = training_path(folder, training.number)
        if not path.is_file():
            results.save(path, training)


def run(config: SweepConfig, data: Splits, args: argparse.Namespace) -> None:
    folder = open_work(args.work.absolute(), config)
    with folder.lock():
        take_over(args.output, folder, config)
        for _ in pretrain(folder, config, data):
            pass
        dense = folder.dense()
        if dense is None:
            raise SystemExit(f"{folder.path}: the dense network is missing")
        for number, params in enumerate(design(config, args.trainings)):
            start = time.monotonic()
            try:
                record(folder, Workbench(config, data), number, params, args.thresholds)
            except TrialDiverged as error:
                print(f"{number}: {params} diverged and is left out: {error}", flush=True)
                continue
            trainings = list(trainings_of(folder))
            save_recording(args.output, Recording(config=config, dense=dense, trainings=trainings))
            print(f"{number}: {params}, {time.monotonic() - start:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("space", help="built-in search space or YAML file")
    parser.add_argument("--trainings", type=int, default=64)
    parser.add_argument("--thresholds", type=int, default=60, help="points of each raw curve")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--work", type=Path, required=True, help="folder of finished trainings")
    parser.add_argument("-o", "--output", type=Path, required=True, help="Parquet file to write")
    args = parser.parse_args()
    overrides = dict(map(spaces.parse_override, args.settings))
    config = spaces.load(args.space, overrides=overrides)
    run(config, load_checked(config), args)


if __name__ == "__main__":
    main()
