"""What a trial is worth to the sampler: one objective per operating point, and one constraint.

The unit of both is a doubling. A trial that keeps the floor of an operating point is worth the
log2 of its best compression there. One that keeps it nowhere is worth minus ``shortfall`` of the
accuracy it lacks: 0 at the floor, -1 at one percentage point below it, -3.5 at ten, -6.7 when all
accuracy is lost; so the sampler sees which of two infeasible trials is nearer, on the scale of the
compressions it hopes for.
"""

import math
from dataclasses import dataclass

from hoyer_search.config import Objective
from hoyer_search.front import Front
from hoyer_search.results import TrialResult
from hoyer_search.trial.prediction import ACCURACY_UNIT

HAIR = 1e-3
"""Constraint of a stopped trial that was expected to keep a floor."""

CONSTRAINT = "floor"
"""Name of the constraint in the study: at most 0 when the loosest floor is kept."""

CURVE = "hoyer_search:curve"
"""User attribute of a trial in the study: its ``TrialCurve`` as JSON."""

OUTLOOK = "hoyer_search:outlook"
"""User attribute of a trial in the study that was stopped early: its ``Outlook`` as JSON."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the study is told of a trial.

    Attributes:
        values: To maximise, one per operating point in the order of the configuration.
        violation: The constraint: at most 0 when the loosest floor is kept.
    """

    values: list[float]
    violation: float


def outcome(result: TrialResult, objective: Objective) -> Outcome:
    """Returns objectives and constraint of a trial that ended, all finite.

    Points are chosen by their validation accuracy after finetuning. A failed trial, and one
    without points, counts as one that lost all accuracy: so every sampler, also those that
    overlook failed trials, learns to keep away. A stopped one counts as what was expected of it,
    and as infeasible, if by a hair: it has no network.
    """
    if result.state == "stopped" and result.forecast:
        values = [result.forecast[name] for name in objective.points]
        return Outcome(values=values, violation=max(HAIR, -max(values)))
    if result.state == "failed" or result.dense is None or not result.points:
        lost = shortfall(1.0)
        return Outcome(values=[-lost] * len(objective.points), violation=lost)
    floors = objective.floors(result.dense.val_accuracy)
    front = Front.of(result.points, dense=result.dense, sparsity=objective.sparsity, floors=floors)
    accuracy = max(point.val_accuracy for point in result.points)
    best = front.operating_points
    values = []
    for name in objective.points:
        point = best[name]
        values.append(
            -shortfall(floors[name] - accuracy)
            if point is None
            else math.log2(front.compression(point))
        )
    return Outcome(values=values, violation=shortfall(min(floors.values()) - accuracy))


def shortfall(missing: float) -> float:
    """Returns missing accuracy, in [-1, 1], in doublings: sign(m) * log2(1 + |m| / 0.01)."""
    return math.copysign(math.log2(1.0 + abs(missing) / ACCURACY_UNIT), missing)
