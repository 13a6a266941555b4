"""What the runs of a sweep and of its trials should look like in MLflow. Knows no MLflow."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hoyer_search.config import Range, SweepConfig
from hoyer_search.front import Front, size
from hoyer_search.results import Point, Progress, TrialResult, TrialSpec, Value, parent
from hoyer_search.tracking import names
from hoyer_search.tracking.records import RunRecord, Sample
from hoyer_search.tracking.series import GREY, SKY, VERMILLION

MAX_NOTE = 7000

_STATUS = {"complete": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
_SETTINGS = {
    "model": "model.factory",
    "data": "data.source",
    "regularizer": "regularizer.name",
    "granularity": "pruning.granularity",
    "rule": "pruning.rule",
    "pretrain_epochs": "pipeline.pretrain.epochs",
    "regularize_epochs": "pipeline.regularize.epochs",
    "warm_start": "warm_start",
    "warm_epochs": "pipeline.regularize.warm_epochs",
    "regularize_lr": "pipeline.regularize.lr",
    "finetune_epochs": "pipeline.finetune.epochs",
    "finetune_lr": "pipeline.finetune.lr",
    "batch_size": "pipeline.regularize.batch_size",
    "sparsity": "objective.sparsity",
    "sampler": "sampler",
    "early_stopping": "early_stopping",
    "protocol": "protocol",
    "seed": "seed",
}


def shown_point(points: Iterable[Point], front: Front) -> Point | None:
    """Returns the point that stands for a trial where there is room for one only.

    One on the sweep's front if the trial has any; among those, the smallest of those that keep
    the strictest floor kept by any; the most accurate when none keeps a floor.
    """
    candidates = list(points)
    on_front = {(point.uid, point.index) for point in front.points}
    candidates = [p for p in candidates if (p.uid, p.index) in on_front] or candidates
    for floor in front.floors.values():  # strictest first
        kept = [p for p in candidates if p.val_accuracy >= floor]
        if kept:
            return min(kept, key=lambda p: (size(p, front.sparsity), -p.val_accuracy))
    return max(candidates, key=lambda p: (p.val_accuracy, -size(p, front.sparsity)), default=None)


def trial_name(spec: TrialSpec, points: Iterable[Point], front: Front | None) -> str:
    """Returns a run's name, e.g. ``#007 11.2x @ 98.79%``; the number alone without points.

    A retraining has ``again (1)`` behind the number.
    """
    number = f"#{spec.number:03d}"
    if spec.retrains is not None:
        number += f" again ({spec.retrains.repeat})"
    point = shown_point(points, front) if front else None
    if point is None or front is None:
        return number
    return f"{number} {front.times(point)} @ {point.val_accuracy:.2%}"


def trial_status(result: TrialResult | None, *, running: bool) -> str:
    """Returns MLflow's status of a trial; KILLED without a result when no driver runs."""
    if result is None or result.state == "running":
        return "RUNNING" if running else "KILLED"
    return _STATUS[result.state]


def settled(record: RunRecord, result: TrialResult) -> bool:
    """Returns whether a run shows how its trial ended, so that all its curves are there too."""
    return (record.status, record.tags.get(names.STATE)) == (
        _STATUS.get(result.state),
        result.state,
    )


def trial_params(spec: TrialSpec) -> dict[str, str]:
    """Returns a run's parameters: those searched, and the main settings of the sweep."""
    return _settings(spec.config) | {_key(name): _text(v) for name, v in spec.params.items()}


def sweep_params(config: SweepConfig) -> dict[str, str]:
    """Returns the parameters of the sweep's own run: main settings, and what is searched where."""
    searched = {
        f"search.{_key(name)}": f"{d.low:g} to {d.high:g}{', log' if d.log else ''}"
        if isinstance(d, Range)
        else ", ".join(map(str, d.choices))
        for name, d in config.search.dimensions.items()
    }
    return _settings(config.model_dump()) | searched


def trial_tags(
    spec: TrialSpec, result: TrialResult | None, front: Front | None, identity: names.Identity
) -> dict[str, str]:
    """Returns a run's tags: what it belongs to, its state, its place and the colour of it."""
    members = {p.name for p in front.points} if front else set()
    own = [p for p in (result.points if result else []) if p.name in members]
    state = result.state if result else "running"
    colour = VERMILLION if own else GREY if state in ("failed", "stopped") else SKY
    tags = identity.tags | {
        names.KIND: "trial" if spec.retrains is None else "retraining",
        names.UID: spec.uid,
        names.STATE: state,
        names.FRONT: ",".join(p.name for p in own) or "no",
        names.COLOUR: colour,
        names.START: parent(spec, result) or "dense",
    }
    if spec.retrains is not None:
        tags[names.RETRAINS] = spec.retrains.uid
    if result and result.error:
        tags[names.NOTE] = f"The trial failed:\n\n```\n{result.error[-MAX_NOTE:]}\n```\n"
    return tags


def trial_metrics(
    spec: TrialSpec, result: TrialResult | None, front: Front | None, config: SweepConfig
) -> dict[str, float]:
    """Returns a run's final metrics, rounded so that a table of them can be read."""
    metrics = {
        _log_name(name): round(math.log10(value), 4)
        for name in _log_searched(config)
        if isinstance(value := spec.params.get(name), float | int) and value > 0
    }
    if result is None or front is None:
        return metrics
    point = shown_point(result.points, front)
    if point is not None:
        metrics |= point_metrics(point, front) | best_compressions(result.points, front)
    if result.wall_seconds:
        metrics["minutes"] = round(sum(result.wall_seconds.values()) / 60, 2)
    return metrics


