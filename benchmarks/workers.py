"""How the quality and the time of a sweep depend on the number of workers: a table and a figure.

    python benchmarks/workers.py benchmarks/recordings/lenet300-mnist-structural.parquet \
        --trials 64 --most 64 --seeds 10 -o docs/images/workers-structural.png

Each number of workers replays the same sweeps in virtual time (see ``hoyer-search simulate``). More
workers finish sooner, and suggest with fewer trials ended: where the hypervolume falls, or the time
stops falling, asynchronous suggestions no longer help.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hoyer_search.search.simulate.comparison import Comparison, Runs


def powers(most: int) -> list[int]:
    """Returns 1, 2, 4, ... up to a number."""
    return [2**i for i in range(most.bit_length())]


def draw(path: Path, found: dict[int, Runs], title: str) -> None:
    """Writes hypervolume and hours against the number of workers: medians and quartiles."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(title)
    quality, time = figure.subplots(1, 2)
    workers = list(found)
    for axes, values in (
        (quality, [runs.hypervolume[:, -1] for runs in found.values()]),
        (time, [runs.seconds[:, -1] / 3600 for runs in found.values()]),
    ):
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75), axis=1)
        axes.plot(workers, median, marker="o")
        axes.fill_between(workers, low, high, alpha=0.2)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("workers")
    quality.set_ylabel("hypervolume")
    time.set_ylabel("hours")
    time.set_yscale("log")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recording", type=Path)
    parser.add_argument("--sampler", default="auto")
    parser.add_argument("--trials", type=int, default=1024)
    parser.add_argument("--most", type=int, default=1024, help="largest number of workers")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, required=True, help="PNG to write")
    args = parser.parse_args()
    found = {}
    print("| workers | hypervolume | hours |\n|---|---|---|")
    for workers in powers(args.most):
        comparison = Comparison.open(
            args.recording, trials=args.trials, workers=workers, seeds=args.seeds
        )
        runs = found[workers] = comparison.run(args.sampler)
        hypervolume, hours = np.median(runs.hypervolume[:, -1]), np.median(runs.seconds[:, -1])
        print(f"| {workers} | {hypervolume:.5f} | {hours / 3600:.3f} |", flush=True)
    title = f"{args.recording.stem}, {args.sampler}: {args.trials} trials, {args.seeds} seeds"
    draw(args.output, found, title)


if __name__ == "__main__":
    main()
