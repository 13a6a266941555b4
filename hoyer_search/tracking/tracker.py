"""The thread of the driver that keeps MLflow up to date while a sweep runs."""

import logging
import threading

from hoyer_search.errors import HoyerSearchError
from hoyer_search.store import SweepFolder
from hoyer_search.tracking.address import default_uri
from hoyer_search.tracking.sync import SyncReport, sync

log = logging.getLogger(__name__)

START_SECONDS = 5.0
"""Longest wait before the first sync, in which Ray starts in the same process."""


class Tracker:
    """Syncs a running sweep every few seconds; nothing that fails in it touches the sweep.

    Args:
        folder: The sweep's folder.
        uri: Tracking URI; by default the database beside the sweep's folder.
        seconds: Time between two syncs. After a failure it doubles, up to a minute.
    """

    def __init__(self, folder: SweepFolder, uri: str | None = None, *, seconds: float = 5.0):
        self._folder = folder
        self._uri = uri or default_uri(folder.path.parent)
        self._seconds = seconds
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="tracking", daemon=True)
        self._last: SyncReport | None = None
        self._problem = ""

    @property
    def link(self) -> str | None:
        """Returns the address of the sweep's front in MLflow, None before the first sync."""
        return self._last.link if self._last else None

    @property
    def problem(self) -> str:
        """Returns why the last sync failed, empty when it did not."""
        return self._problem

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def notify(self) -> None:
        """Asks for a sync soon, e.g. because a trial ended; returns at once."""
        self._wake.set()

    def close(self, timeout: float = 60.0) -> bool:
        """Syncs a last time, with report and registry, and ends the thread.

        Args:
            timeout: Most seconds to wait.

        Returns:
            Whether MLflow holds everything now; else ``problem`` says why, and ``sync`` can be
            called again at any time.
        """
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._problem = f"MLflow took longer than {timeout:g} s"
            return False
        return not self._problem

    def _loop(self) -> None:
        wait = min(self._seconds, START_SECONDS)
        while not self._closing.is_set():
            self._wake.wait(wait)
            self._wake.clear()
            wait = self._seconds if self._sync(running=True) else min(2 * wait, 60.0)
        self._sync(running=False)

    def _sync(self, *, running: bool) -> bool:
        try:
            self._last = sync(self._folder, self._uri, running=running)
        except Exception as error:  # tracking must never end a sweep, whatever breaks in it
            text = str(error)
            if text != self._problem:  # once, not every few seconds
                expected = isinstance(error, HoyerSearchError)
                log.warning("tracking falls behind: %s", text, exc_info=not expected)
            self._problem = text or type(error).__name__
            return False
        if self._problem:
            log.info("tracking caught up")
        self._problem = ""
        return True
