r"""Regularizes further from regularized networks, against starting from the dense one.

    python benchmarks/warm_start.py lenet300-mnist-element --decay 4e-5 --size 6000 \
        --set pipeline.pretrain.epochs=10 --set pipeline.finetune.epochs=2 --work /tmp/warm \
        8 8+4 8+4+4 8+4@8e-5 12

``8+4@8e-5`` is a network regularized for 8 epochs from the dense one, and for 4 more at decay 8e-5,
with learning rate and optimizer begun anew as ``warm_start: path`` does. Each is pruned to the size
nearest to ``--size`` (in the space's sparsity objective) and finetuned; a line says how its
validation accuracy differs from the dense network's. Networks are kept in the work folder.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from record import finetune_one, open_work, returned
from torch import nn

from hoyer_search import spaces
from hoyer_search.compression.threshold_grid import threshold_grid
from hoyer_search.config import SweepConfig
from hoyer_search.store import SweepFolder
from hoyer_search.trial import stages
from hoyer_search.trial.curve import evaluate_curve
from hoyer_search.trial.preflight import load_checked
from hoyer_search.trial.pretraining import load_pretrained, pretrain
from hoyer_search.trial.workbench import Workbench

THRESHOLDS = 60


@dataclass(frozen=True)
class Leg:
    """Some epochs of regularizing at one decay."""

    epochs: int
    decay: float

    def __str__(self) -> str:
        return f"{self.epochs}@{self.decay:g}"


def parse_path(text: str, *, decay: float) -> list[Leg]:
    """Returns the legs of a path such as ``8+4@8e-5``."""
    parts = [part.partition("@") for part in text.split("+")]
    return [Leg(int(epochs), float(at) if at else decay) for epochs, _, at in parts]


def regularize(folder: SweepFolder, bench: Workbench, model: nn.Module, path: list[Leg]) -> None:
    """Takes the dense network along a path, from the longest part of it that is known."""
    for end, leg in enumerate(path, start=1):
        target = folder.path / "trials" / "+".join(map(str, path[:end])) / "regularized"
        output = stages.load_stage(target)
        if output is not None:
            model.load_state_dict(output.weights)
            continue
        config = spaces.apply_params(bench.config, {"decay": leg.decay})
        settings = config.pipeline.regularize.model_copy(update={"epochs": leg.epochs})
        bench = Workbench(config, bench.data)
        checkpoints = bench.checkpoints(target.with_suffix(".partial"))
        for _ in bench.train(
            model,
            settings,
            stage="regularize",
            checkpoints=checkpoints,
            penalty=bench.penalty(model),
        ):
            pass
        stages.save_stage(target, attempt=stages.Attempt(target.parent), model=model, info={})
        checkpoints.clear()


def rows(config: SweepConfig, args: argparse.Namespace) -> Iterator[str]:
    data, folder = load_checked(config), open_work(args.work.absolute(), config)
    for _ in pretrain(folder, config, data):
        pass
    bench, rule = Workbench(config, data), config.pruning
    for path in args.paths:
        dense, model, _ = load_pretrained(folder, config, bench)
        graph = bench.graph(model)
        regularize(folder, bench, model, parse_path(path, decay=args.decay))
        grid = threshold_grid(
            model, graph, rule=rule.rule, granularity=rule.granularity, points=THRESHOLDS
        )
        curve = returned(evaluate_curve(model, graph, bench, grid))
        size = config.objective.sparsity
        point = min(curve, key=lambda p: abs(getattr(p, size) - args.size))
        checkpoints = bench.checkpoints(folder.path / "finetune.partial")
        checkpoints.clear()
        done = finetune_one(model, graph, bench, point, checkpoints)
        drops = [a - dense.val_accuracy for a in (done.raw_val_accuracy, done.val_accuracy)]
        yield (
            f"{path:16} {getattr(point, size):7} {size}, validation against dense: "
            f"pruned {drops[0]:+.2%}, finetuned {drops[1]:+.2%}; test {done.test_accuracy:.2%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("space", help="built-in search space or YAML file")
    parser.add_argument("paths", nargs="+", metavar="EPOCHS[@DECAY][+EPOCHS[@DECAY]...]")
    parser.add_argument("--decay", type=float, required=True, help="where a leg names none")
    parser.add_argument("--size", type=int, required=True, help="to prune to")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--work", type=Path, required=True, help="folder of trained networks")
    args = parser.parse_args()
    config = spaces.load(args.space, overrides=dict(map(spaces.parse_override, args.settings)))
    for row in rows(config, args):
        print(row, flush=True)


if __name__ == "__main__":
    main()
