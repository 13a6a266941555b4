"""The stages of a trial in their order, each skipped when its output is on disk.

    regularize -> curve -> finetune (at most a few thresholds) -> measure and export

The dense network is ``pretraining``'s; ``warm_start`` says which network a trial starts from.
"""

import copy
import shutil
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hoyer_search import histograms, results
from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.histograms import weight_histograms
from hoyer_search.compression.layers import matching
from hoyer_search.compression.masks import Masks
from hoyer_search.compression.threshold_grid import threshold_grid
from hoyer_search.config import Pruning, Regularizer, SweepConfig
from hoyer_search.datasets import Splits
from hoyer_search.errors import TrialDiverged
from hoyer_search.front import Front
from hoyer_search.histograms import TrialHistograms
from hoyer_search.results import CurvePoint, Dense, Point, Progress, TrialResult, TrialSpec
from hoyer_search.store import SweepFolder
from hoyer_search.trial import stages
from hoyer_search.trial.curve import (
    evaluate_curve,
    evaluate_point,
    look_at_milestones,
    make_masks,
)
from hoyer_search.trial.export import export_point
from hoyer_search.trial.journal import Journal
from hoyer_search.trial.measure import measure_point
from hoyer_search.trial.pretraining import load_pretrained
from hoyer_search.trial.selection import Selection
from hoyer_search.trial.warm_start import Parent, load_parent
from hoyer_search.trial.workbench import Workbench, to_progress

Steps = Generator[Progress, None, None]


def run_trial(folder: SweepFolder, spec: TrialSpec, data: Splits) -> Iterator[Progress]:
    """Runs a trial through the whole pipeline, or goes on where it stopped.

    Afterwards ``folder.result(spec.uid)`` is its record, and ``folder.point(name)`` holds the
    artefact of each point on the trial's own front.

    Args:
        folder: The sweep's folder, with the dense network trained.
        spec: The trial.
        data: The sweep's data.

    Yields:
        A step each epoch, with the raw curve at milestones, and each second of the whole curve.

    Raises:
        TrialDiverged: A loss or a weight became NaN or infinite.
        TrialFenced: A newer attempt of the same trial has taken over.
    """
    if folder.result(spec.uid) is not None:
        return
    trial = _Trial(folder, spec, data)
    journal = Journal(folder.trial(spec.uid) / "metrics.jsonl")
    try:
        for progress in trial.run():
            trial.bench.noted = False
            trial.attempt.check()
            journal.add(progress)
            trial.bench.noted = True
            try:
                yield progress
            finally:
                trial.bench.noted = trial.attempt.current  # what an orphan leaves is not saved
            trial.attempt.check()
    except Exception:
        trial.attempt.check()  # an orphan trips over what its successor has tidied away
        raise


@dataclass(frozen=True, slots=True)
class _Finetuned:
    """A finetuned threshold: its network, its zeros, and its accuracy before and after."""

    threshold: float
    model: nn.Module
    masks: Masks
    raw_val_accuracy: float
    val_accuracy: float


