"""Which thresholds of a curve to finetune: those that settle an operating point.

A finetuning is worth the compression that it is expected to add to what the sweep and the trial
have, a weighted sum over the operating points and the levels halfway between (``levels``). The
best threshold goes first, also one between those that were evaluated; what it reached corrects the
prediction for the next.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from hoyer_search.config import Objective
from hoyer_search.results import CurvePoint, Dense, Knowledge
from hoyer_search.trial.levels import floors, levels, weights
from hoyer_search.trial.prediction import Offset, TrialCurve, alive, doublings, noise

Floats = npt.NDArray[np.float64]

WORTHWHILE = 0.05
"""Least expected gain, in doublings weighted and summed over the levels, for a finetuning."""

BETWEEN = 3
"""Thresholds considered between two neighbours of the evaluated curve."""

LEAST_CHANCE = 0.02
"""Chance of keeping a level under which a threshold has none: a Gaussian's tail is no knowledge."""

LEAST_STEP = 0.005
"""Doublings of compression by which a threshold differs at least from those finetuned."""

LEAST_ALIVE = 0.02
"""Share of the way from chance to the best raw accuracy under which nothing is left to finetune."""

REFINEMENTS = 3
"""Most thresholds evaluated between others for one finetuning."""


class Selection:
    """The thresholds of one trial, chosen one after the other.

    The same curve, knowledge and accuracies give the same choices, so a trial that is run again
    finds what it finetuned before.

    Attributes:
        curve: The raw curve, by rising threshold; what is evaluated in between is added.
    """

    def __init__(
        self,
        curve: Sequence[CurvePoint],
        *,
        dense: Dense,
        objective: Objective,
        max_points: int,
        knowledge: Knowledge | None = None,
    ) -> None:
        """Chooses nothing yet.

        Args:
            curve: The raw curve, by rising threshold, at least one.
            dense: The dense network.
            objective: Operating points, and what is made small. Sizes that a curve does not hold
                are taken to follow those it does.
            max_points: Most thresholds to choose.
            knowledge: What the sweep knew when the trial started, None for nothing.
        """
        self.curve = list(curve)
        self._finetuned: dict[float, float] = {}
        self._max_points = max_points
        self._dense, self._levels = dense, levels(floors(dense, objective))
        self._by_nonzeros = objective.sparsity in ("nonzeros", "parameters")
        self._offset = Offset.learn([])
        self._best = np.zeros(len(self._levels))
        if knowledge is not None:
            self._offset = Offset.of(knowledge)
            self._best = np.array(knowledge.best)

    def next(self, evaluate: Callable[[float], CurvePoint]) -> CurvePoint | None:
        """Returns the next threshold to finetune, None when no other is worth it.

        One is chosen at least, so that the search learns what the trial reaches.

        Args:
            evaluate: Returns the curve's point at a threshold between others.
        """
        if len(self._finetuned) >= self._max_points:
            return None
        for left in reversed(range(REFINEMENTS + 1)):
            threshold = self._choose(BETWEEN if left else 0)
            if threshold is None:
                return None
            known = [point for point in self.curve if point.threshold == threshold]
            if known:
                return known[0]
            self.curve = sorted([*self.curve, evaluate(threshold)], key=_threshold)
        raise AssertionError("without thresholds in between, one of the curve is chosen")

    def add(self, point: CurvePoint, accuracy: float) -> None:
        """Notes what a threshold reached."""
        self._finetuned[point.threshold] = accuracy

    def _choose(self, between: int) -> float | None:
        """Returns the best threshold, of those evaluated and some between, None for none."""
        thresholds, raw = self._candidates(between)
        if not len(raw):
            return None
        curve = TrialCurve(
            dense=self._dense.val_accuracy,
            floors=self._levels,
            raw=raw,
            finetuned=self._rows([(p, self._finetuned[p.threshold]) for p in self._settled]),
        )
        gains = self._gains(curve, self._best)
        if gains.max() < WORTHWHILE:
            if self._finetuned:
                return None
            gains = self._gains(curve, np.zeros_like(self._best))
        return float(thresholds[np.argmax(gains)])

    def _gains(self, curve: TrialCurve, best: Floats) -> Floats:
        """Returns the expected gains over what there is, in weighted doublings, along a curve."""
        mean, std = self._offset.predict(curve)
        limits = doublings(curve.dense - self._levels)[:, None]
        kept = ndtr((limits - mean) / np.hypot(std, noise(limits)))
        kept = np.where(kept < LEAST_CHANCE, 0.0, kept)
        gain = np.maximum(curve.grid - np.maximum(best, curve.reached(self._levels))[:, None], 0.0)
        return np.asarray(weights(len(self._levels)) @ (kept * gain))

    @property
    def _settled(self) -> list[CurvePoint]:
        return [point for point in self.curve if point.threshold in self._finetuned]

    def _candidates(self, between: int) -> tuple[Floats, Floats]:
        """Returns thresholds, and log2 compression and raw accuracy there, shapes (n,) and (n, 2).

        Without the sizes and the thresholds that were finetuned: several points of a curve may have
        one threshold, and would be chosen for ever.
        """
        thresholds = np.array([point.threshold for point in self.curve])
        raw = self._rows([(point, point.val_accuracy) for point in self.curve])
        places = np.arange(len(raw), dtype=np.float64)
        at = np.linspace(0, len(raw) - 1, (len(raw) - 1) * (between + 1) + 1)
        thresholds, *columns = (np.interp(at, places, column) for column in (thresholds, *raw.T))
        raw = np.stack(columns, axis=1)
        settled = self._rows([(point, 0.0) for point in self._settled])[:, 0]
        fresh = np.abs(raw[:, :1] - settled).min(axis=1, initial=np.inf) > LEAST_STEP
        # An uncertain line would hope for the emptiest network.
        fresh &= alive(raw[:, 1]) > LEAST_ALIVE
        fresh &= ~np.isin(thresholds, list(self._finetuned))
        return thresholds[fresh], raw[fresh]

    def _rows(self, pairs: list[tuple[CurvePoint, float]]) -> Floats:
        """Returns log2 compressions and accuracies, shape (n, 2)."""
        dense = self._size(self._dense)
        rows = [(math.log2(dense / self._size(point)), accuracy) for point, accuracy in pairs]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def _size(self, record: CurvePoint | Dense) -> int:
        return max(record.nonzeros if self._by_nonzeros else record.macs, 1)


def _threshold(point: CurvePoint) -> float:
    return point.threshold
