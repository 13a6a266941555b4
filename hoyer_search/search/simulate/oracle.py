"""What search methods are measured against: a sweep that knows every setting, but not its luck."""

import statistics
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from hoyer_search.front import size
from hoyer_search.results import Point, TrialSpec, Value
from hoyer_search.search.cube import Cube
from hoyer_search.search.parameters import search_space
from hoyer_search.search.simulate.recording import Finetuned, Recording
from hoyer_search.search.simulate.simulator import Standing, TrialReplay, standing
from hoyer_search.search.simulate.surrogate import Surrogate
from hoyer_search.search.study import learned
from hoyer_search.trial.prediction import TrialCurve

Floats = npt.NDArray[np.float64]

SETTINGS = 128
"""Settings the oracle chooses from, a Sobol sequence; a power of two."""

DRAWS = 8
"""Trainings of each, which differ by the noise, to learn what is expected of it."""

FINENESS = 4
"""Thresholds looked at for each of a curve's: trials finetune between these too."""

TRAININGS = 1024
"""Trainings in all of the oracle's sweeps, as many sweeps as that makes, at least one."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What an oracle's sweeps reach, medians of several, as methods are compared by medians.

    Attributes:
        hypervolume: Of the front.
        doublings: log2 of the best compression by operating point, 0 where none keeps the floor.
    """

    hypervolume: float
    doublings: dict[str, float]


class Oracle:
    """A searcher that knows what to expect of every setting of a recorded space.

    It trains the setting of the best expected compression at each operating point in turn, in
    trials like every sweep's: few finetunings, at thresholds chosen by what the sweep has learned.
    A training's noise it cannot foresee, as no searcher can: so what it reaches is what is there to
    be found in a budget, which the best of ever more noisy trainings, or the best that happened to
    be found, is not.
    """

    def __init__(self, surrogate: Surrogate, recording: Recording) -> None:
        """Tries the settings.

        Args:
            surrogate: Of the recording.
            recording: The recorded trainings; its space asks for nonzeros or MACs.
        """
        self._surrogate, self._objective = surrogate, recording.config.objective
        self._dense = size(recording.dense, self._objective.sparsity)
        floors = self._objective.floors(recording.dense.val_accuracy)
        self._floors = np.array(list(floors.values()))
        self._recording = recording
        space = search_space(recording.config)
        cube = Cube(space)
        design = cube.snap(qmc.Sobol(len(space), rng=0).random(SETTINGS))
        settings = [cube.setting(point) for point in design]
        worth = [
            np.mean([self._reached(self._train(s, seed)) for seed in range(DRAWS)], axis=0)
            for s in settings
        ]
        self._best = [settings[i] for i in np.argmax(worth, axis=0)]

    def reference(self, trials: int) -> Reference:
        """Returns what the oracle reaches in a number of trials, medians over its sweeps."""
        ends = [
            self._sweep(range(first, first + trials))
            for first in range(0, max(TRAININGS // trials, 1) * trials, trials)
        ]
        return Reference(
            hypervolume=statistics.median(end.hypervolume for end in ends),
            doublings={
                name: statistics.median(end.doublings[name] for end in ends)
                for name in self._objective.points
            },
        )

    def _sweep(self, seeds: range) -> Standing:
        """Returns where a sweep ends whose trials have these seeds."""
        recording, points, curves = self._recording, list[Point](), list[TrialCurve]()
        for number, seed in enumerate(seeds):
            spec = TrialSpec(
                number=number,
                uid=str(number),
                params=self._best[number % len(self._best)],
                config={},
                knowledge=learned(curves),
            )
            config = recording.config.model_copy(update={"seed": seed})
            result = TrialReplay(self._surrogate, config, recording.dense).run(spec).result
            curve = TrialCurve.of(result, self._objective)
            curves += [curve] if curve else []
            points += result.points
        return standing(points, recording.config, dense=recording.dense, seconds=0.0)

    def _train(self, setting: dict[str, Value], seed: int) -> Floats:
        """Returns accuracy and log2 compression over finely spread thresholds, shape (n, 2)."""
        sparsity = self._objective.sparsity
        finetuned = self._surrogate.train(setting, seed=seed).finetuned
        sizes = [max(_count(one, sparsity), 1) for one in finetuned]
        index = np.arange(FINENESS * len(sizes) - FINENESS + 1) / FINENESS
        known = np.arange(len(sizes))
        accuracy = np.interp(index, known, [one.val_accuracy for one in finetuned])
        compression = np.interp(index, known, np.log2(self._dense / np.array(sizes)))
        return np.stack([accuracy, compression], axis=1)

    def _reached(self, found: Floats) -> Floats:
        """Returns the best compression at each operating point, shape (k,)."""
        kept = found[:, :1] >= self._floors
        return np.asarray(np.where(kept, found[:, 1:], 0.0).max(axis=0))


def _count(finetuned: Finetuned, sparsity: str) -> int:
    return finetuned.nonzeros if sparsity == "nonzeros" else finetuned.macs