class _Trial:
    """The stages of one trial."""

    def __init__(self, folder: SweepFolder, spec: TrialSpec, data: Splits) -> None:
        self.folder, self.spec = folder, spec
        self.config = SweepConfig.model_validate(spec.config)
        self.path = folder.trial(spec.uid)
        self.attempt = stages.Attempt(self.path)
        retrains = spec.retrains
        self.bench = Workbench(self.config, data, seed=retrains.seed if retrains else None)
        self.wall_seconds: dict[str, float] = {}

    def run(self) -> Steps:
        """Runs every stage that is not done, and writes the trial's result."""
        dense, model, key = load_pretrained(self.folder, self.config, self.bench)
        graph = self.bench.graph(model)
        before = weight_histograms(model)
        parent = load_parent(model, self.folder, self.spec)
        key = yield from self._regularize(model, graph, key, parent)
        after = weight_histograms(model)
        curve = yield from self._curve(model, graph, key)
        finetuned, curve = yield from self._finetune(dense, model, graph, curve, key)
        finetuned.sort(key=lambda one: -int(one.masks.nonzeros()))
        points = self._measure(dense, graph, finetuned)
        self.attempt.check()
        histograms.save(
            self.path,
            TrialHistograms(
                dense=before,
                regularized=after,
                points=[weight_histograms(one.model) for one in finetuned],
            ),
        )
        results.save(
            self.path / "result.json",
            TrialResult(
                number=self.spec.number,
                uid=self.spec.uid,
                params=self.spec.params,
                state="complete",
                dense=dense,
                curve=curve,
                points=points,
                wall_seconds=self.wall_seconds,
                parent=None if parent is None else parent.uid,
                regularized=key,
                retrains=self.spec.retrains,
            ),
        )
        for stage in self.path.glob("finetune-*"):
            shutil.rmtree(stage, ignore_errors=True)  # its points are in the artefacts

    def _stage(self, name: str, key: str) -> Path:
        return self.path / f"{name}-{key}"

    def _regularize(
        self, model: nn.Module, graph: ChannelGraph, dense_key: str, parent: Parent | None
    ) -> Generator[Progress, None, str]:
        """Leaves the regularized network in ``model`` and returns the stage's key."""
        config = self.config
        settings = config.pipeline.regularize.starting(warm=parent is not None)
        inputs = {} if parent is None else {"parent": parent.key}
        key = stages.stage_key(
            dense=dense_key,
            regularizer=_regularizer_key(config.regularizer),
            training=settings.model_dump(),
            **inputs,
        )
        folder = self._stage("regularize", key)
        output = stages.load_stage(folder)
        if output is None:
            checkpoints = self.bench.checkpoints(folder.with_name(f"{folder.name}.partial"))
            seconds = 0.0
            for epoch in self.bench.train(
                model,
                settings,
                stage="regularize",
                checkpoints=checkpoints,
                penalty=self.bench.penalty(model),
                look=look_at_milestones(model, graph, self.bench, settings.epochs),
            ):
                seconds = epoch.wall_seconds
                yield to_progress("regularize", epoch, settings)
            _check_finite(model)
            info = {"wall_seconds": seconds}
            stages.save_stage(folder, attempt=self.attempt, model=model, info=info)
            checkpoints.clear()
            output = stages.Output({}, info)
        else:
            model.load_state_dict(output.weights)
        self.wall_seconds["regularize"] = output.info["wall_seconds"]
        return key

    def _curve(
        self, model: nn.Module, graph: ChannelGraph, key: str
    ) -> Generator[Progress, None, list[CurvePoint]]:
        """Returns the curve of the regularized network; the network is left as it was."""
        config = self.config
        key = stages.stage_key(
            regularized=key,
            pruning=_pruning_key(config.pruning),
            curve=config.pipeline.curve.model_dump(),
            threshold=self.spec.params.get("threshold"),
        )
        folder = self._stage("curve", key)
        output = stages.load_stage(folder)
        if output is None:
            start = time.perf_counter()
            points = yield from evaluate_curve(
                model, graph, self.bench, self._thresholds(model, graph)
            )
            info = {
                "points": [results.to_json(point) for point in points],
                "wall_seconds": time.perf_counter() - start,
            }
            stages.save_stage(folder, attempt=self.attempt, model=None, info=info)
            output = stages.Output({}, info)
        self.wall_seconds["curve"] = output.info["wall_seconds"]
        return [CurvePoint(**point) for point in output.info["points"]]

    def _thresholds(self, model: nn.Module, graph: ChannelGraph) -> list[float]:
        if self.spec.retrains is not None:
            return self.spec.retrains.thresholds
        if "threshold" in self.spec.params:
            return [float(self.spec.params["threshold"])]
        grid = threshold_grid(
            model,
            graph,
            rule=self.config.pruning.rule,
            granularity=self.config.pruning.granularity,
            points=self.config.pipeline.curve.points,
            exclude=matching(self.config.pruning.exclude, graph.layers),
        )
        if not grid:
            raise TrialDiverged(
                "every weight that may be pruned is zero after regularizing: lower the decay"
            )
        return grid

    def _finetune(
        self,
        dense: Dense,
        model: nn.Module,
        graph: ChannelGraph,
        curve: list[CurvePoint],
        key: str,
    ) -> Generator[Progress, None, tuple[list[_Finetuned], list[CurvePoint]]]:
        """Finetunes the thresholds that settle operating points; adds to the curve as needed."""
        if self.spec.retrains is not None:
            return (yield from self._finetune_all(model, graph, curve, key)), curve
        selection = Selection(
            curve,
            dense=dense,
            objective=self.config.objective,
            max_points=self.config.pipeline.finetune.max_points,
            knowledge=self.spec.knowledge,
        )

        def evaluate(threshold: float) -> CurvePoint:
            return evaluate_point(model, graph, self.bench, threshold)

        finetuned: list[_Finetuned] = []
        while (point := selection.next(evaluate)) is not None:
            one = yield from self._finetune_one(model, graph, point, len(finetuned), key)
            selection.add(point, one.val_accuracy)
            finetuned.append(one)
        return finetuned, selection.curve

    def _finetune_all(
        self, model: nn.Module, graph: ChannelGraph, curve: list[CurvePoint], key: str
    ) -> Generator[Progress, None, list[_Finetuned]]:
        """Finetunes every threshold of a curve, which is a retraining's."""
        finetuned: list[_Finetuned] = []
        for number, point in enumerate(curve):
            finetuned.append((yield from self._finetune_one(model, graph, point, number, key)))
        return finetuned

    def _finetune_one(
        self, model: nn.Module, graph: ChannelGraph, point: CurvePoint, number: int, key: str
    ) -> Generator[Progress, None, _Finetuned]:
        settings = self.config.pipeline.finetune
        training = settings.model_dump(exclude={"max_points"})
        key = stages.stage_key(
            regularized=key,
            pruning=_pruning_key(self.config.pruning),
            threshold=point.threshold,
            training=training,
        )
        folder = self._stage("finetune", key)
        network = copy.deepcopy(model)
        masks = make_masks(network, graph, threshold=point.threshold, pruning=self.config.pruning)
        masks.apply_(network)
        output = stages.load_stage(folder)
        if output is None:
            checkpoints = self.bench.checkpoints(folder.with_name(f"{folder.name}.partial"))
            info = {"val_accuracy": point.val_accuracy, "wall_seconds": 0.0}
            for epoch in self.bench.train(
                network,
                settings,
                stage="finetune",
                checkpoints=checkpoints,
                masks=masks,
                keep_best=True,
            ):
                info = {"val_accuracy": epoch.best_accuracy, "wall_seconds": epoch.wall_seconds}
                yield to_progress("finetune", epoch, settings, point=number)
            _check_finite(network)
            stages.save_stage(folder, attempt=self.attempt, model=network, info=info)
            checkpoints.clear()
            output = stages.Output({}, info)
        else:
            network.load_state_dict(output.weights)
        spent = self.wall_seconds.get("finetune", 0.0)
        self.wall_seconds["finetune"] = spent + output.info["wall_seconds"]
        return _Finetuned(
            point.threshold, network, masks, point.val_accuracy, output.info["val_accuracy"]
        )

    def _measure(
        self, dense: Dense, graph: ChannelGraph, finetuned: list[_Finetuned]
    ) -> list[Point]:
        """Measures every finetuned network and exports those on the trial's own front."""
        start = time.perf_counter()
        measured = [
            measure_point(
                one.model,
                graph,
                one.masks,
                self.bench,
                spec=self.spec,
                index=index,
                threshold=one.threshold,
                raw_val_accuracy=one.raw_val_accuracy,
                val_accuracy=one.val_accuracy,
            )
            for index, one in enumerate(finetuned)
        ]
        objective = self.config.objective
        front = Front.of(
            [m.point for m in measured],
            dense=dense,
            sparsity=objective.sparsity,
            floors=objective.floors(dense.val_accuracy),
        )
        for m in measured:
            if m.point in front.points:
                self.attempt.check()
                export_point(self.folder, self.config, m, dense=dense, data=self.bench.data)
        self.wall_seconds["measure"] = time.perf_counter() - start
        return [m.point for m in measured]


def _regularizer_key(settings: Regularizer) -> dict[str, Any]:
    """Returns what a stage's key holds of the regularizer: of old sweeps, what it held then."""
    return settings.model_dump(exclude={"groups"} if settings.groups == "layer" else None)


def _pruning_key(settings: Pruning) -> dict[str, Any]:
    """Returns what a stage's key holds of the pruning: of old sweeps, what it held then."""
    return settings.model_dump(exclude=None if settings.exclude else {"exclude"})


def _check_finite(model: nn.Module) -> None:
    """Checks a trained network's weights, once a stage.

    Raises:
        TrialDiverged: One of them is NaN or infinite.
    """
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise TrialDiverged(f"{name} holds NaN or infinite weights after training")
