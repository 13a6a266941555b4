"""Which thresholds of a curve to finetune: those that settle the operating points.

Finetuning raises accuracy, most where pruning cost most. The gain is predicted, the sparsest
threshold whose predicted accuracy keeps a floor is finetuned, and what it reached corrects the
prediction for the next.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hoyer_search.results import CurvePoint

# Measured on LeNet-300-100 at decays from 1e-5 to 2e-4, two to four epochs of finetuning: of the
# accuracy that pruning alone cost, 87 to 94% came back where the pruned network still answered
# better than by chance, less the nearer it was to that, and up to 0.6 points came on top because
# the regularizer was gone. The trial's own results take over.
RECOVERED_SHARE = 0.9
RECOVERED_GAIN = 0.002
FULLY_RECOVERING = 0.3
"""Share of the way from chance to the unpruned accuracy from which the full share comes back."""
_RESOLUTION = 0.0005


def predict_finetuned(
    curve: Sequence[CurvePoint], finetuned: Mapping[int, float]
) -> npt.NDArray[np.float64]:
    """Returns the expected validation accuracy after finetuning at every point of a curve.

    The guess is of the accuracy that stays lost. What the finetuned points lost corrects it by a
    factor, interpolated over the logarithm of the nonzeros: a network that collapsed says little
    of a denser one that lost nothing.

    Args:
        curve: The raw curve, by rising threshold.
        finetuned: Accuracies reached so far, by index into the curve.
    """
    raw = np.array([point.val_accuracy for point in curve])
    top = raw.max()
    chance = raw.min() if raw.min() < 0.5 * top else 0.0
    alive = np.clip((raw - chance) / max(FULLY_RECOVERING * (top - chance), 1e-9), 0, 1)
    ceiling = max(top + RECOVERED_GAIN, *finetuned.values(), 0.0)
    lost: npt.NDArray[np.float64] = (
        (1 - RECOVERED_SHARE * alive) * (top - raw) + ceiling - top - RECOVERED_GAIN + _RESOLUTION
    )
    if finetuned:
        log_size = np.log([max(point.nonzeros, 1) for point in curve])
        known = sorted(finetuned, key=lambda i: log_size[i])
        ratios = [(ceiling - finetuned[i] + _RESOLUTION) / lost[i] for i in known]
        lost = lost * np.exp(np.interp(log_size, log_size[known], np.log(ratios)))
    predicted: npt.NDArray[np.float64] = ceiling + _RESOLUTION - lost
    for index, accuracy in finetuned.items():
        predicted[index] = accuracy
    return predicted


def next_threshold(
    curve: Sequence[CurvePoint], finetuned: Mapping[int, float], floors: Sequence[float]
) -> int | None:
    """Returns the index of the next curve point to finetune, None when nothing is left to learn.

    Floors are served strictest first, then loosest, then those between. A floor is served when
    its predicted best threshold was finetuned and kept it; one out of reach of the whole curve is
    passed over. When every floor is out of reach, the most accurate threshold is finetuned once,
    so that the search learns how much is missing.

    Args:
        curve: The raw curve, by rising threshold.
        finetuned: Accuracies reached so far, by index into the curve.
        floors: Validation accuracies to keep.
    """
    predicted = predict_finetuned(curve, finetuned)
    for floor in _by_priority(floors):
        reached = np.flatnonzero(predicted >= floor)
        if len(reached) and int(reached[-1]) not in finetuned:
            return int(reached[-1])
    if finetuned:
        return None
    best = np.flatnonzero(predicted == predicted.max())
    return int(best[-1])


def _by_priority(floors: Sequence[float]) -> list[float]:
    strict_first = sorted(set(floors), reverse=True)
    return [*strict_first[:1], *strict_first[:0:-1][:1], *strict_first[1:-1]]
