"""What tracking costs a sweep: the driver's processor time, and how long it holds the search up.

    python benchmarks/tracking.py --trials 1000 --rows 50 --seconds 600
    python benchmarks/tracking.py --trials 60 --rows 20 --seconds 120 --server hang

The main thread stands for the search: it writes the records of one trial after the other, evenly
over the seconds, and calls the tracker as a sweep does. The tracker follows them to a real MLflow
server (SQLite) in a process of its own, which goes bad after a third of the sweep and stays so.

Counted is the processor time of all threads but the main one, from before MLflow is imported, and
the wall time that the main thread spends in calls of the tracker: start, notify and close.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "tracking"))

from conftest import Builder, new_sweep
from servers import Link, Server, running

from hoyer_search.tracking import Tracker, sync

Answer = TypeVar("Answer")


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=50, help="epochs of each trial, of 2 values")
    parser.add_argument("--seconds", type=float, default=600.0, help="length of the sweep")
    parser.add_argument(
        "--server", choices=["good", "delay", "hang", "reset", "500", "killed"], default="good"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as storage, running(Server(Path(storage))) as server:
        link = Link(server.port)
        sweep = new_sweep(Path(storage) / "runs", "cost", budget={"trials": given.trials})
        # The link's threads would count as tracking where it has nothing to do.
        run = Run(sweep, server.uri if given.server == "good" else link.uri)
        run.go(given, lambda: spoil(given.server, link, server))
        if given.server == "killed":
            server.start()
        link.mend()
        began = time.monotonic()
        sync(sweep.folder, server.uri)
        print(f"the server is good again; all is there {time.monotonic() - began:.1f} s later")
        link.cut()


def spoil(how: str, link: Link, server: Server) -> None:
    """Makes the server bad."""
    if how == "killed":
        server.end(signal.SIGKILL)
    else:
        link.mode = how


class Run:
    """A synthetic sweep with its tracker."""

    def __init__(self, sweep: Builder, uri: str) -> None:
        self._sweep = sweep
        self._held = 0.0
        self._before, self._began = others(), time.monotonic()
        self._tracker = Tracker(sweep.folder, uri)

    def go(self, given: argparse.Namespace, spoil: Callable[[], None]) -> None:
        """Runs it to its end and prints what it cost."""
        self._sweep.pretrain()
        self._hold(self._tracker.start)
        for number in range(given.trials):
            if number == given.trials // 3:
                spoil()
            spec = self._sweep.start(number)
            self._sweep.epochs(spec, given.rows)
            self._sweep.end(spec)
            self._hold(self._tracker.notify)
            due = self._began + (number + 1) * given.seconds / given.trials
            time.sleep(max(due - time.monotonic(), 0))
        self._sweep.finish()
        print(f"{given.trials} trials of {given.rows} epochs, server {given.server}")
        self._print("while it runs")
        complete = self._hold(self._tracker.close)
        self._print("with its end", f"; {'all' if complete else 'not all'} is in MLflow")

    def _hold(self, call: Callable[[], Answer]) -> Answer:
        began = time.monotonic()
        answer = call()
        self._held += time.monotonic() - began
        return answer

    def _print(self, when: str, more: str = "") -> None:
        took, spent = time.monotonic() - self._began, others() - self._before
        print(
            f"{when:<14} {took:6.0f} s, tracking {spent:6.1f} s of processor time = "
            f"{spent / took:.1%} of a core; held the search {self._held:.2f} s = "
            f"{self._held / took:.2%}{more}",
            flush=True,
        )


def others() -> float:
    """Returns the processor seconds of all threads but this one."""
    return time.process_time() - time.thread_time()


if __name__ == "__main__":
    main()
