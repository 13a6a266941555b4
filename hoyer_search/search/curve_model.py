"""A model of whole curves over the searched parameters, and what a new trial is expected to add."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from hoyer_search.results import Outlook
from hoyer_search.search.gaussian_process import GaussianProcess
from hoyer_search.search.profile import EXCESS, Profiles
from hoyer_search.trial.levels import levels, strictness
from hoyer_search.trial.prediction import TrialCurve, accuracies, doublings

Floats = npt.NDArray[np.float64]

NODES = (np.arange(4) + 0.5) / 4
"""Equally likely quantiles of the least loss, given that it leaves room to compress."""


@dataclass(frozen=True, slots=True)
class CurveModel:
    """Gaussian processes of the parts of curves (see ``profile``), which err independently.

    Attributes:
        loss: Of the least accuracy that a trial loses, in doublings.
        reach: Of the log2 compressions beyond that, by ``EXCESS``.
    """

    loss: GaussianProcess
    reach: GaussianProcess

    @classmethod
    def fit(
        cls,
        points: Floats,
        curves: Sequence[TrialCurve | Outlook | None],
        *,
        categorical: npt.NDArray[np.bool_],
    ) -> Self:
        """Returns the model of trials that ended.

        Args:
            points: Their settings in a ``Cube``, shape (n, d).
            curves: What they found, or were expected to find when they were stopped; None for one
                that failed. At least one was found.
            categorical: Which parameters are choices, shape (d,).
        """
        profiles = Profiles.of(curves)
        return cls(
            loss=GaussianProcess.fit(
                points, profiles.loss, profiles.loss_variance, categorical=categorical
            ),
            reach=GaussianProcess.fit(
                points, profiles.reach, profiles.reach_variance, categorical=categorical
            ),
        )

    def believe(self, points: Floats) -> Self:
        """Returns the model as if trials at further points, shape (m, d), were as expected."""
        return type(self)(self.loss.believe(points), self.reach.believe(points))

    def improvement(self, points: Floats, *, allowed: Floats, best: Floats) -> Floats:
        """Returns by how much one new trial is expected to better what is reached, shape (m, k).

        It is the improvement of what the trial really gets, its own luck included, in doublings:
        the least loss is Gaussian, and what it leaves of an allowed loss gives the compression,
        which is Gaussian too. A trial that loses more than is allowed improves nothing.

        Args:
            points: Settings, shape (m, d).
            allowed: Losses of accuracy, shape (k,).
            best: log2 compression reached at them so far, shape (k,).
        """
        loss, loss_std = self.loss.predictive(points)
        reach, reach_std = self.reach.predictive(points)
        kept = ndtr((doublings(allowed) - loss) / loss_std)  # (m, k)
        shares = np.maximum(kept[:, :, None] * NODES, 1e-300)
        losses = accuracies(loss[:, :, None] + loss_std[:, :, None] * ndtri(shares))
        room = np.maximum(allowed[:, None] - losses, 0.0)  # (m, k, nodes)
        at = np.interp(np.sqrt(room), np.sqrt(EXCESS), np.arange(len(EXCESS)))
        mean, std = _between(reach, at), _between(reach_std, at)
        z = (mean - best[:, None]) / std
        density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        return np.asarray(kept * np.mean(std * (z * ndtr(z) + density), axis=2))


@dataclass(frozen=True, slots=True)
class FrontImprovement:
    """By how much a new trial is expected to better the front.

    It is the expected gain in doublings of compression, a weighted mean over the floors and the
    accuracies halfway between them (see ``trial.levels.strictness``).

    Attributes:
        model: Of the finished trials, and of those that run as if they had ended as expected.
        allowed: Losses of accuracy at these, shape (k,).
        best: log2 compression reached there, likewise; 0 where nothing is so accurate.
    """

    model: CurveModel
    allowed: Floats
    best: Floats

    @classmethod
    def after(
        cls,
        points: Floats,
        curves: Sequence[TrialCurve | Outlook | None],
        *,
        pending: Floats,
        categorical: npt.NDArray[np.bool_],
    ) -> Self:
        """Returns the improvement over trials that ended and that run.

        A stopped trial teaches what was expected of it, but reached nothing.

        Args:
            points: Settings of trials that ended in a ``Cube``, shape (n, d).
            curves: As for ``CurveModel.fit``.
            pending: Settings of running trials, shape (m, d).
            categorical: Which parameters are choices, shape (d,).
        """
        model = CurveModel.fit(points, curves, categorical=categorical)
        known = [curve for curve in curves if isinstance(curve, TrialCurve)]
        allowed = known[-1].dense - levels(known[-1].floors)
        # Each by its own floors: trials of an earlier sweep had another dense network.
        best = np.max([curve.reached(levels(curve.floors)) for curve in known], axis=0)
        best = best + model.improvement(pending, allowed=allowed, best=best).sum(axis=0)
        return cls(model.believe(pending), allowed, best)

    def __call__(self, points: Floats) -> Floats:
        """Returns the improvement at settings, shape (m, d), as shape (m,)."""
        gained = self.model.improvement(points, allowed=self.allowed, best=self.best)
        return np.asarray(np.average(gained, axis=1, weights=strictness(len(self.best))))


def _between(values: Floats, at: Floats) -> Floats:
    """Returns rows of values, shape (m, n), at fractional indices, shape (m, k, nodes)."""
    low = np.minimum(at.astype(np.int64), values.shape[1] - 2)
    rows = np.arange(len(values))[:, None, None]
    return np.asarray(values[rows, low] + (at - low) * (values[rows, low + 1] - values[rows, low]))
