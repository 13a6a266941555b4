"""Ray Tune's view of the study: trials are suggested and told without holding Tune's loop."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from ray.tune.search import Searcher

from hoyer_search.results import TrialResult, TrialSpec
from hoyer_search.search.failures import record_failed
from hoyer_search.store import SweepFolder

PATIENCE_SECONDS = 0.05
"""How long ``suggest`` waits for a quick answer: Tune would ask again only 0.1 s to 1 s later."""
STARTING_SECONDS = 3.0
"""The same while a worker starts: a free one that gets no trial would take that worker's."""


class Work(Protocol):
    """Trials to run: a sweep's ``Study``, or the ``Retrainings`` of its winners."""

    @property
    def num_left(self) -> int:
        """Returns how many trials have not ended, whether or not they started."""
        ...

    @property
    def num_ended(self) -> int:
        """Returns how many trials have ended."""
        ...

    def ask(self, *, start: bool = True) -> TrialSpec | None:
        """Returns the next trial, None when there is none; only started ones unless ``start``."""
        ...

    def tell(self, result: TrialResult) -> None:
        """Takes in how a trial ended."""
        ...

    def recover(self) -> None:
        """Settles what a run of Tune left open; trials that did not end are asked for again."""
        ...


class StudySearcher(Searcher):
    """Asks a study for trials and tells it their results, in one thread of its own.

    A suggestion of a Gaussian process takes seconds, in which Tune must go on handling results. A
    suggestion is started when a slot is free and not before, so that it knows the latest results.
    """

    def __init__(
        self,
        study: Work,
        folder: SweepFolder,
        *,
        slots: Callable[[], int],
        stopped: Callable[[], object] = lambda: False,
        halted: Callable[[], bool] = lambda: False,
        starting: Callable[[int], bool] = lambda live: False,
        losses: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Starts no thread yet.

        Args:
            study: The study; nothing else may use it before ``close``.
            folder: The sweep.
            slots: Returns how many trials run at once now; a trial that has been suggested stays.
            stopped: Returns something true when no further trial may start; those that were
                started in an earlier run still go on.
            halted: Returns whether none may go on either.
            starting: Returns whether, of so many trials that were suggested and have not ended, one
                has a worker that is starting.
            losses: How trials lost their workers, by uid.
        """
        super().__init__()
        self._study = study
        self._folder = folder
        self._slots = slots
        self._stopped = stopped
        self._halted = halted
        self._starting = starting
        self._losses = losses
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="study")
        self._asked: Future[TrialSpec | None] | None = None
        self._told: list[Future[None]] = []
        self._live: dict[str, TrialSpec] = {}

    # Ray's annotation leaves out FINISHED, which is a string.
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Returns ``{"uid": ...}``, None when there is none yet, or FINISHED.

        It takes 0.1 s at most, but for seconds in which a worker starts.
        """
        self._raise_errors()
        if self._halted():
            return str(Searcher.FINISHED)
        if len(self._live) >= self._slots():
            return None
        if self._asked is None:
            self._asked = self._thread.submit(self._study.ask, start=not self._stopped())
        starting = self._starting(len(self._live))
        try:
            spec = self._asked.result(timeout=STARTING_SECONDS if starting else PATIENCE_SECONDS)
        except TimeoutError:
            if self._asked.done():
                raise  # the study's own, e.g. of its storage
            return None
        self._asked = None
        if spec is None:
            return str(Searcher.FINISHED)
        self._live[trial_id] = spec
        return {"uid": spec.uid}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tells the study the trial's ``result.json``.

        A trial whose worker or node was lost too often has none, and is recorded as failed. One
        that Tune took away for another reason stays open and will be asked for again.
        """
        spec = self._live.pop(trial_id)
        ended = self._folder.result(spec.uid)
        if ended is None and error:
            cause = self._losses.get(spec.uid, "no reason is known")
            text = f"the worker or node that ran the trial was lost too often: {cause}"
            ended = record_failed(self._folder, spec, text)
        if ended is not None:
            self._told.append(self._thread.submit(self._study.tell, ended))

    def __getstate__(self) -> dict[str, Any]:
        """Returns nothing: Tune pickles a copy of itself at the start, which is never read."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Writes an empty file: the sweep's folder is the state, and Tune insists on one."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Refuses: a sweep goes on from its folder.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("a sweep goes on from its own folder, not from Tune's")

    def close(self) -> None:
        """Waits until the study is told everything, and hands it back.

        Raises:
            Exception: What telling it raised.
        """
        self._thread.shutdown(wait=True, cancel_futures=False)
        self._raise_errors()

    def _raise_errors(self) -> None:
        waiting = []
        for told in self._told:
            if told.done():
                told.result()
            else:
                waiting.append(told)
        self._told = waiting
