"""Measuring a pulled network again, from its artefact alone."""

import os
from pathlib import Path
from typing import Any

import torch

from hoyer_search import models
from hoyer_search.compression import measure
from hoyer_search.compression.artifact import read_artifact
from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.exactness import exactness
from hoyer_search.compression.latency import measure_latency
from hoyer_search.compression.masks import masks_from_zeros
from hoyer_search.config import Data
from hoyer_search.datasets import DATASETS, Splits, load
from hoyer_search.errors import InputError
from hoyer_search.trial.batches import make_batches
from hoyer_search.trial.training import evaluate


def evaluate_artifact(
    folder: str | os.PathLike[str], *, factory: str | None = None, source: str | None = None
) -> dict[str, Any]:
    """Returns what an artefact's network measures now, on this machine.

    Nothing measured is taken from the artefact. The masked, full-size network is rebuilt from the
    shrunk weights, so that nonzeros, logical MACs and exactness are measured on the two networks
    themselves. Latency is taken with as many threads as the sweep gave a trial.

    Args:
        folder: The artefact.
        factory: Model factory of a network that is not built in; a file may not name code to run.
        source: Data source, likewise.

    Returns:
        The keys of the artefact's ``metrics.json`` that scripts rely on (``trial, params,
        threshold, val_accuracy, test_accuracy, nonzeros, macs, physical_macs, parameters,
        structure, exactness, latency_ms``), ``bytes`` of the weights' file, and ``sweep``.

    Raises:
        ArtifactError: The artefact is damaged or needs a factory.
        InputError: The factory or the data cannot be had.
    """
    path = Path(folder)
    architecture = read_artifact(path).architecture
    origin = architecture.origin
    torch.set_num_threads(max(1, int(origin.get("cpus", 1))))
    shrunk = models.load_artifact(path, factory=factory)
    masked = models.load_masked(path, factory=factory)
    example = torch.zeros((1, *architecture.input_shape))
    masks = masks_from_zeros(masked, ChannelGraph.trace(masked, example))
    return {
        "sweep": origin.get("sweep"),
        "trial": origin.get("trial"),
        "params": origin.get("params"),
        "threshold": origin.get("threshold"),
        **_accuracies(shrunk, _data(origin, source), origin),
        "nonzeros": int(masks.nonzeros()),
        "macs": int(masks.macs()),
        "physical_macs": measure.physical_macs(shrunk, example),
        "parameters": measure.num_parameters(shrunk),
        "structure": measure.structure(masks),
        "exactness": exactness(masked, shrunk, architecture.input_shape),
        "latency_ms": measure_latency({"dense": masked, "shrunk": shrunk}, example),
        "bytes": (path / "model.safetensors").stat().st_size,
    }


def _accuracies(model: torch.nn.Module, data: Splits, origin: dict[str, Any]) -> dict[str, float]:
    topk = 5 if origin.get("accuracy") == "top5" else 1
    splits = {"val_accuracy": data.validation, "test_accuracy": data.test}
    return {
        name: evaluate(model, make_batches(source, torch.device("cpu"), cpus=1), topk=topk)
        for name, source in splits.items()
    }


def _data(origin: dict[str, Any], source: str | None) -> Splits:
    """Returns the data of the sweep an artefact came from, or of the caller's source.

    Raises:
        InputError: The source is not built in, and the caller did not name it: a file may not say
            what code to run.
    """
    named = Data.model_validate(origin.get("data", {"source": "mnist"}))
    if source is None and named.source not in DATASETS:
        raise InputError(
            f"the artefact was measured on {named.source!r}, which is not built in: give the data "
            f"source yourself, --data {named.source}, if you trust it"
        )
    if source is not None and source != named.source:
        named = Data(source=source, validation=named.validation)
    return load(named, seed=origin.get("seed", 0), protocol=origin.get("protocol", "honest"))
