"""Which trials to stop early, from their curves at milestones. Pure rules, numpy only.

``curve`` predicts, from the raw curve at a milestone, what the finished and finetuned network will
reach at each floor, and stops a trial that is expected to gain less over the best that finished
trials have than the epochs left to it are worth. How milestones foretell the end is learned from
finished trials of the sweep.

``asha`` is successive halving (Li et al., A System for Massively Parallel Hyperparameter Tuning,
2020) over the lead of a trial at its best operating point.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from hoyer_search.results import Outlook
from hoyer_search.search.objectives import shortfall
from hoyer_search.trial.levels import weights
from hoyer_search.trial.prediction import Offset, TrialCurve, accuracies, doublings

Floats = npt.NDArray[np.float64]

LEAST_TRIALS = 3
"""Finished trials without which no trial is stopped."""

MOST_TRIALS = 100
"""Finished trials learned from, the latest: so that a decision stays quick in long sweeps."""

GAIN = 0.1
"""Doublings of compression, weighted over the levels, that a trial's epochs must be worth: those
that are left to it, their part."""

QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 9) for i in range(9)])
"""Equally likely standard normal deviations, over which an expectation is averaged."""

LEVELS = np.array([0.02, 0.05, 0.1, 0.3])
"""Shares of a network's accuracy; where it has lost that much, two of its curves are compared."""

FIRST_DEVIATION = 0.4
"""Deviation of finetuned points from what a milestone foretells, before any is known."""

FINENESS = 400
"""Compressions at which a trial's expected end is read."""

OUTLOOK_POINTS = 40
"""Compressions at which a stopped trial's prediction is kept."""

_NOTHING = np.empty((0, 2))

REDUCTION = 2
"""``asha`` keeps this part of the trials that reach a milestone: one in two."""


@dataclass(frozen=True, slots=True)
class Track:
    """What is known of a trial: all curves are (log2 compression, accuracy), compression rising.

    Attributes:
        milestones: Raw curve by quarter of regularizing, shape (n, 2) each.
        final: Raw curve of the finished network, shape (n, 2); no rows while there is none.
        finetuned: What finetuning reached, shape (m, 2); no rows likewise.
    """

    milestones: dict[int, Floats] = field(default_factory=dict)
    final: Floats = field(default_factory=lambda: np.empty((0, 2)))
    finetuned: Floats = field(default_factory=lambda: np.empty((0, 2)))


@dataclass(frozen=True, slots=True)
class Lesson:
    """How a curve at a milestone foretells what its finished network reaches.

    Attributes:
        growth: Doublings of compression by which curves still move.
        offset: What finetuning the finished network does beyond the guess from the moved curve.
    """

    growth: float
    offset: Offset

    @classmethod
    def learn(cls, tracks: Sequence[Track], *, quarter: int, dense: float) -> "Lesson | None":
        """Returns what finished trials teach of a milestone, None when they are too few.

        Args:
            tracks: Trials; those without this milestone or without a finetuned point are left out.
            quarter: The milestone.
            dense: Accuracy of the dense network.
        """
        known = [t for t in tracks if quarter in t.milestones and len(t.finetuned)][-MOST_TRIALS:]
        if len(known) < LEAST_TRIALS:
            return None
        growth = float(np.mean([_growth(t.milestones[quarter], t.final) for t in known]))
        curves = [
            _foretold(t.milestones[quarter], growth, dense=dense, finetuned=t.finetuned)
            for t in known
        ]
        return cls(growth, Offset.learn(curves, deviation=FIRST_DEVIATION))

    def predict(self, curve: Floats, *, dense: float, points: int) -> tuple[Floats, Floats, Floats]:
        """Returns compressions, and the drop to expect after finetuning with its deviation.

        Compressions are logarithms of base 2, rising; drop of accuracy and standard deviation are
        in doublings, shape (points,) each. More compression never means less drop.

        Args:
            curve: Raw curve at the milestone, shape (n, 2), n >= 1.
            dense: Accuracy of the dense network.
            points: How many compressions, evenly from none to the moved curve's last.
        """
        whole = _foretold(curve, self.growth, dense=dense, points=points)
        drops, std = self.offset.predict(whole)
        return whole.grid, np.maximum.accumulate(drops), std


UNTAUGHT = Lesson(growth=0.0, offset=Offset.learn([], deviation=FIRST_DEVIATION))
"""What is expected while no trial has finished."""


