"""What finetuning will make of the thresholds of a curve, learned over a sweep and from the trial.

Finetuning returns most of what pruning cost, and a part of what the regularizer cost. How much is
guessed, and a surface learned over the sweep's trials corrects the guess; what a trial's own
finetuned thresholds reached corrects it for that trial, most near them. Drops of accuracy are
counted in doublings (see ``doublings``), where the collapse at high compression is a line.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hoyer_search.config import Objective
from hoyer_search.front import size
from hoyer_search.results import Knowledge, TrialResult
from hoyer_search.trial.levels import floors

Floats = npt.NDArray[np.float64]

ACCURACY_UNIT = 0.01
"""Accuracy that is worth the first doubling: one percentage point."""

ACCURACY_NOISE = 0.0005
"""Standard deviation of a finetuned accuracy from one finetuning to the next."""

# Chosen on the first recordings of LeNet-300-100 and LeNet-5 (one epoch of finetuning), where they
# predict best before anything was learned. Longer finetuning returns more; the surface corrects it.
LOST_SHARE = 0.1
"""Share of the accuracy that pruning cost, which finetuning does not return."""
PENALTY_SHARE = 0.5
"""Share of the accuracy that the regularizer cost, which finetuning does not return."""
FULLY_RECOVERING = 0.3
"""Share of the way from chance to the unpruned accuracy from which the full share comes back."""

CENTER = np.array([1.0, 2.0, 4.0])
"""Doublings of the regularizer's and of pruning's raw drop, and of compression, about which the
surface's coefficients are read."""

SPAN = 4.0
"""Doublings from there within which the surface bends; it goes on level beyond."""

COEFFICIENT_STD = np.array([0.5, 0.25, 0.28, 0.23, 0.05, 0.05, 0.05, 0.035, 0.035, 0.035])
"""Prior standard deviations of the surface's coefficients, in doublings of drop: of 1, of the three
(see ``CENTER``), of their products, and of their squares."""

FIRST_DEVIATION, FIRST_POINTS = 0.17, 10
"""Standard deviation of finetuned points from the surface before any is known, in doublings of
drop, as if it had been seen on so many."""

SHARED, ALONE = 0.12, 0.12
"""Parts of the deviation's variance that a trial has along its whole curve, and each of its points
for itself. The rest persists over a part of the curve:"""

REACH = np.array([0.8, 1.0])
"""doublings of raw drop and of compression over which it does."""

COLLAPSED = 2.5
"""Doublings of drop beyond which finetuned points teach less: their noise grows by the excess."""


def doublings(drop: npt.ArrayLike) -> Floats:
    """Returns drops of accuracy, any shape, in doublings: sign(d) * log2(1 + |d| / 0.01)."""
    d = np.asarray(drop, dtype=np.float64)
    return np.asarray(np.sign(d) * np.log2(1 + np.abs(d) / ACCURACY_UNIT))


def accuracies(drops: Floats) -> Floats:
    """Returns drops in doublings, any shape, as differences of accuracy: undoes ``doublings``."""
    return np.asarray(np.sign(drops) * ACCURACY_UNIT * (2 ** np.abs(drops) - 1))


def alive(raw: Floats) -> Floats:
    """Returns how far raw accuracies are from chance, as shares of the best's way, shape (n,).

    Chance is the lowest of them if it is less than half of the best, else 0. All are 1 when the
    best is 0.
    """
    top, low = raw.max(), raw.min()
    chance = low if low < 0.5 * top else 0.0
    return np.asarray((raw - chance) / (top - chance)) if top > 0 else np.ones_like(raw)


def recovering(raw: Floats) -> Floats:
    """Returns the part of what finetuning could return that raw accuracies get, shape (n,)."""
    return np.asarray(np.clip(alive(raw) / FULLY_RECOVERING, 0.0, 1.0))


def noise(drop: npt.ArrayLike) -> Floats:
    """Returns ``ACCURACY_NOISE`` in doublings of drop, at drops in doublings, any shape."""
    d = np.asarray(drop, dtype=np.float64)
    return np.asarray(ACCURACY_NOISE / (ACCURACY_UNIT * math.log(2) * 2 ** np.abs(d)))


