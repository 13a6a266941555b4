"""What a sweep costs beside its training: wall and processor seconds of trials that do nothing.

    python benchmarks/overhead.py --trials 200 --workers 2

Runs a sweep of trials that only write a result (those of the tests), with MLflow on SQLite and
with none, and prints a table. The sampler draws at random: what a suggestion of the default one
costs is a matter of its own, and it is computed beside Ray's loop.
"""

import argparse
import importlib
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from hoyer_search import spaces, tracking
from hoyer_search.results import Event
from hoyer_search.search.tuner import run_search
from hoyer_search.store import SweepFolder

TOYS = Path(__file__).parent.parent / "tests" / "search"
SPACE = "lenet300-mnist-element"


class Clock:
    """Notes when the first trial started and when the last one ended."""

    def __init__(self) -> None:
        self.first = self.last = 0.0

    def __call__(self, event: Event) -> None:
        """Takes an event of the sweep."""
        self.first = self.first or (time.monotonic() if event.spec is not None else 0.0)
        self.last = time.monotonic()


def measure(*, trials: int, workers: int, tracked: bool) -> dict[str, float]:
    """Returns seconds a trial: of wall time, and of this process's processor time."""
    toy = importlib.import_module("toy_pipeline")

    overrides = {"sampler": "random", "budget.trials": trials, "resources.workers": workers}
    config = spaces.load(SPACE, overrides=overrides)
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="overhead-") as storage:
        folder = SweepFolder.create(Path(storage), "toys", config=config, provenance={})
        tracker = tracking.Tracker(folder, tracking.default_uri(Path(storage)))
        before = processor_seconds()
        if tracked:
            tracker.start()
        run_search(
            folder, data=None, on_event=clock, run_trial=toy.run_trial, pretrain=toy.pretrain
        )
        spent = processor_seconds() - before
        start = time.monotonic()
        # A sweep would not wait so long: its end leaves to `sync` what takes MLflow over 10 s.
        while tracked and not tracker.close(timeout=600) and time.monotonic() - start < 600:
            pass
        return {
            "wall": (clock.last - clock.first) / trials,
            "processor": spent / trials,
            "tracking after the end": time.monotonic() - start,
        }


def processor_seconds() -> float:
    """Returns the processor time of this process, Ray's and the trials' excluded."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    sys.path.insert(0, str(TOYS))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TOYS), os.environ.get("PYTHONPATH", "")])
    print("| MLflow | wall, s a trial | processor, s a trial | tracking after the end, s |")
    print("|---|---|---|---|")
    for tracked in (False, True):
        found = measure(trials=args.trials, workers=args.workers, tracked=tracked)
        row = " | ".join(f"{value:.3f}" for value in found.values())
        print(f"| {'on' if tracked else 'off'} | {row} |", flush=True)


if __name__ == "__main__":
    main()