def hopeless(
    lesson: Lesson, curve: Floats, *, dense: float, levels: Floats, best: Floats, left: float
) -> bool:
    """Returns whether a trial can be stopped: too little is to be expected of what it still costs.

    Never while no trial keeps any level. Better incumbents never make a trial less hopeless, and
    neither does what it has cost already.

    Args:
        lesson: What finished trials teach of the milestone.
        curve: The trial's raw curve there, shape (n, 2).
        dense: Accuracy of the dense network.
        levels: Accuracies to keep (see ``trial.levels``), falling, shape (k,).
        best: log2 compression that finished trials have there, shape (k,); NaN for none.
        left: Part of the trial's epochs that are left, in (0, 1].
    """
    if np.isnan(best).all():
        return False
    gains = expected_gains(lesson, curve, dense=dense, floors=levels, best=best)
    return bool(np.average(gains, weights=weights(len(gains))) < GAIN * left)


def expected_gains(
    lesson: Lesson, curve: Floats, *, dense: float, floors: Floats, best: Floats
) -> Floats:
    """Returns the improvement to expect of a trial at each floor, in doublings, shape (k,).

    The expectation of max(0, what it reaches - best) over the error of the prediction. Where a
    curve is flat, a little luck reaches far, and the trial is worth more. A floor that no trial
    keeps counts as kept by the dense network. See ``hopeless`` for the arguments; its levels are
    floors here.
    """
    grid, drops, std = lesson.predict(curve, dense=dense, points=FINENESS)
    limits = doublings(dense - floors)
    reached = []
    for unlucky in drops + QUANTILES[:, None] * std:
        kept = np.searchsorted(np.maximum.accumulate(unlucky), limits, side="right")
        reached.append(np.where(kept > 0, grid[np.maximum(kept - 1, 0)], 0.0))
    return np.asarray(np.maximum(np.array(reached) - np.nan_to_num(best), 0.0).mean(axis=0))


def forecast(lesson: Lesson | None, curve: Floats, *, dense: float, floors: Floats) -> Floats:
    """Returns the log2 compression to expect of a trial at each floor, shape (k,).

    Where no threshold is expected to keep the floor it is minus what is missing (see
    ``objectives.shortfall``), as for finished trials.
    """
    grid, drops, _ = (lesson or UNTAUGHT).predict(curve, dense=dense, points=FINENESS)
    accuracy = dense - accuracies(drops)
    return np.array([_read(grid, accuracy, floor) for floor in floors.tolist()])


def outlook(lesson: Lesson | None, curve: Floats, *, dense: float) -> Outlook:
    """Returns what is expected of a trial over its whole curve, for samplers to learn from."""
    grid, drops, std = (lesson or UNTAUGHT).predict(curve, dense=dense, points=OUTLOOK_POINTS)
    return Outlook(
        compression=grid.round(4).tolist(),
        drop=drops.round(4).tolist(),
        deviation=float(np.sqrt(np.mean(std**2))),
    )


def lagging(readings: Sequence[Floats], own: Floats) -> bool:
    """Returns whether successive halving stops a trial at a milestone.

    It goes on when it is in the better half, rounded up, of all that reached the milestone, by
    the doublings it leads the others at its best operating point, or trails them there.

    Args:
        readings: What earlier trials read at the milestone, shape (k,) each, in any order.
        own: What the trial reads.
    """
    if len(readings) + 1 < max(LEAST_TRIALS, REDUCTION):
        return False
    everyone = np.stack([*readings, own])
    leads = [
        float(np.max(one - np.delete(everyone, i, axis=0).max(axis=0)))
        for i, one in enumerate(everyone)
    ]
    better = sum(lead > leads[-1] for lead in leads[:-1])
    return better >= -(-len(leads) // REDUCTION)


def _foretold(
    curve: Floats,
    growth: float,
    *,
    dense: float,
    finetuned: Floats = _NOTHING,
    points: int = 100,
) -> TrialCurve:
    """Returns a milestone's curve as the finished network's, were it only moved, finely read."""
    grid = np.linspace(0.0, max(1.0, float(curve[-1, 0]) + growth), points)
    raw = np.interp(grid - growth, curve[:, 0], _falling(curve[:, 1]))
    return TrialCurve(
        dense=dense, floors=np.empty(0), raw=np.stack([grid, raw], axis=1), finetuned=finetuned
    )


def _read(grid: Floats, accuracy: Floats, floor: float) -> float:
    """Returns the last compression of a falling curve that keeps a floor, or minus the lack."""
    kept = np.flatnonzero(accuracy >= floor)
    return float(grid[kept[-1]]) if len(kept) else -shortfall(floor - float(accuracy[0]))


def _growth(early: Floats, final: Floats) -> float:
    """Returns by how many doublings a curve moved until the end of regularizing."""
    if not len(final):
        return 0.0
    ends = []
    for curve in (early, final):
        accuracy = _falling(curve[:, 1])
        kept = accuracy / max(accuracy[0], 1e-9)
        ends.append(np.interp(LEVELS - 1, -kept, curve[:, 0]))
    return float(np.median(ends[1] - ends[0]))


def _falling(accuracy: Floats) -> Floats:
    """Returns the best accuracy at this compression or beyond."""
    return np.maximum.accumulate(accuracy[::-1])[::-1]