def point_metrics(point: Point, front: Front) -> dict[str, float]:
    """Returns the metrics of one point: accuracies in [0, 1], counts, compression, speed.

    ``speedup`` is the dense network's median time of one example over the shrunk one's, measured
    in turns; ``batch_speedup`` the same of a throughput batch.
    """
    compression = front.compression(point)
    latency, throughput = point.latency_ms, point.examples_per_second
    metrics = {
        "accuracy": round(point.val_accuracy, 4),
        "test_accuracy": round(point.test_accuracy, 4),
        "nonzeros": float(point.nonzeros),
        "macs": float(point.macs),
        "compression": round(compression, 2),
        "log2_compression": round(math.log2(compression), 3),
        "threshold": float(f"{point.threshold:.4g}"),
        "latency_ms": float(f"{latency['shrunk']:.4g}"),
        "speedup": round(latency["dense"] / latency["shrunk"], 2),
    }
    if throughput:
        metrics["examples_per_second"] = float(f"{throughput['shrunk']:.4g}")
        metrics["batch_speedup"] = round(throughput["shrunk"] / throughput["dense"], 2)
    return metrics


def best_compressions(points: Iterable[Point], front: Front) -> dict[str, float]:
    """Returns the best compression of some points by operating point, of those they reach."""
    own = Front.of(points, dense=front.dense, sparsity=front.sparsity, floors=front.floors)
    return {
        f"compression_{names.alias(name)}": round(front.compression(point), 2)
        for name, point in own.operating_points.items()
        if point is not None
    }


def sweep_metrics(results: Iterable[TrialResult], front: Front | None) -> dict[str, float]:
    """Returns the metrics of the sweep's own run."""
    ended = list(results)
    metrics = {
        "trials": float(len(ended)),
        "failed": float(sum(result.state == "failed" for result in ended)),
        "stopped": float(sum(result.state == "stopped" for result in ended)),
    }
    if front is not None:
        metrics["dense_accuracy"] = round(front.dense.val_accuracy, 4)
        metrics["hypervolume"] = round(front.hypervolume, 6)
        metrics |= best_compressions(front.points, front)
    return metrics


def sweep_series(
    ended: Sequence[TrialResult], times: Sequence[int], front: Front | None, *, first: int
) -> list[list[Sample]]:
    """Returns the metrics of the sweep's own run after each of its trials, a row a trial.

    Args:
        ended: Results in the order in which the trials ended.
        times: When each ended, in Unix milliseconds.
        front: The front of all of them.
        first: Trials whose rows are left out.
    """
    rows, best = [], None if front is None else _part(front, ended[:first], [])
    for index in range(first, len(ended)):
        best = None if best is None else _part(best, [ended[index]], best.points)
        metrics = sweep_metrics(ended[: index + 1], best)
        rows.append([Sample(k, v, times[index], index + 1) for k, v in metrics.items()])
    return rows


def _part(front: Front, ended: Iterable[TrialResult], points: Iterable[Point]) -> Front:
    """Returns the front of some results and points, with the rest of another front."""
    candidates = [*points, *(point for result in ended for point in result.points)]
    return Front.of(candidates, dense=front.dense, sparsity=front.sparsity, floors=front.floors)


def curves(
    lines: Iterable[dict[str, Any]], result: TrialResult | None, *, time: int
) -> list[Sample]:
    """Returns the metrics of a trial that are lines in MLflow's charts.

    By epoch, from lines of ``metrics.jsonl``: ``train/`` and ``val/`` hold the training with the
    regularizer (``train/loss``) and the dense one (``train/pretrain_loss``), ``prune/`` the
    finetunings by their place (``prune/val_accuracy_0``). By nonzeros, from the result:
    ``prune/accuracy_by_nonzeros``, before finetuning. Values that are no finite number are left
    out.

    Args:
        lines: Lines of ``metrics.jsonl``.
        result: The trial's result, None while it runs.
        time: Time in Unix milliseconds of what has none of its own.
    """
    samples = [sample for line in lines for sample in _epoch(line)]
    points = result.curve if result and result.state != "stopped" else []
    samples += [
        Sample("prune/accuracy_by_nonzeros", p.val_accuracy, time, p.nonzeros) for p in points
    ]
    return [sample for sample in samples if math.isfinite(sample.value)]


def _epoch(line: dict[str, Any]) -> Iterator[Sample]:
    try:
        progress = Progress(**line)
    except TypeError:
        return  # a line of another version; the rest is still good
    for name, value in progress.metrics.items():
        key = _epoch_name(progress.stage, progress.point, name)
        yield Sample(key, float(value), int(progress.time * 1000), progress.epoch)


def _epoch_name(stage: str, point: int | None, name: str) -> str:
    if stage in ("regularize", "pretrain"):
        section = "val" if name.startswith("val_") else "train"
        prefix = "" if stage == "regularize" else f"{stage}_"
        return f"{section}/{prefix}{name.removeprefix('val_')}"
    return f"prune/{name}_{stage if point is None else point}"


def log_names(config: SweepConfig) -> list[str]:
    """Returns the metrics of parameters searched by their logarithm; MLflow has no log axes."""
    return [_log_name(name) for name in _log_searched(config)]


def _log_searched(config: SweepConfig) -> list[str]:
    searched = config.search.dimensions.items()
    return [name for name, d in searched if isinstance(d, Range) and d.log]


def _log_name(name: str) -> str:
    return f"log10_{_key(name)}"


def _key(name: str) -> str:
    """Returns a name of the characters that MLflow allows: a pattern of layers has others."""
    return re.sub(r"[^\w.\- /:]", "_", name)


def _settings(config: dict[str, Any]) -> dict[str, str]:
    values = {name: _at(config, path) for name, path in _SETTINGS.items()}
    return {name: str(value) for name, value in values.items() if value is not None}


def _at(config: dict[str, Any], path: str) -> Any:
    node: Any = config
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _text(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
