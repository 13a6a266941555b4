"""Runs a sweep on a Ray cluster until its budget is spent."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler

from hoyer_search import files
from hoyer_search.config import SweepConfig
from hoyer_search.results import Event, Finished
from hoyer_search.search.cluster import Slots, check_cluster, cluster
from hoyer_search.search.events import Events, OnEvent, import_integrations
from hoyer_search.search.failures import add_failure
from hoyer_search.search.interruption import Interruption
from hoyer_search.search.memory import hungriest, killed_for_memory
from hoyer_search.search.monitoring import Monitor
from hoyer_search.search.pretraining import Pretrain, pretrain_remotely, pretrains_here
from hoyer_search.search.retraining import Retrainings
from hoyer_search.search.scheduler import NewestFirst, StoppingScheduler
from hoyer_search.search.searcher import StudySearcher, Work
from hoyer_search.search.stopping import Stopping
from hoyer_search.search.study import Study
from hoyer_search.search.trainable import RunTrial, TrialTrainable
from hoyer_search.search.watchdog import Watchdog
from hoyer_search.store import SweepFolder

log = logging.getLogger(__name__)

MAX_LOST_WORKERS = 2
"""How often a trial goes on after its worker or node was lost, before it counts as failed."""


def run_search(
    folder: SweepFolder,
    *,
    data: Any,
    address: str | None = None,
    on_event: OnEvent,
    outbox: Callable[[], int] = lambda: 0,
    run_trial: RunTrial | None = None,
    pretrain: Pretrain | None = None,
) -> None:
    """Runs a sweep from wherever it is until its budget is spent, then writes ``finished.json``.

    The same call starts a sweep and goes on with it. Trials that were running when an earlier
    call ended, in whatever way, are run first, under their number and uid.

    Args:
        folder: The sweep; the caller holds its lock.
        data: What the trials train on, picklable; numpy arrays in it are shared, not copied.
        address: ``HOST:PORT`` of a Ray cluster, None to start Ray on this machine.
        on_event: Called in this thread with every step of pretraining (``spec`` is None), and
            with every trial's start, steps and end. An end that an earlier call did not see comes
            from ``folder.results()`` only. What it raises ends the search.
        outbox: Returns how many rows of the sweep the tracking server lacks, which is one of its
            metrics; called in another thread.
        run_trial: Runs one trial; by default the pipeline of the paper.
        pretrain: Trains the dense network; likewise.

    Raises:
        InputError: The sweep cannot run there; nothing was started.
        OSError: The sweep's folder cannot be written any more (``files.out_of_space``).
        KeyboardInterrupt: Ctrl-C, or SIGTERM, on which trials end their epoch and save it first. A
            Ray of its own is down, and the sweep can be resumed.
        Exception: What pretraining or ``on_event`` raised, or Ray again and again.
    """
    config = folder.config()
    check_cluster(config.resources, address=address)
    for part in (folder.path, folder.path / "points"):
        files.remove_unfinished(part)
    study = Study.open(folder, config)
    ended = {result.number: result for result in folder.results()}
    in_order = [ended[number] for number in study.ended() if number in ended]
    stopping = Stopping.of(folder, config, in_order)
    if _goes_on(study, stopping) or Retrainings(folder, config).num_left:
        folder.save_finished(None)
        pretrain = pretrain or _pretrain()
        if here := pretrains_here(config, address=address):
            deque(pretrain(folder, config, data), maxlen=0)
        threading.Thread(target=import_integrations, daemon=True).start()
        with (
            cluster(address) as temporary,
            Monitor(folder, num_trials=study.num_trials, outbox=outbox) as monitor,
        ):

            def observe(event: Event) -> None:
                monitor.observe(event)
                on_event(event)

            slots = Slots(config.resources, elastic=address is not None)
            search = SearchRun(folder, config, study, observe, stopping, temporary, slots)
            search.run(data, run_trial or _run_trial(), None if here else pretrain)
    elif folder.finished() is None:  # a budget that was spent before anything could run
        stopping.meter.save()
    reason = stopping.reason() if study.num_left else None
    folder.save_finished(
        Finished(
            trials=study.num_ended,
            budget=study.num_trials,
            stopped_by=reason or study.stopped_by,
        )
    )


def _goes_on(study: Study, stopping: Stopping) -> bool:
    """Returns whether a trial is to run: one that was started, or one that may start."""
    return study.num_open > 0 or (study.num_left > 0 and stopping.reason() is None)


def _run_trial() -> RunTrial:
    from hoyer_search.trial.pipeline import run_trial  # loads torch

    return run_trial


def _pretrain() -> Pretrain:
    from hoyer_search.trial.pretraining import pretrain

    return pretrain


class SearchRun:
    """One call of ``run_search`` on a running cluster."""

    def __init__(
        self,
        folder: SweepFolder,
        config: SweepConfig,
        study: Study,
        on_event: OnEvent,
        stopping: Stopping,
        temporary: Path,
        slots: Slots,
    ) -> None:
        self._folder = folder
        self._config = config
        self._study = study
        self._on_event = on_event
        self._stopping = stopping
        self._temporary = temporary
        self._slots = slots
        self._interruption = Interruption()
        self._watchdog = Watchdog(config.resources.hang_minutes)
        self._event_error: Exception | None = None

    def run(self, data: Any, run_trial: RunTrial, pretrain: Pretrain | None) -> None:
        """Pretrains, runs trials until the budget is spent, and then the winners' retrainings.

        Args:
            data: What the trials train on.
            run_trial: Runs one trial.
            pretrain: Trains the dense network, None when it is there.
        """
        try:
            with self._interruption.listening():
                self._run(ray.put(data), run_trial, pretrain)
        finally:
            self._stopping.meter.tick(running=0)
            self._stopping.meter.save()

    def _run(
        self, data: ray.ObjectRef[Any], run_trial: RunTrial, pretrain: Pretrain | None
    ) -> None:
        if pretrain is not None:
            self._pretrain(pretrain, data)
        self._watchdog.learn_all(self._folder)
        trainable = tune.with_parameters(
            TrialTrainable, folder=self._folder, data=[data], run_trial=run_trial
        )
        self._run_all(self._study, trainable)
        self._run_all(Retrainings(self._folder, self._config), trainable)

    def _pretrain(self, pretrain: Pretrain, data: ray.ObjectRef[Any]) -> None:
        for progress in pretrain_remotely(
            pretrain, self._folder, self._config, data, watchdog=self._watchdog
        ):
            self._stopping.meter.tick(running=0)
            self._emit(Event(progress=progress))
            self._interruption.check()

    def _run_all(self, work: Work, trainable: type[tune.Trainable]) -> None:
        while self._left(work):
            self._interruption.check()
            self._go_on(work, trainable)

    def _go_on(self, work: Work, trainable: type[tune.Trainable]) -> None:
        """Runs Tune once; it may end before the work does, but not without a trial's end.

        A trial's attempt that was noted as failed counts too: it has three at most.
        """
        ended, events = work.num_ended, self._events()
        try:
            self._fit(work, trainable, events)
        except Exception as error:
            if self._event_error is not None:
                raise self._event_error from None
            if files.out_of_space(error):
                raise  # nothing can be settled: `resume` will
            noted = self._note_killed(error, events.actors)
            work.recover()
            if work.num_ended == ended and not noted:
                raise
            cause = str(error).strip().rpartition("\n")[2]
            log.warning("Ray Tune stopped and is started again: %s", cause)
        else:
            if self._event_error is not None:
                raise self._event_error
            work.recover()
            stopped = self._interruption.requested
            if work.num_ended == ended and self._left(work) and not stopped:
                raise RuntimeError("Ray Tune ended without running a trial")

    def _note_killed(self, error: Exception, actors: dict[str, str]) -> bool:
        """Notes a failed attempt of the trial for whose memory Ray ended Tune's whole run."""
        killed = killed_for_memory(error)
        found = None if killed is None else hungriest(killed, actors)
        spec = None if found is None else self._folder.spec(found[0])
        if found is None or spec is None:
            return False
        text = (
            f"its node ran low on memory, and Ray killed its process, which used {found[1]:g} GB: "
            "have fewer trials at once (resources.workers) or smaller batches"
        )
        if self._folder.result(spec.uid) is None:
            result = add_failure(self._folder, spec, text)
            if result is not None:
                self._emit(Event(spec=spec, result=result))
        return True

    def _left(self, work: Work) -> bool:
        if work is self._study:
            return _goes_on(self._study, self._stopping)
        return work.num_left > 0

    def _may_start(self, work: Work) -> bool:
        """Returns whether further trials may start: the budget does not limit retrainings."""
        return work is not self._study or self._stopping.reason() is None

    def _emit(self, event: Event) -> None:
        if event.result is not None:
            if event.result.retrains is None:
                self._stopping.plateau.add(event.result)
            self._stopping.meter.save()
        try:
            self._on_event(event)
        except Exception as error:
            self._event_error = error  # Tune takes it for the trial's own, and would go on
            self._interruption.request()
            raise

    def _fit(self, work: Work, trainable: type[tune.Trainable], events: Events) -> None:
        """Runs Tune once, over what is left of the work, which is idle afterwards."""
        resources = self._config.resources
        searcher = StudySearcher(
            work,
            self._folder,
            slots=self._slots,
            stopped=lambda: not self._may_start(work),
            halted=lambda: self._interruption.requested,
            starting=lambda live: self._interruption.running < live <= self._slots.room(),
            losses=events.losses,
        )
        try:
            tune.Tuner(
                tune.with_resources(
                    trainable, {"cpu": resources.cpus, "gpu": resources.gpus, **resources.custom}
                ),
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=self._scheduler(),
                    num_samples=work.num_left,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    stop=self._interruption,
                    storage_path=str(self._temporary / "tune"),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    failure_config=tune.FailureConfig(max_failures=MAX_LOST_WORKERS),
                    callbacks=[events],
                    verbose=0,
                ),
            ).fit()
        finally:
            searcher.close()

    def _events(self) -> Events:
        meter = self._stopping.meter
        return Events(self._folder, self._emit, meter, self._interruption, self._watchdog)

    def _scheduler(self) -> TrialScheduler:
        """Returns early stopping as far as the sweep has it, and knows its finished trials."""
        dense = self._folder.dense()
        if dense is None or not self._config.stops_early:
            return NewestFirst(self._slots.room)
        return StoppingScheduler(self._folder, self._config, dense, room=self._slots.room)
