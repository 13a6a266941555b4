"""Early stopping of a sweep's trials: what it knows of them, and its verdict at each milestone.

Ray's scheduler and the simulator share it; the rules themselves are in ``futility``.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hoyer_search.config import SweepConfig
from hoyer_search.front import Front, size
from hoyer_search.results import CurvePoint, Dense, Outlook, Point, TrialResult
from hoyer_search.search.futility import (
    MOST_TRIALS,
    Lesson,
    Track,
    forecast,
    hopeless,
    lagging,
    outlook,
)
from hoyer_search.trial.levels import levels
from hoyer_search.trial.prediction import to_rows

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a trial that is to stop would have come to.

    Attributes:
        forecast: By operating point: log2 of compression, or minus what it would have lacked;
            never more than the best trial has.
        outlook: Over its whole curve.
    """

    forecast: dict[str, float]
    outlook: Outlook


class EarlyStopping:
    """The verdicts of one sweep. It is not safe for threads."""

    def __init__(self, config: SweepConfig, dense: Dense) -> None:
        """Starts knowing no trial.

        Args:
            config: The sweep, one that ``stops_early``.
            dense: The dense network.
        """
        self._rule, self._objective = config.early_stopping, config.objective
        self._pipeline = config.pipeline
        self._dense = dense
        self._floors = config.objective.floors(dense.val_accuracy)
        self._tracks: dict[str, Track] = {}
        self._ended: dict[str, TrialResult] = {}
        self._lessons: dict[tuple[int, int], Lesson | None] = {}

    def learn(self, result: TrialResult) -> None:
        """Takes in how a trial ended; once more changes nothing."""
        if result.uid in self._ended:
            return
        self._ended[result.uid] = result
        if result.state == "complete" and result.points:
            track = self._track(result.uid)
            self._tracks[result.uid] = Track(
                milestones=track.milestones,
                final=self._curve(result.curve),
                finetuned=self._rows((self._size(p), p.val_accuracy) for p in result.points),
            )

    def remember(self, uid: str, quarter: int, curve: Sequence[CurvePoint]) -> None:
        """Takes in a trial's curve at a milestone, without a verdict; once more changes nothing."""
        if curve:
            self._track(uid).milestones[quarter] = self._curve(curve)

    def verdict(self, uid: str, quarter: int, curve: Sequence[CurvePoint]) -> Expected | None:
        """Takes in a trial's curve at a milestone and returns what it leads to if it is to stop.

        Args:
            uid: The trial.
            quarter: The milestone, from 1.
            curve: Its raw curve by rising threshold.

        Returns:
            None when the trial goes on.
        """
        self.remember(uid, quarter, curve)
        if not curve:
            return None
        own = self._track(uid).milestones[quarter]
        floors, dense = np.array(list(self._floors.values())), self._dense.val_accuracy
        lesson, front = self._lesson(quarter), self._front()
        if self._rule == "curve":
            watched = levels(floors)  # between operating points there is hypervolume to win
            stops = lesson is not None and hopeless(
                lesson,
                own,
                dense=dense,
                levels=watched,
                best=_best(front, watched),
                left=self._left(quarter),
            )
        else:
            others = [
                t.milestones[quarter]
                for u, t in self._tracks.items()
                if u != uid and quarter in t.milestones
            ][-MOST_TRIALS:]
            read = [forecast(lesson, c, dense=dense, floors=floors) for c in (*others, own)]
            stops = lagging(read[:-1], read[-1])
        if not stops:
            return None
        expected = np.fmin(forecast(lesson, own, dense=dense, floors=floors), _best(front, floors))
        return Expected(
            forecast=dict(zip(self._floors, expected.tolist(), strict=True)),
            outlook=outlook(lesson, own, dense=dense),
        )

    def _left(self, quarter: int) -> float:
        """Returns which part of a trial's epochs is left at a milestone."""
        finetune = self._pipeline.finetune
        last = finetune.epochs * finetune.max_points
        epochs = self._pipeline.regularize.epochs
        return (epochs * (4 - quarter) / 4 + last) / (epochs + last)

    def _lesson(self, quarter: int) -> Lesson | None:
        key = (quarter, len(self._ended))
        if key not in self._lessons:
            self._lessons = {k: v for k, v in self._lessons.items() if k[1] == key[1]}
            ended = [self._tracks[uid] for uid in self._ended if uid in self._tracks]
            self._lessons[key] = Lesson.learn(
                ended, quarter=quarter, dense=self._dense.val_accuracy
            )
        return self._lessons[key]

    def _front(self) -> Front:
        return Front.of(
            (point for result in self._ended.values() for point in result.points),
            dense=self._dense,
            sparsity=self._objective.sparsity,
            floors=self._floors,
        )

    def _track(self, uid: str) -> Track:
        return self._tracks.setdefault(uid, Track())

    def _curve(self, curve: Sequence[CurvePoint]) -> Floats:
        return self._rows(
            (float(getattr(point, self._objective.sparsity)), point.val_accuracy) for point in curve
        )

    def _rows(self, pairs: Iterable[tuple[float, float]]) -> Floats:
        dense = size(self._dense, self._objective.sparsity)
        return to_rows(((max(s, 1.0), accuracy) for s, accuracy in pairs), dense)

    def _size(self, point: Point) -> float:
        return size(point, self._objective.sparsity)


def _best(front: Front, floors: Floats) -> Floats:
    """Returns the log2 compression that a front has at each floor, NaN where it keeps none."""
    best = [front.best(min_accuracy=floor) for floor in floors.tolist()]
    return np.array([math.nan if p is None else math.log2(front.compression(p)) for p in best])
