"""When a training is looked at before its end, and at which thresholds of its curve."""

import math
from collections.abc import Callable

QUARTERS = 4
"""Parts of regularizing; a milestone is at the end of each but the last."""

NUM_POINTS = 9
"""Thresholds evaluated at a milestone; the finished network's curve has many more."""

GRID = 33
"""Thresholds they are chosen from: steps of 0.3 doublings, where a curve spans ten."""

_FIRST = 5
_UNIT = 0.01


def milestone_quarters(epochs: int) -> dict[int, int]:
    """Returns the epochs after which a training is looked at, and the quarter each one ends.

    A training of two or three epochs has fewer than three milestones, one of one epoch none.

    Args:
        epochs: Epochs of regularizing, at least 0.
    """
    found: dict[int, int] = {}
    for quarter in range(1, QUARTERS):
        epoch = round(epochs * quarter / QUARTERS)
        if 0 < epoch < epochs:
            found.setdefault(epoch, quarter)
    return found


def probe(evaluate: Callable[[int], float], count: int, points: int = NUM_POINTS) -> list[int]:
    """Evaluates a few places of a falling curve, densest where it falls.

    After five evenly spread ones, the interval in which the curve may be farthest from a straight
    line is halved: the one with the largest product of its width and of its fall, in doublings
    of the accuracy lost.

    Args:
        evaluate: Returns the accuracy at an index of a grid of rising thresholds; called once an
            index.
        count: Size of the grid.
        points: Evaluations allowed.

    Returns:
        The evaluated indices, rising; none of an empty grid.
    """
    if count == 0:
        return []
    first = min(_FIRST, points, count)
    indices = {round(i * (count - 1) / max(1, first - 1)) for i in range(first)}
    accuracy = {index: evaluate(index) for index in sorted(indices)}
    while len(accuracy) < min(points, count):
        top, known = max(accuracy.values()), sorted(accuracy)
        lost = [math.log2(1 + (top - accuracy[i]) / _UNIT) for i in known]
        spans = [
            ((right - left) * (after - before), left, right)
            for left, right, before, after in zip(known, known[1:], lost, lost[1:], strict=False)
            if right - left > 1
        ]
        _, left, right = max(spans)
        middle = (left + right) // 2
        accuracy[middle] = evaluate(middle)
    return sorted(accuracy)
