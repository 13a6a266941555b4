"""A trial as Ray Tune runs it: one step of ours is one step of Tune's."""

import gc
import json
import math
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

import ray
from ray import tune

from hoyer_search import files, results
from hoyer_search.errors import TrialFenced
from hoyer_search.results import CurvePoint, Progress, TrialResult, TrialSpec
from hoyer_search.search.failures import NO_SPACE, add_failure, is_permanent
from hoyer_search.store import SweepFolder

RunTrial = Callable[[SweepFolder, TrialSpec, Any], Iterable[Progress]]

_METRIC = "metric/"


class TrialTrainable(tune.Trainable):
    """Runs trials one after another in one process, so that torch and the data are loaded once.

    An exception in a trial is recorded in its folder and the trial is tried again in place, where
    its finished stages are skipped; the third one, or the first that another attempt would meet as
    well, makes it a failed trial with a result. So Tune sees only lost workers and nodes as errors.
    A full disk is no failure of the trial: it stays open, and its report tells the driver.

    A trial that is taken away before its end saves a checkpoint: when Tune stops it, and on
    SIGTERM, by which a node that is about to go warns its processes. Its epoch ends first.
    """

    def setup(  # type: ignore[override] # tune.with_parameters adds what follows config
        self,
        config: dict[str, Any],
        *,
        folder: SweepFolder,
        data: list[ray.ObjectRef[Any]],
        run_trial: RunTrial,
    ) -> None:
        """Gets ready for the first trial.

        Args:
            config: ``{"uid": ...}`` of a trial whose ``spec.json`` is in the sweep's folder.
            folder: The sweep, on storage that the driver and all nodes share.
            data: Reference of the data in the object store, in a list so that Ray passes it on
                as it is.
            run_trial: Runs a trial, step by step; goes on where an earlier attempt stopped.
        """
        self._folder = folder
        self._data = ray.get(data[0])
        self._run_trial = run_trial
        self._steps: Iterator[Progress] | None = None
        self._in_step = self._terminated = False
        self._begin(config)
        self._listen()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Gets ready for the next trial; returns True, which tells Tune that it worked."""
        self._end()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Returns the trial's next step as a report, or ``done`` and the state it ended in.

        Raises:
            TrialFenced: A newer attempt has the trial; this one leaves no trace.
            SystemExit: The process was asked to end, and the trial is saved.
        """
        self._in_step = True
        try:
            report = self._next()
        except Exception as error:
            if not files.out_of_space(error):
                raise
            self._steps = None
            report = {"done": True, "state": NO_SPACE}
        self._in_step = False
        if self._terminated:
            self._end()
            sys.exit(1)
        return report

    def _next(self) -> dict[str, Any]:
        while True:
            try:
                if self._steps is None:
                    self._steps = iter(self._run_trial(self._folder, self._spec, self._data))
                progress = next(self._steps, None)
                if progress is not None:
                    return to_report(progress)
                result = self._result()
            except TrialFenced:
                raise
            except Exception as error:
                if files.out_of_space(error):
                    raise  # it is not the trial's fault
                failed = self._fail(error)
                if failed is None:
                    continue
                result = failed
            return {"done": True, "state": result.state}

    def cleanup(self) -> None:
        """Ends a trial that was stopped half-way."""
        self._end()

    def _begin(self, config: dict[str, Any]) -> None:
        path = self._folder.trial(config["uid"]) / "spec.json"
        self._spec = results.load(TrialSpec, path)
        self._steps = None

    def _listen(self) -> None:
        """Lets a step end before SIGTERM ends the process, as Ray does at once."""
        if threading.current_thread() is not threading.main_thread():
            return
        at_once = signal.getsignal(signal.SIGTERM)

        def end(number: int, frame: FrameType | None) -> None:
            self._terminated = True
            if not self._in_step and callable(at_once):
                self._end()
                at_once(number, frame)

        signal.signal(signal.SIGTERM, end)

    def _end(self) -> None:
        """Leaves the trial, whose open training saves a checkpoint, and frees what it held.

        A process that is used again would keep its GPU memory.
        """
        self._steps = None
        result = self._folder.result(self._spec.uid)
        if result is not None and result.state == "stopped":  # early: it will not go on
            for partial in self._folder.trial(self._spec.uid).glob("*.partial"):
                shutil.rmtree(partial, ignore_errors=True)
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            gc.collect()
            torch.cuda.empty_cache()

    def _result(self) -> TrialResult:
        result = self._folder.result(self._spec.uid)
        if result is None:
            raise RuntimeError(f"trial {self._spec.uid} ended without a result.json")
        return result

    def _fail(self, error: Exception) -> TrialResult | None:
        """Records a failed attempt; returns the trial's result when it was the last."""
        self._steps = None
        text = "".join(traceback.format_exception(error))
        return add_failure(self._folder, self._spec, text, final=is_permanent(error))


def to_report(progress: Progress) -> dict[str, float | int | str]:
    """Returns a step as the flat dictionary that Tune passes on; ``from_report`` reads it back."""
    report: dict[str, float | int | str] = {
        "stage": progress.stage,
        "epoch": progress.epoch,
        "epochs": progress.epochs,
        "unix_time": progress.time,
        "point": math.nan if progress.point is None else progress.point,
        "stage_seconds": progress.wall_seconds,
    }
    if progress.curve:
        report["curve"] = json.dumps([results.to_json(point) for point in progress.curve])
    return report | {_METRIC + name: value for name, value in progress.metrics.items()}


def from_report(report: dict[str, Any]) -> Progress | None:
    """Returns the step in a report of Tune, None when it is a trial's last report."""
    if "stage" not in report:
        return None
    return Progress(
        stage=report["stage"],
        epoch=report["epoch"],
        epochs=report["epochs"],
        time=report["unix_time"],
        point=None if math.isnan(report["point"]) else report["point"],
        metrics={
            name.removeprefix(_METRIC): value
            for name, value in report.items()
            if name.startswith(_METRIC)
        },
        wall_seconds=report["stage_seconds"],
        curve=[CurvePoint(**point) for point in json.loads(report.get("curve", "[]"))],
    )
