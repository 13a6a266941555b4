"""What finetuning will make of the thresholds of a curve, learned over a sweep and from the trial.

Finetuning returns most of what pruning cost, and a part of what the regularizer cost. How much is
guessed, and a line learned over the sweep's trials corrects the guess; what a trial's own finetuned
thresholds reached corrects it for that trial, most near them. Drops of accuracy are counted in
doublings (see ``doublings``), where the collapse at high compression is a line.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
# predict best before anything was learned. Longer finetuning returns more; the line corrects it.
LOST_SHARE = 0.1
"""Share of the accuracy that pruning cost, which finetuning does not return."""
PENALTY_SHARE = 0.5
"""Share of the accuracy that the regularizer cost, which finetuning does not return."""
FULLY_RECOVERING = 0.3
"""Share of the way from chance to the unpruned accuracy from which the full share comes back."""

MIDDLE = 5.0
"""Doublings of compression at which the line's intercept is read."""

COEFFICIENT_STD = (0.7, 0.3, 0.2)
"""Prior standard deviations of the line's intercept, and of its slopes over the guessed drop and
over compression, in doublings of drop."""

FIRST_DEVIATION = 0.3
"""Standard deviation of trials from the line before any is known, in doublings of drop."""

SHARED = 0.5
"""Part of the deviation's variance that a trial has along its whole curve."""

CORRELATION_LENGTH = 1.0
"""Doublings of compression over which the rest of it persists."""


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
    """What finetuning does beyond the guess: a line, uncertain, and how far trials are from it.

    All is in doublings of drop.

    Attributes:
        line: Intercept, and slopes over the guessed drop and over compression, shape (3,).
        covariance: Of the line, shape (3, 3).
        deviation: Standard deviation of single trials from the line.
    """

    line: Floats
    covariance: Floats
    deviation: float

    @classmethod
    def learn(cls, curves: Sequence[TrialCurve]) -> "Offset":
        """Returns the line through the errors of the guesses, and its posterior covariance.

        Points of one trial err together, as a Gaussian process over compression. How much, is
        estimated around a first line through all points.

        Args:
            curves: Trials, any number; those without a raw curve teach nothing.
        """
        taught = [curve for curve in curves if len(curve.raw) and len(curve.finetuned)]
        prior = np.diag(1 / np.square(COEFFICIENT_STD))
        if not taught:
            return cls(np.zeros(3), np.diag(np.square(COEFFICIENT_STD)), FIRST_DEVIATION)
        designs = [_design(curve, curve.finetuned[:, 0]) for curve in taught]
        errors = [c.found - d[:, 1] for c, d in zip(taught, designs, strict=True)]
        deviation = _deviation(np.concatenate(designs), np.concatenate(errors), prior)
        precision, weighted = prior, np.zeros(3)
        for curve, design, error in zip(taught, designs, errors, strict=True):
            scaled = np.linalg.solve(_covariance(curve, deviation), design).T
            precision = precision + scaled @ design
            weighted = weighted + scaled @ error
        covariance = np.asarray(np.linalg.inv(precision), dtype=np.float64)
        return cls(covariance @ weighted, covariance, deviation)

    @classmethod
    def of(cls, knowledge: Knowledge) -> "Offset":
        """Returns the offset that ``knowledge`` wrote down."""
        return cls(np.array(knowledge.line), np.array(knowledge.covariance), knowledge.deviation)

    def knowledge(self, best: Floats) -> Knowledge:
        """Returns the offset as a record, with the best compression at each level, shape (k,)."""
        return Knowledge(
            line=self.line.tolist(),
            covariance=self.covariance.tolist(),
            deviation=self.deviation,
            best=best.tolist(),
        )

    def predict(self, curve: TrialCurve) -> tuple[Floats, Floats]:
        """Returns the finetuned drop over a trial's grid and its standard deviation, in doublings.

        The trial's own points correct the line, and most of all the prediction near them.
        """
        at = curve.finetuned[:, 0]
        if not len(curve.raw):
            return curve.found, noise(curve.found)
        design, own = _design(curve, curve.grid), _design(curve, at)
        line = design[:, 1] + design @ self.line
        variance = self.deviation**2 + np.sum(design @ self.covariance * design, axis=1)
        if not len(at):
            return line, np.sqrt(variance)
        cross = design @ self.covariance @ own.T
        cross += self.deviation**2 * _correlation(curve.grid, at)
        known = own @ self.covariance @ own.T + _covariance(curve, self.deviation)
        gain = np.linalg.solve(known, cross.T).T
        mean = line + gain @ (curve.found - own[:, 1] - own @ self.line)
        variance -= np.sum(gain * cross, axis=1)
        return mean, np.sqrt(np.maximum(variance, 1e-6))


def to_rows(pairs: Iterable[tuple[float, float]], dense: float) -> Floats:
    """Returns pairs of size and accuracy as log2 compression and accuracy, rising."""
    found = [(math.log2(dense / max(s, 1e-9)), accuracy) for s, accuracy in pairs]
    return np.array(sorted(found), dtype=np.float64).reshape(-1, 2)


def _design(curve: TrialCurve, at: Floats) -> Floats:
    """Returns what the line is over, at log2 compressions: 1, guess, compression; shape (n, 3)."""
    guess = np.interp(at, curve.grid, curve.guess())
    return np.stack([np.ones_like(at), guess, at - MIDDLE], axis=1)


def _deviation(design: Floats, error: Floats, prior: Floats) -> float:
    """Returns the standard deviation of errors around their line, drawn to the first one's."""
    unit = FIRST_DEVIATION**2
    line = np.linalg.solve(design.T @ design + unit * prior, design.T @ error)
    left = error - design @ line
    count = len(COEFFICIENT_STD)
    return math.sqrt((float(left @ left) + count * unit) / (len(left) + count))


def _covariance(curve: TrialCurve, deviation: float) -> Floats:
    """Returns how a trial's finetuned points err together around the line, shape (m, m)."""
    at = curve.finetuned[:, 0]
    return deviation**2 * _correlation(at, at) + np.diag(noise(curve.found) ** 2)


def _correlation(a: Floats, b: Floats) -> Floats:
    near = np.exp(-0.5 * ((a[:, None] - b) / CORRELATION_LENGTH) ** 2)
    return np.asarray(SHARED + (1 - SHARED) * near)
