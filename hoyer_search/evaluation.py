"""Measuring a pulled network again, from its artefact alone."""

import os
from pathlib import Path
from typing import Any

import torch

from hoyer_search import models
from hoyer_search.compression import measure
from hoyer_search.compression.artifact import read_artifact
from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.latency import measure_latency
from hoyer_search.compression.masks import masks_from_zeros
from hoyer_search.compression.shrink import exactness
from hoyer_search.datasets import DATASETS, load_test
from hoyer_search.datasets.splits import Source
from hoyer_search.errors import InputError
from hoyer_search.trial.batches import make_batches
from hoyer_search.trial.training import evaluate

_CPU = torch.device("cpu")


def evaluate_artifact(
    folder: str | os.PathLike[str], *, factory: str | None = None, source: str | None = None
) -> dict[str, Any]:
    """Returns what an artefact's network measures now, on this machine.

    Nothing is taken from its ``metrics.json`` but what names the data. The masked, full-size
    network is rebuilt from the shrunk weights, so that nonzeros, logical MACs and exactness are
    measured on the two networks themselves.

    Args:
        folder: The artefact.
        factory: Model factory of a network that is not built in; a file may not name code to run.
        source: Data source, likewise.

    Returns:
        ``test_accuracy, nonzeros, macs, physical_macs, parameters, structure, exactness,
        latency_ms, bytes`` and the artefact's origin.

    Raises:
        ArtifactError: The artefact is damaged or needs a factory.
        InputError: The factory or the data cannot be had.
    """
    path = Path(folder)
    artifact = read_artifact(path)
    architecture = artifact.architecture
    shrunk = models.load_artifact(path, factory=factory)
    masked = models.load_masked(path, factory=factory)
    batches = make_batches(_test_examples(architecture.origin, source), _CPU, cpus=1)
    example = torch.zeros((1, *architecture.input_shape))
    graph = ChannelGraph.trace(masked, example)
    masks = masks_from_zeros(masked, graph)
    topk = 5 if architecture.origin.get("accuracy") == "top5" else 1
    latency = measure_latency({"dense": masked, "shrunk": shrunk}, example)
    return {
        "test_accuracy": evaluate(
            shrunk, batches, topk=topk
        ),
        "nonzeros": int(masks.nonzeros()),
        "macs": int(masks.macs()),
        "physical_macs": measure.physical_macs(shrunk, example),
        "parameters": measure.num_parameters(shrunk),
        "structure": measure.structure(masks),
        "exactness": exactness(masked, shrunk, architecture.input_shape),
        "latency_ms": latency,
        "bytes": (path / "model.safetensors").stat().st_size,
        "origin": architecture.origin,
    }


def _test_examples(origin: dict[str, Any], source: str | None) -> Source:
    """Returns the test examples of the sweep an artefact came from, or of the caller's source.

    Raises:
        InputError: The source is not built in, and the caller did not name it: a file may not say
            what code to run.
    """
    data = origin.get("data") or {}
    named = str(data.get("source"))
    if source is None and named not in DATASETS:
        raise InputError(
            f"the artefact was measured on {named!r}, which is not built in: give the data source "
            f"yourself, --data {named}, if you trust it"
        )
    arguments = data.get("arguments", {}) if source in (None, named) else {}
    return load_test(source or named, arguments)
