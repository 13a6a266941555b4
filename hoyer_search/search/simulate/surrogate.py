"""What a training would have given: an interpolation of recorded trainings, with their noise.

Thin-plate splines over the searched parameters carry every knot of every curve (see
``registration``). What they leave unexplained is the noise: a simulated training adds a random
mixture of the recorded trainings' residuals, the same at every knot, so that early and late curves
err together as they did in the recording. What finetuning makes of the last curve is mapped from it
(see ``finetuning``), and what that leaves is mixed in likewise.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hoyer_search import files
from hoyer_search.errors import DataError
from hoyer_search.results import CurvePoint, Value
from hoyer_search.search.cube import Cube
from hoyer_search.search.parameters import search_space
from hoyer_search.search.simulate.finetuning import FinetuningMap, Reached, to_accuracy
from hoyer_search.search.simulate.recording import Finetuned, Milestone, Recording, Training
from hoyer_search.search.simulate.registration import FLAT, KNOTS, LOST, Knots, places, read_curve
from hoyer_search.search.simulate.spline import Spline

Floats = npt.NDArray[np.float64]


class Surrogate:
    """Trainings at any setting of a recorded space.

    A setting has one outcome for each seed, as a real training has, whenever it is asked for.

    Attributes:
        regularize_seconds: Median time of regularizing.
        threshold_seconds: Median time of one threshold of a curve.
        finetune_seconds: Median time of one finetuning.
        threshold_range: Where recorded networks fall from whole to lost: what a user who knew the
            recording would search.
    """

    def __init__(self, recording: Recording) -> None:
        """Fits the recording.

        Raises:
            DataError: It holds too few trainings to interpolate.
        """
        self._config, self._trainings = recording.config, recording.trainings
        space = search_space(recording.config)
        least = len(space) + 3
        if len(self._trainings) < least:
            raise DataError(
                f"a recording of {len(space)} parameters needs at least {least} trainings to "
                f"interpolate, it has {len(self._trainings)}: record more"
            )
        curves = [m for t in self._trainings for m in t.milestones]
        self._chance = min(point.val_accuracy for m in curves for point in m.curve)
        self._epochs = [m.epoch for m in self._trainings[0].milestones]
        self._cube = Cube(space)
        points = self._cube.points([t.params for t in self._trainings])
        self._finetuning = FinetuningMap.fit(self._trainings, chance=self._chance)
        read = [self._read(training) for training in self._trainings]
        errors = [
            self._finetuning.errors(curves[-1], training)
            for curves, training in zip(read, self._trainings, strict=True)
        ]
        self._errors = Reached(*(np.stack(column) for column in zip(*errors, strict=True)))
        falls = [curves[-1].log_threshold for curves in read]
        inside = np.concatenate([fall[FLAT : FLAT + len(LOST)] for fall in falls])
        self.threshold_range = (math.exp(inside.min()), math.exp(inside.max()))
        # One for each channel: smoothness differs between channels, not between knots.
        rows = [[np.concatenate(c) for c in zip(*curves, strict=True)] for curves in read]
        self._splines = [Spline.fit(points, np.stack(c)) for c in zip(*rows, strict=True)]
        self._expected = lru_cache(maxsize=16)(self._expect)
        self.regularize_seconds = statistics.median(t.wall_seconds for t in self._trainings)
        self.threshold_seconds = statistics.median(m.wall_seconds / len(m.curve) for m in curves)
        self.finetune_seconds = statistics.median(
            f.wall_seconds for t in self._trainings for f in t.finetuned
        )

    def train(
        self,
        params: Mapping[str, Value],
        *,
        seed: int,
        thresholds: Sequence[float] | None = None,
    ) -> Training:
        """Returns what a training would have given, finetuned at every threshold of its curve.

        Args:
            params: Searched parameters by name; a ``threshold`` among them is not looked at.
            seed: Seed of the noise.
            thresholds: Thresholds of its curves, rising; by default as many as the space asks
                for, evenly over the logarithm of the nonzeros.
        """
        setting = {name: params[name] for name in sorted(params) if name != "threshold"}
        knots, errors = self._sample(setting, seed)
        milestones = []
        for epoch, one in zip(self._epochs, knots, strict=True):
            at = self._positions(one, thresholds)
            curve = self._curve(one, at)
            took = len(curve) * self.threshold_seconds
            milestones.append(Milestone(epoch=epoch, curve=curve, wall_seconds=took))
        mapped = zip(self._finetuning(knots[-1]), errors, strict=True)
        reached = Reached(*(to_accuracy(logits + error) for logits, error in mapped))
        return Training(
            number=0,
            params=setting,
            milestones=milestones,
            finetuned=self._finetuned(milestones[-1].curve, reached, at),
            wall_seconds=self.regularize_seconds,
        )

    def _read(self, training: Training) -> list[Knots]:
        """Returns a recorded training's curves, one for each milestone."""
        at = [places(m.curve, chance=self._chance) for m in training.milestones]
        return [read_curve(m.curve, a) for m, a in zip(training.milestones, at, strict=True)]

    def _sample(self, setting: dict[str, Value], seed: int) -> tuple[list[Knots], Reached]:
        """Returns curves with noise, and the noise of what finetuning makes of the last."""
        digest = files.digest({"seed": seed, "params": setting})
        rng = np.random.default_rng(int(digest[:16], 16))
        count = len(self._trainings)
        mixture = rng.standard_normal(count) / math.sqrt(count)
        expected = self._expected(tuple(setting.items()))
        channels = [
            row + mixture @ spline.residuals
            for row, spline in zip(expected, self._splines, strict=True)
        ]
        shape = (len(self._epochs), KNOTS)
        knots = [Knots(*rows) for rows in zip(*(c.reshape(shape) for c in channels), strict=True)]
        return [*map(_monotone, knots)], Reached(*(mixture @ column for column in self._errors))

    def _expect(self, setting: tuple[tuple[str, Value], ...]) -> list[Floats]:
        """Returns the channels of a setting without noise."""
        point = self._cube.points([dict(setting)])
        return [spline(point)[0] for spline in self._splines]

    def _positions(self, knots: Knots, thresholds: Sequence[float] | None) -> Floats:
        """Returns fractional knots of the wanted thresholds."""
        index = np.arange(KNOTS, dtype=np.float64)
        if thresholds is not None:
            return np.interp(np.log(thresholds), knots.log_threshold, index)
        sizes = np.linspace(
            knots.log_size[0], knots.log_size[-1], self._config.pipeline.curve.points
        )
        return np.interp(-sizes, -knots.log_size, index)

    def _curve(self, knots: Knots, at: Floats) -> list[CurvePoint]:
        log_threshold, log_size, log_macs, raw = (
            np.interp(at, np.arange(KNOTS), column) for column in knots
        )
        columns = (
            np.exp(log_threshold),
            self._rounded(raw),
            np.rint(np.exp(log_size)).astype(np.int64),
            np.rint(np.exp(log_macs)).astype(np.int64),
        )
        return [
            CurvePoint(threshold=threshold, val_accuracy=raw, nonzeros=nonzeros, macs=macs)
            for threshold, raw, nonzeros, macs in zip(*(c.tolist() for c in columns), strict=True)
        ]

    def _finetuned(
        self, curve: Sequence[CurvePoint], reached: Reached, at: Floats
    ) -> list[Finetuned]:
        val, test = (np.interp(at, np.arange(KNOTS), column) for column in reached)
        return [
            Finetuned(
                threshold=point.threshold,
                nonzeros=point.nonzeros,
                macs=point.macs,
                raw_val_accuracy=point.val_accuracy,
                val_accuracy=v,
                test_accuracy=t,
                wall_seconds=self.finetune_seconds,
            )
            for point, v, t in zip(curve, self._rounded(val).tolist(), test.tolist(), strict=True)
        ]

    def _rounded(self, accuracy: Floats) -> Floats:
        """Returns accuracies that the validation examples can give."""
        examples = self._config.data.validation
        return np.asarray(np.clip(np.rint(accuracy * examples) / examples, 0.0, 1.0))


def _monotone(knots: Knots) -> Knots:
    """Returns a curve whose sizes fall while its thresholds rise, as noise may not leave them."""
    return knots._replace(
        log_threshold=np.maximum.accumulate(knots.log_threshold),
        log_size=np.minimum.accumulate(knots.log_size),
        log_macs=np.minimum.accumulate(knots.log_macs),
    )
