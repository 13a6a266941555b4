"""Runs a sweep of the toy pipeline in a process of its own, for tests to kill.

Usage: python toy_driver.py SWEEP_FOLDER [ADDRESS]
"""

import sys
from pathlib import Path

import toy_pipeline as toy

from hoyer_search.search.tuner import run_search
from hoyer_search.store import SweepFolder


def main() -> None:
    folder = SweepFolder(Path(sys.argv[1]))
    with folder.lock():
        try:
            run_search(
                folder,
                data={"epoch_seconds": 0.4},
                address=sys.argv[2] if len(sys.argv) > 2 else None,
                on_event=lambda event: None,
                run_trial=toy.run_trial,
                pretrain=toy.pretrain,
            )
        except KeyboardInterrupt:
            toy.note(folder, "interrupted")
            raise


if __name__ == "__main__":
    main()
