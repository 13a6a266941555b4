"""The thread of the driver that keeps MLflow up to date while a sweep runs."""

import logging
import threading
import time

from hoyer_search.errors import HoyerSearchError
from hoyer_search.redaction import redact
from hoyer_search.store import SweepFolder
from hoyer_search.tracking.address import default_uri, is_server
from hoyer_search.tracking.client import Client
from hoyer_search.tracking.edge import settings
from hoyer_search.tracking.sync import SyncReport, new_client, sync
from hoyer_search.tracking.waiting import num_waiting

START_INTERVALS = 6
"""Wait before the first sync, in times of that between two: Ray and the first trials start in it,
and MLflow's import and database would take the cores from them."""
SHARE = 0.04
"""Most of one core's time that tracking takes while a sweep runs."""
LONGEST_REST = 20.0
"""Seconds after which MLflow is updated again, whatever the last time cost."""
SLOW_SECONDS = 1.0
"""What answers more slowly holds nobody up at a sweep's end."""
PATIENCE_SHARE = 0.01
"""Part of a sweep's time that its end waits for MLflow's answers."""
PATIENCE_SECONDS = 30.0
"""The same in seconds, if that is more. The first sync of a short sweep may be its last, and making
a database takes some."""
SLOW_SERVER_SECONDS = 5.0
"""In its place with a server that answers slowly or not at all."""

log = logging.getLogger(__name__)


class Tracker:
    """Syncs a running sweep every few seconds; nothing that fails in it touches the sweep.

    Args:
        folder: The sweep's folder.
        uri: Tracking URI; by default the database beside the sweep's folder.
        seconds: Time between two syncs. After a failure it doubles, up to a minute.
        share: Most of one core's time to take on average: it rests after each sync accordingly,
            for at most ``LONGEST_REST``.
    """

    def __init__(
        self,
        folder: SweepFolder,
        uri: str | None = None,
        *,
        seconds: float = 5.0,
        share: float = SHARE,
    ):
        self._folder = folder
        self._uri = uri or default_uri(folder.path.parent)
        self._seconds, self._share = seconds, share
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="tracking", daemon=True)
        self._began = time.monotonic()
        self._client: Client | None = None
        self._last: SyncReport | None = None
        self._problem = ""
        self._gave_up = ""

    @property
    def link(self) -> str | None:
        """Returns the address of the sweep's front in MLflow, None before the first sync."""
        return self._last.link if self._last else None

    @property
    def problem(self) -> str:
        """Returns why MLflow lacks something, empty when the last sync did not fail."""
        return self._gave_up or self._problem

    def start(self) -> None:
        """Starts the thread."""
        settings()  # before anybody imports MLflow: Ray Tune does
        self._began = time.monotonic()
        self._thread.start()

    def num_waiting(self) -> int:
        """Returns how many steps and results of trials MLflow has not acknowledged yet."""
        return num_waiting(self._folder, self._uri)

    def notify(self) -> None:
        """Asks for a sync soon, e.g. because a trial ended; returns at once."""
        self._wake.set()

    def close(self, timeout: float = 60.0) -> bool:
        """Syncs a last time, with report and registry, and ends the thread.

        It waits for MLflow's answers for 30 seconds, or 1% of the sweep's time if that is more;
        for 5 seconds or 1% while a server answers slowly or not at all. The thread then ends by
        itself, unless the process does before.

        Args:
            timeout: Most seconds to wait, whatever for.

        Returns:
            Whether MLflow holds everything now; else ``problem`` says why, and ``sync`` can be
            called again at any time.
        """
        began = time.monotonic()
        waited = self._waited()
        self._closing.set()
        self._wake.set()
        while self._thread.is_alive():
            if time.monotonic() - began > timeout or self._waited() - waited > self._patience():
                self._gave_up = self._problem or "MLflow takes too long to answer"
                return False
            self._thread.join(0.05)
        return not self._problem

    def _waited(self) -> float:
        return 0.0 if self._client is None else self._client.watch.seconds

    def _patience(self) -> float:
        share = PATIENCE_SHARE * (time.monotonic() - self._began)
        slow = self._client is not None and self._client.watch.slowness > SLOW_SECONDS
        return max(
            share, SLOW_SERVER_SECONDS if slow and is_server(self._uri) else PATIENCE_SECONDS
        )

    def _loop(self) -> None:
        wait = self._seconds
        self._wake.wait((START_INTERVALS - 1) * wait)
        while not self._closing.is_set():
            self._wake.wait(wait)
            self._wake.clear()
            began = time.thread_time()
            wait = self._seconds if self._sync(running=True) else min(2 * wait, 60.0)
            spent = time.thread_time() - began
            self._closing.wait(min(spent / self._share, LONGEST_REST))
        self._sync(running=False)

    def _sync(self, *, running: bool) -> bool:
        try:
            if self._client is None:
                self._client = new_client(self._folder, self._uri)
            self._last = sync(self._folder, self._uri, running=running, client=self._client)
        except Exception as error:  # tracking must never end a sweep, whatever breaks in it
            text = redact(str(error))
            if text != self._problem:  # once, not every few seconds
                expected = isinstance(error, HoyerSearchError)
                log.warning("tracking falls behind: %s", text, exc_info=not expected)
            self._problem = text or type(error).__name__
            return False
        if self._problem:
            log.info("tracking caught up")
        self._problem = ""
        return True
