"""How the weights of a trial's networks are spread, as in Figures 3 and 4 of the paper."""

from dataclasses import dataclass
from pathlib import Path

from hoyer_search import results

_FILE = "histograms.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """The nonzero weights of one layer.

    Attributes:
        limit: Largest magnitude of a weight, 0 without weights.
        counts: Weights in each bin; the bins divide the range from -limit to limit evenly.
    """

    limit: float
    counts: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialHistograms:
    """Histograms by layer at the stages of one trial.

    Attributes:
        dense: Of the dense network.
        regularized: After training with the regularizer, before pruning.
        points: After pruning and finetuning, in the order of the trial's points.
    """

    dense: dict[str, Histogram]
    regularized: dict[str, Histogram]
    points: list[dict[str, Histogram]]


def save(trial: Path, histograms: TrialHistograms) -> None:
    """Writes the histograms into a trial's folder, atomically."""
    results.save(trial / _FILE, histograms)


def load(trial: Path) -> TrialHistograms | None:
    """Returns the histograms in a trial's folder, None where an older version wrote none.

    Raises:
        StorageError: The file is damaged.
    """
    path = trial / _FILE
    return results.load(TrialHistograms, path) if path.is_file() else None
