"""A running sweep as metrics of Ray, which Prometheus collects and Grafana draws.

Ray exports them as ``ray_NAME``, and counters as ``ray_NAME_total``, at the metrics port of the
driver's node. ``cluster/monitoring`` has a dashboard of them.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType

from ray.util import metrics

from hoyer_search.results import Event
from hoyer_search.store import SweepFolder

log = logging.getLogger(__name__)

TRIALS = "hoyer_search_trials"
EPOCHS = "hoyer_search_epochs"
HYPERVOLUME = "hoyer_search_hypervolume"
OUTBOX = "hoyer_search_outbox_rows"

SECONDS = 5.0
"""Time between two looks at the folder; Ray passes on what was set within the last 10 s."""

_TRAINING = frozenset({"pretrain", "regularize", "finetune"})
_STATES = ("running", "complete", "stopped", "failed", "left")


class Monitor:
    """Publishes a sweep's metrics while the block runs, all of them from the driver.

    Trials report to the driver anyway, so epochs are counted as their reports come in. All else is
    read from the folder by a thread, every few seconds; nothing that fails there touches the sweep.
    """

    def __init__(self, folder: SweepFolder, *, num_trials: int, outbox: Callable[[], int]) -> None:
        """Makes the metrics; this process is connected to Ray.

        Args:
            folder: The sweep.
            num_trials: How many trials its search has at most.
            outbox: Returns how many rows the tracking server lacks; called in the thread.
        """
        self._folder, self._outbox_rows = folder, outbox
        self._num_trials = num_trials
        self._trials = metrics.Gauge(TRIALS, "Trials of the sweep by state", ("sweep", "state"))
        self._epochs = metrics.Counter(EPOCHS, "Epochs trained, by stage", ("sweep", "stage"))
        self._hypervolume = metrics.Gauge(
            HYPERVOLUME, "Accuracy times doublings of compression, under the front", ("sweep",)
        )
        self._outbox = metrics.Gauge(
            OUTBOX, "Steps and results of trials that the tracking server lacks", ("sweep",)
        )
        for metric in (self._trials, self._epochs, self._hypervolume, self._outbox):
            metric.set_default_tags({"sweep": folder.name})
        self._shown = -1
        self._problem = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="monitoring", daemon=True)

    def __enter__(self) -> "Monitor":
        """Starts the thread."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the thread; what it published last stays until Ray drops it with the driver."""
        self._closing.set()
        self._thread.join()

    def observe(self, event: Event) -> None:
        """Counts a trained epoch."""
        if event.progress is not None and event.progress.stage in _TRAINING:
            self._epochs.inc(tags={"stage": event.progress.stage})

    def _loop(self) -> None:
        while True:
            try:
                self._publish()
            except Exception as error:  # a damaged folder is the search's to report
                if str(error) != self._problem:  # once, not every few seconds
                    log.warning("metrics fall behind: %s", error)
                self._problem = str(error)
            if self._closing.wait(SECONDS):
                return

    def _publish(self) -> None:
        ended = self._folder.all_results()
        started = self._folder.all_specs()  # last: each trial's is written before its result
        states = Counter[str](result.state for result in ended)
        states["running"] = len(started) - len(ended)
        searched = sum(spec.retrains is None for spec in started)
        states["left"] = max(0, self._num_trials - searched)
        for state in _STATES:
            self._trials.set(states[state], tags={"state": state})
        if len(ended) != self._shown:
            front = self._folder.front()
            self._hypervolume.set(0.0 if front is None else front.hypervolume)
            self._shown = len(ended)
        self._outbox.set(self._outbox_rows())
