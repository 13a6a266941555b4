"""Search methods compared on one recording: what each lacks, after how many trials."""

import typing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import mannwhitneyu  # type: ignore[attr-defined]

from hoyer_search.config import SamplerName, StoppingName, SweepConfig
from hoyer_search.errors import ConfigError, unknown_name
from hoyer_search.front import size
from hoyer_search.search.simulate.oracle import Oracle
from hoyer_search.search.simulate.recording import Recording, load_recording
from hoyer_search.search.simulate.simulator import Standing, simulate
from hoyer_search.search.simulate.surrogate import Surrogate

Floats = npt.NDArray[np.float64]

JOINT = "-joint"
"""Ending of a method that searches the threshold as one more parameter."""

METHODS = [name + end for name in typing.get_args(SamplerName) for end in ("", JOINT)]

PLUS = "+"
"""Stands before a method's own early stopping: ``gp+none``."""

STOPPING = list(typing.get_args(StoppingName))

MILESTONES = (5, 10, 20, 40)
"""Numbers of trials at which methods are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Sweeps of one method, one for each seed: what they had after each trial.

    Every array is of shape (num_seeds, num_trials).

    Attributes:
        method: Its name.
        seconds: Virtual time of the trial's end.
        hypervolume: Of the front so far.
        hypervolume_regret: What that lacks, as a share of the oracle's; below 0 when it has more.
        size: Best nonzeros or MACs by operating point; the dense network's while none is kept.
        regret: What those lack, in doublings of compression.
        epochs: Epochs of regularizing and finetuning so far.
        saved: Share of epochs that early stopping saved so far: of those that the same trials
            would have had.
        stopped: Trials stopped so far.
        false_stops: Those of them that would have improved an operating point.
    """

    method: str
    seconds: Floats
    hypervolume: Floats
    hypervolume_regret: Floats
    size: dict[str, Floats]
    regret: dict[str, Floats]
    epochs: Floats
    saved: Floats
    stopped: Floats
    false_stops: Floats


