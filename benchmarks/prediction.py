"""How well finetuned accuracy is foreseen, on recorded trainings and on simulated ones.

    python benchmarks/prediction.py benchmarks/recordings/*.parquet

Two tables for each recording. The first holds the mean error of predicted drops of accuracy, in
doublings (see ``trial.prediction``), on trainings that were not learned from: before any of their
own thresholds was finetuned, and after one. Three finetunings each teach it; drops beyond six
points are left out, as no operating point is there. The second counts the trainings that keep each
floor, and the compression of the best, in doublings: recorded, and simulated at the same settings
and thresholds. A simulator that is like the trainings has the same numbers.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hoyer_search.results import CurvePoint
from hoyer_search.search.simulate.recording import Finetuned, Recording, Training, load_recording
from hoyer_search.search.simulate.surrogate import Surrogate
from hoyer_search.trial.prediction import Offset, TrialCurve, to_rows

Floats = npt.NDArray[np.float64]

TAUGHT = (2, 5, 10, 20)
LARGEST = 0.06
"""Drop of accuracy beyond which a prediction does not matter."""
REPEATS, HELD_OUT = 12, 16
DRAWS = 4


@dataclass
class Rows:
    """Log2 compressions and accuracies of one recording's trainings."""

    recording: Recording

    def __post_init__(self) -> None:
        self.measure = self.recording.config.objective.sparsity
        self.dense = getattr(self.recording.dense, self.measure)

    def of(self, points: Sequence[CurvePoint] | Sequence[Finetuned]) -> Floats:
        """Returns points as rows, shape (n, 2)."""
        sizes = [max(getattr(point, self.measure), 1) for point in points]
        return to_rows(zip(sizes, [p.val_accuracy for p in points], strict=True), self.dense)

    def curve(self, training: Training) -> TrialCurve:
        """Returns a finished training's curves."""
        return TrialCurve(
            dense=self.recording.dense.val_accuracy,
            floors=np.empty(0),
            raw=self.of(training.milestones[-1].curve),
            finetuned=self.of(training.finetuned),
        )


def errors(curves: Sequence[TrialCurve], taught: int) -> tuple[float, float]:
    """Returns mean errors before and after a training's own first finetuning."""
    before, after = list[Floats](), list[Floats]()
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(curves))
        offset = Offset.learn([_some(curves[i], 3, rng) for i in order[:taught]])
        for i in order[taught : taught + HELD_OUT]:
            whole = curves[i]
            for own, found in ((0, before), (1, after)):
                drops, _ = offset.predict(_some(whole, own, rng))
                predicted = np.interp(whole.finetuned[:, 0], whole.grid, drops)
                matters = whole.dense - whole.finetuned[:, 1] < LARGEST
                found.append(np.abs(predicted - whole.found)[matters])
    return float(np.concatenate(before).mean()), float(np.concatenate(after).mean())


def _some(curve: TrialCurve, count: int, rng: np.random.Generator) -> TrialCurve:
    chosen = np.sort(rng.permutation(len(curve.finetuned))[:count])
    return replace(curve, finetuned=curve.finetuned[chosen])


def kept(rows: Rows, trainings: Sequence[Training]) -> list[tuple[int, float]]:
    """Returns for each floor how many trainings keep it, and the best compression."""
    found = []
    for floor in rows.recording.config.objective.floors(rows.recording.dense.val_accuracy).values():
        reached = [rows.of([f for f in t.finetuned if f.val_accuracy >= floor]) for t in trainings]
        best = [float(r[:, 0].max()) for r in reached if len(r)]
        found.append((len(best), max(best, default=0.0)))
    return found


def simulated(surrogate: Surrogate, training: Training, seed: int) -> Training:
    """Returns a training of the same setting, finetuned at the sizes that were recorded."""
    made = surrogate.train(training.params, seed=seed)
    sizes, accuracies = zip(
        *((_log_size(one), one.val_accuracy) for one in reversed(made.finetuned)), strict=True
    )
    return replace(
        made,
        finetuned=[
            replace(f, val_accuracy=float(np.interp(_log_size(f), sizes, accuracies)))
            for f in training.finetuned
        ],
    )


def _log_size(finetuned: Finetuned) -> float:
    return math.log(max(finetuned.nonzeros, 1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recordings", type=Path, nargs="+")
    for path in parser.parse_args().recordings:
        recording = load_recording(path)
        rows, surrogate = Rows(recording), Surrogate(recording)
        draws = [
            [simulated(surrogate, training, seed) for training in recording.trainings]
            for seed in range(DRAWS)
        ]
        print(f"\n{path.stem}\n\n| trials learned from | recorded | simulated |\n|---|---|---|")
        whole = [
            [rows.curve(t) for t in trainings] for trainings in (recording.trainings, draws[0])
        ]
        for taught in TAUGHT:
            cells = ["{:.2f}, {:.2f}".format(*errors(curves, taught)) for curves in whole]
            print(f"| {taught} | {' | '.join(cells)} |")
        print("\n| floor | recorded | simulated |\n|---|---|---|")
        real = kept(rows, recording.trainings)
        drawn = np.mean([kept(rows, trainings) for trainings in draws], axis=0)
        for name, one, other in zip(recording.config.objective.points, real, drawn, strict=True):
            print(f"| {name} | {one[0]}, {one[1]:.2f} | {other[0]:.0f}, {other[1]:.2f} |")


if __name__ == "__main__":
    main()
