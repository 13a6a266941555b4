"""From a measured point to its artefact."""

from typing import Any

from hoyer_search import results
from hoyer_search.compression.artifact import Architecture, save_artifact
from hoyer_search.config import SweepConfig
from hoyer_search.datasets import Splits
from hoyer_search.results import Dense
from hoyer_search.store import SweepFolder
from hoyer_search.trial.measure import Measured


def export_point(
    folder: SweepFolder, config: SweepConfig, measured: Measured, *, dense: Dense, data: Splits
) -> None:
    """Writes a point's artefact into the sweep's ``points/``; one that is there stays."""
    point = measured.point
    target = folder.point(point.name)
    if target.is_dir():
        return
    metrics: dict[str, Any] = results.to_json(point)
    metrics["dense"] = results.to_json(dense)
    architecture = Architecture(
        factory=config.model.factory,
        arguments=config.model.arguments,
        kept=measured.report.kept,
        input_shape=list(data.input_shape),
        mean=None if data.mean is None else list(data.mean),
        std=None if data.std is None else list(data.std),
        classes=list(data.classes) or None,
        origin={
            "sweep": folder.name,
            "trial": point.trial,
            "uid": point.uid,
            "point": point.name,
            "params": point.params,
            "threshold": point.threshold,
            "rule": config.pruning.rule,
            "data": config.data.model_dump(),
            "seed": config.seed,
            "protocol": config.protocol,
            "accuracy": config.objective.accuracy,
            "cpus": config.resources.cpus,
        },
    )
    save_artifact(target, measured.shrunk, architecture=architecture, metrics=metrics)