class Comparison:
    """Sweeps by any method over a recording.

    With one seed all methods see the same world: a setting gives them the same network. They are
    measured against what an oracle is expected to reach in as many trials (see ``Oracle``), which
    a lucky sweep may surpass.

    Attributes:
        sparsity: What is made small.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        trials: int,
        workers: int,
        seeds: int,
        early_stopping: StoppingName | None = None,
    ) -> None:
        """Fits the recording.

        Args:
            recording: The recorded trainings.
            trials: Trials of each sweep, at least 1.
            workers: Trials that run at once.
            seeds: Sweeps of each method, of seeds 0, 1, ...
            early_stopping: Of methods that name none; by default the recorded space's. A joint
                search is a method to compare with: it stops no trial unless its name says so.

        Raises:
            InputError: The recording is too small, lacks the sparsity objective of its space, or
                is of a space with ``warm_start: path``.
        """
        sparsity = recording.config.objective.sparsity
        if sparsity not in ("nonzeros", "macs"):
            raise ConfigError(
                f"a recording holds nonzeros and macs; its space asks for {sparsity}: record it "
                f"with --set objective.sparsity=macs"
            )
        if recording.config.warm_start == "path":
            raise ConfigError(
                "warm_start: path cannot be replayed: every training of a recording starts from "
                "the dense network, and none from another. Record it with --set warm_start=dense"
            )
        self.sparsity = sparsity
        self._recording = recording
        self._surrogate = Surrogate(recording)
        self._trials, self._workers, self._seeds = trials, workers, range(seeds)
        self._early_stopping = early_stopping or recording.config.early_stopping
        self._reference = cache(lambda: Oracle(self._surrogate, recording).reference(trials))

    @classmethod
    def open(cls, path: Path, **options: Any) -> "Comparison":
        """Reads a recording; see ``load_recording`` and the constructor for what is raised."""
        return cls(load_recording(path), **options)

    def run(self, method: str) -> Runs:
        """Runs the sweeps of a method.

        Raises:
            ConfigError: There is no such method.
        """
        self.check(method)
        sweeps = [self._sweep(method, seed) for seed in self._seeds]
        best = self._reference()
        points = self._recording.config.objective.points
        hypervolume = _array([[s.hypervolume for s in sweep] for sweep in sweeps])
        doublings = {p: _array([[s.doublings[p] for s in w] for w in sweeps]) for p in points}
        dense = size(self._recording.dense, self.sparsity)
        epochs, whole, stopped, false = (
            _array([[getattr(standing, name) for standing in sweep] for sweep in sweeps])
            for name in ("epochs", "whole_epochs", "stopped", "false_stops")
        )
        return Runs(
            method=method,
            seconds=_array([[s.seconds for s in sweep] for sweep in sweeps]),
            hypervolume=hypervolume,
            hypervolume_regret=1 - hypervolume / best.hypervolume,
            size={p: dense / 2**reached for p, reached in doublings.items()},
            regret={p: best.doublings[p] - doublings[p] for p in points},
            epochs=epochs,
            saved=1 - epochs / whole,
            stopped=stopped,
            false_stops=false,
        )

    def check(self, method: str) -> None:
        """Checks that there is a method of that name.

        Raises:
            ConfigError: There is none.
        """
        base, plus, stopping = method.partition(PLUS)
        if base not in METHODS:
            raise ConfigError(unknown_name("method", base, METHODS))
        if plus and stopping not in STOPPING:
            raise ConfigError(unknown_name("early stopping", stopping, STOPPING))

    def config(self, method: str, seed: int) -> SweepConfig:
        """Returns the sweep of a method: the recorded space, with its sampler and budget."""
        base, _, stopping = method.partition(PLUS)
        joint = base.endswith(JOINT)
        data = self._recording.config.model_dump()
        data |= {"sampler": base.removesuffix(JOINT), "seed": seed}
        data["early_stopping"] = stopping or ("none" if joint else self._early_stopping)
        data["budget"] = {"trials": self._trials}
        if joint:
            low, high = self._surrogate.threshold_range
            data["search"]["threshold"] = {"low": low, "high": high, "log": True}
            data["presets"] = [p for p in data["presets"] if low <= p.get("threshold", low) <= high]
        return SweepConfig.model_validate(data)

    def _sweep(self, method: str, seed: int) -> list[Standing]:
        return simulate(
            self._surrogate,
            self.config(method, seed),
            dense=self._recording.dense,
            workers=self._workers,
        )


def summary(runs: Runs) -> dict[str, Any]:
    """Returns median and quartiles of what a method had and lacked, as JSON-ready data.

    ``hypervolume``, ``hypervolume_regret``, ``seconds``, and by operating point ``size`` and
    ``regret``, by number of trials: 5, 10, 20 and 40, as far as the sweeps go, and the last.
    ``epochs`` and ``epochs_saved``, a share, likewise. ``stopped`` is the number of stopped trials
    of all sweeps together, and ``false_stop_rate`` the share of them that would have improved an
    operating point: None when no trial was stopped.
    """
    stopped = float(runs.stopped[:, -1].sum())
    last = runs.hypervolume.shape[1]
    trials = sorted({*(t for t in MILESTONES if t < last), last})

    def at(values: Floats) -> dict[str, dict[str, float]]:
        return {str(t): _quartiles(values[:, t - 1]) for t in trials}

    return {
        "hypervolume": at(runs.hypervolume),
        "hypervolume_regret": at(runs.hypervolume_regret),
        "seconds": at(runs.seconds),
        "size": {point: at(values) for point, values in runs.size.items()},
        "regret": {point: at(values) for point, values in runs.regret.items()},
        "epochs": at(runs.epochs),
        "epochs_saved": at(runs.saved),
        "stopped": int(stopped),
        "false_stop_rate": float(runs.false_stops[:, -1].sum()) / stopped if stopped else None,
    }


def mann_whitney(runs: Runs, against: Runs) -> dict[str, Any]:
    """Returns p of the two-sided Mann-Whitney test that two methods lack the same in the end.

    ``hypervolume_regret``, and ``regret`` by operating point.
    """
    return {
        "hypervolume_regret": _p(runs.hypervolume_regret, against.hypervolume_regret),
        "regret": {point: _p(r, against.regret[point]) for point, r in runs.regret.items()},
    }


def _p(values: Floats, others: Floats) -> float:
    return float(mannwhitneyu(values[:, -1], others[:, -1]).pvalue)


def _quartiles(values: Floats) -> dict[str, float]:
    q1, median, q3 = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {"median": median, "q1": q1, "q3": q3}


def _array(rows: Sequence[Sequence[float]]) -> Floats:
    return np.array(rows, dtype=np.float64)
