"""Pareto fronts of accuracy against compression. numpy only; a pure function each."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def non_dominated(accuracy: npt.ArrayLike, size: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Returns which points no other point beats in both accuracy (higher) and size (lower).

    Of points equal in both, the first is kept. A NaN in either value is never on the front.

    Args:
        accuracy: Accuracies, shape (n,).
        size: Sizes to minimise, e.g. nonzeros, shape (n,).

    Returns:
        A boolean mask of shape (n,).

    Raises:
        ValueError: The shapes differ.
    """
    a, s = np.asarray(accuracy, dtype=np.float64), np.asarray(size, dtype=np.float64)
    if a.shape != s.shape or a.ndim != 1:
        raise ValueError(f"accuracy and size must be 1-D and alike, got {a.shape} and {s.shape}")
    kept = np.zeros(len(a), dtype=np.bool_)
    best = -np.inf
    for index in np.lexsort((np.arange(len(a)), -a, s)):
        if a[index] > best and not np.isnan(s[index]):
            kept[index] = True
            best = a[index]
    return kept


def hypervolume(accuracy: npt.ArrayLike, log2_compression: npt.ArrayLike, *, floor: float) -> float:
    """Returns the area that points dominate above an accuracy floor and beyond compression 1.

    The reference is (floor, 0): a point at or below the floor, or no smaller than the dense
    network, adds nothing. The unit is accuracy times doublings of compression.

    Args:
        accuracy: Accuracies in [0, 1], shape (n,).
        log2_compression: log2 of dense size over size, shape (n,).
        floor: Accuracy of the reference point.

    Returns:
        The dominated area, 0.0 for no points.
    """
    a = np.asarray(accuracy, dtype=np.float64)
    c = np.asarray(log2_compression, dtype=np.float64)
    useful = (a > floor) & (c > 0)
    a, c = a[useful], c[useful]
    area, covered = 0.0, floor
    for index in np.lexsort((a, -c)):
        if a[index] > covered:
            area += float((a[index] - covered) * c[index])
            covered = float(a[index])
    return area


def knee(accuracy: npt.ArrayLike, log2_compression: npt.ArrayLike) -> int:
    """Returns the index of the point farthest above the straight line between a front's ends.

    Both axes are scaled to [0, 1] first. With fewer than three points it is the last of them by
    accuracy.

    Args:
        accuracy: Accuracies of the front's points, shape (n,), n >= 1.
        log2_compression: Their log2 compression, shape (n,).

    Raises:
        ValueError: There are no points.
    """
    a = np.asarray(accuracy, dtype=np.float64)
    c = np.asarray(log2_compression, dtype=np.float64)
    if len(a) == 0:
        raise ValueError("a front of no points has no knee")
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(c) == 0:
        return int(np.argmax(a))
    # On a front accuracy falls as compression grows, so the chord runs from (0, 1) to (1, 0).
    return int(np.argmax((a - a.min()) / np.ptp(a) + (c - c.min()) / np.ptp(c)))