@dataclass(frozen=True, slots=True)
class TrialCurve:
    """What a trial's curves say, as plain numbers that fit into the study.

    Attributes:
        dense: Validation accuracy of the dense network, in [0, 1].
        floors: Validation accuracy to keep, one per operating point as configured, shape (k,).
        raw: log2 compression and accuracy before finetuning, shape (n, 2); no rows when the
            curve does not know the sparsity objective, as with latency.
        finetuned: log2 compression and accuracy after finetuning, shape (m, 2).
    """

    dense: float
    floors: Floats
    raw: Floats
    finetuned: Floats

    @classmethod
    def of(cls, result: TrialResult, objective: Objective) -> "TrialCurve | None":
        """Returns the curves of a complete trial, None for one that has no finetuned point."""
        if result.state != "complete" or result.dense is None or not result.points:
            return None
        dense = size(result.dense, objective.sparsity)
        known = objective.sparsity in ("nonzeros", "macs")
        return cls(
            dense=result.dense.val_accuracy,
            floors=floors(result.dense, objective),
            raw=to_rows(
                [
                    (max(getattr(point, objective.sparsity), 1), point.val_accuracy)
                    for point in result.curve
                    if known
                ],
                dense,
            ),
            finetuned=to_rows(
                [(size(p, objective.sparsity), p.val_accuracy) for p in result.points], dense
            ),
        )

    @classmethod
    def from_json(cls, data: Any) -> "TrialCurve":
        """Returns the curves that ``to_json`` wrote."""
        return cls(
            dense=float(data["dense"]),
            floors=np.array(data["floors"], dtype=np.float64),
            raw=np.array(data["raw"], dtype=np.float64).reshape(-1, 2),
            finetuned=np.array(data["finetuned"], dtype=np.float64).reshape(-1, 2),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the curves as JSON-ready data, about 1 kB; a ten-thousandth doubling is kept."""
        return {
            "dense": self.dense,
            "floors": self.floors.tolist(),
            "raw": [[round(c, 4), round(a, 6)] for c, a in self.raw.tolist()],
            "finetuned": [[round(c, 4), a] for c, a in self.finetuned.tolist()],
        }

    @property
    def grid(self) -> Floats:
        """Returns the log2 compressions at which the trial is read, rising, shape (n,)."""
        return self.raw[:, 0] if len(self.raw) else self.finetuned[:, 0]

    @property
    def found(self) -> Floats:
        """Returns the finetuned points' drops, in doublings, shape (m,)."""
        return doublings(self.dense - self.finetuned[:, 1])

    def reached(self, accuracies: Floats) -> Floats:
        """Returns the log2 compression of the best finetuned point at accuracies, shape (k,).

        It is 0, as for the dense network, where no point is so accurate.
        """
        kept = self.finetuned[:, 1] >= accuracies[:, None]
        return np.asarray(np.max(np.where(kept, self.finetuned[:, 0], 0.0), axis=1, initial=0.0))

    def guess(self) -> Floats:
        """Returns the finetuned drop of accuracy to expect over ``grid``, in doublings.

        A network that answers by chance has lost what finetuning could return. Without a raw curve
        it is the finetuned points' own.
        """
        if not len(self.raw):
            return self.found
        raw = self.raw[:, 1]
        top = raw.max()
        lost = (1 - (1 - LOST_SHARE) * recovering(raw)) * (top - raw)
        return doublings(PENALTY_SHARE * (self.dense - top) + lost)


@dataclass(frozen=True, slots=True)
class Offset:
    """What finetuning does beyond the guess: a quadratic surface, and how far trials are from it.

    It is a surface over what the regularizer cost, what pruning cost and compression, in doublings
    of drop, as what it predicts. Bayesian, so that a few points teach a little.

    Attributes:
        surface: Coefficients, shape (10,) (see ``COEFFICIENT_STD``).
        covariance: Of them, shape (10, 10).
        deviation: Standard deviation of single points from the surface.
    """

    surface: Floats
    covariance: Floats
    deviation: float

    @classmethod
    def learn(cls, curves: Sequence[TrialCurve], *, deviation: float = FIRST_DEVIATION) -> "Offset":
        """Returns the surface through the errors of the guesses, and its posterior covariance.

        Points of one trial err together, as a Gaussian process along its curve. How much, is
        estimated around a first surface.

        Args:
            curves: Trials, any number; those without a raw curve teach nothing.
            deviation: What it is taken for before any is known.
        """
        taught = [curve for curve in curves if len(curve.raw) and len(curve.finetuned)]
        known = cls(np.zeros(len(COEFFICIENT_STD)), np.diag(COEFFICIENT_STD**2), deviation)
        if not taught:
            return known
        lessons = [_Lesson.of(curve) for curve in taught]
        first = known._after(lessons)
        return replace(known, deviation=first._spread(lessons))._after(lessons)

    @classmethod
    def of(cls, knowledge: Knowledge) -> "Offset":
        """Returns the offset that ``knowledge`` wrote down, a new one if an older version did."""
        if len(knowledge.surface) != len(COEFFICIENT_STD):
            return cls.learn([])
        return cls(np.array(knowledge.surface), np.array(knowledge.covariance), knowledge.deviation)

    def knowledge(self, best: Floats) -> Knowledge:
        """Returns the offset as a record, with the best compression at each level, shape (k,)."""
        return Knowledge(
            surface=self.surface.tolist(),
            covariance=self.covariance.tolist(),
            deviation=self.deviation,
            best=best.tolist(),
        )

    def predict(self, curve: TrialCurve) -> tuple[Floats, Floats]:
        """Returns the finetuned drop over a trial's grid and its standard deviation, in doublings.

        The trial's own points correct the surface, and most of all the prediction near them.
        """
        if not len(curve.raw):
            return curve.found, noise(curve.found)
        at = _traits(curve, curve.grid)
        design = _design(at)
        mean = curve.guess() + design @ self.surface
        variance = self.deviation**2 + np.sum(design @ self.covariance * design, axis=1)
        if not len(curve.finetuned):
            return mean, np.sqrt(variance)
        own = _Lesson.of(curve)
        cross = design @ self.covariance @ own.design.T
        cross += self.deviation**2 * _correlation(at, own.traits)
        known = own.design @ self.covariance @ own.design.T + own.covariance(self.deviation)
        gain = np.linalg.solve(known, cross.T).T
        mean = mean + gain @ (own.error - own.design @ self.surface)
        variance -= np.sum(gain * cross, axis=1)
        return mean, np.sqrt(np.maximum(variance, 1e-6))

    def _after(self, lessons: Sequence["_Lesson"]) -> "Offset":
        """Returns the offset that trials teach one that knows nothing."""
        precision, weighted = np.diag(1 / COEFFICIENT_STD**2), np.zeros(len(COEFFICIENT_STD))
        for lesson in lessons:
            scaled = np.linalg.solve(lesson.covariance(self.deviation), lesson.design).T
            precision = precision + scaled @ lesson.design
            weighted = weighted + scaled @ lesson.error
        covariance = np.asarray(np.linalg.inv(precision), dtype=np.float64)
        return Offset(covariance @ weighted, covariance, self.deviation)

    def _spread(self, lessons: Sequence["_Lesson"]) -> float:
        """Returns the deviation that is seen around this surface, drawn to the first one's."""
        left, count = float(FIRST_POINTS), float(FIRST_POINTS)
        for lesson in lessons:
            error = lesson.error - lesson.design @ self.surface
            left += float(error @ np.linalg.solve(lesson.covariance(self.deviation), error))
            count += len(error)
        settled = len(self.surface) - float(np.sum(np.diag(self.covariance) / COEFFICIENT_STD**2))
        return self.deviation * math.sqrt(left / (count - settled))


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What one trial's finetuned points teach.

    Attributes:
        traits: What the surface is over, shape (m, 3).
        design: Its terms, shape (m, 10).
        error: What finetuning did beyond the guess, in doublings of drop, shape (m,).
        noise: Standard deviation of that from one finetuning to the next, shape (m,).
    """

    traits: Floats
    design: Floats
    error: Floats
    noise: Floats

    @classmethod
    def of(cls, curve: TrialCurve) -> "_Lesson":
        at, found = curve.finetuned[:, 0], curve.found
        traits = _traits(curve, at)
        return cls(
            traits=traits,
            design=_design(traits),
            error=found - np.interp(at, curve.grid, curve.guess()),
            noise=noise(found) + np.maximum(found - COLLAPSED, 0.0),
        )

    def covariance(self, deviation: float) -> Floats:
        """Returns how the points err together around the surface, shape (m, m)."""
        alone = np.diag(ALONE * deviation**2 + self.noise**2)
        return deviation**2 * _correlation(self.traits, self.traits) + alone


def to_rows(pairs: Iterable[tuple[float, float]], dense: float) -> Floats:
    """Returns pairs of size and accuracy as log2 compression and accuracy, rising."""
    found = [(math.log2(dense / max(s, 1e-9)), accuracy) for s, accuracy in pairs]
    return np.array(sorted(found), dtype=np.float64).reshape(-1, 2)


def _traits(curve: TrialCurve, at: Floats) -> Floats:
    """Returns what the surface is over, at log2 compressions, shape (n, 3) (see ``CENTER``)."""
    raw = curve.raw[:, 1]
    penalty = doublings(curve.dense - raw.max())
    lost = np.interp(at, curve.grid, doublings(raw.max() - raw))
    traits = np.stack([np.full_like(at, penalty), lost, at], axis=1)
    return np.asarray(np.clip(traits - CENTER, -SPAN, SPAN))


def _design(traits: Floats) -> Floats:
    """Returns the terms of a quadratic surface, shape (n, 10) (see ``COEFFICIENT_STD``)."""
    a, b, c = traits.T
    return np.stack([np.ones_like(a), a, b, c, a * b, a * c, b * c, a * a, b * b, c * c], axis=1)


def _correlation(a: Floats, b: Floats) -> Floats:
    """Returns how points of one trial err together, shape (n, m), but for what each has alone."""
    off = (a[:, None, 1:] - b[None, :, 1:]) / REACH
    return np.asarray(SHARED + (1 - SHARED - ALONE) * np.exp(-0.5 * np.sum(off**2, axis=2)))
