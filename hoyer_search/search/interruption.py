"""SIGTERM as a request to stop: trials end their epoch and save it, and no further ones start."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from ray import tune


class Interruption(tune.Stopper):
    """Whether this process was asked to stop, as Ray Tune asks for it.

    A trial is taken away when its epoch has ended, and saves a checkpoint then. Tune ends when none
    runs any more: if it stopped them all at once it would kill those whose epoch takes over 10 s.

    Attributes:
        running: How many trials run; whoever watches Tune keeps it up to date.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self.running = 0

    @property
    def requested(self) -> bool:
        """Returns whether the sweep is to stop."""
        return self._requested.is_set()

    def check(self) -> None:
        """Does nothing unless the sweep is to stop.

        Raises:
            KeyboardInterrupt: It is; as for Ctrl-C, ``resume`` goes on.
        """
        if self.requested:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Takes SIGTERM for a request while the block runs, in the main thread only.

        Ray ends a driver at once on SIGTERM; so connect to it first.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._request)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def request(self) -> None:
        """Asks the sweep to stop, as SIGTERM does."""
        self._requested.set()

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.request()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Returns whether the trial that has just reported ends here."""
        return self.requested

    def stop_all(self) -> bool:
        """Returns whether Tune ends: trials that still wait for a node then wait no more."""
        return self.requested and not self.running

    def __getstate__(self) -> dict[str, Any]:
        """Returns nothing: Tune pickles a copy of itself at the start, which is never read."""
        return {}
