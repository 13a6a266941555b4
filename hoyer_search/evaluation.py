"""Measuring a pulled or compressed network again, from its artefact alone."""

import os
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from hoyer_search import models
from hoyer_search.compression import measure
from hoyer_search.compression.artifact import WEIGHTS, Architecture, read_artifact
from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.exactness import exactness
from hoyer_search.compression.latency import measure_latency, measure_throughput
from hoyer_search.compression.masks import masks_from_zeros
from hoyer_search.config import Data
from hoyer_search.datasets import DATASETS, Splits, load
from hoyer_search.errors import ArtifactError, InputError
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
        source: Data source, likewise. A network of ``compress`` has none of its own: without one
            its accuracies are None; with one, that of its test examples is measured.

    Returns:
        The keys of the artefact's ``metrics.json`` that scripts rely on (``trial, params,
        threshold, val_accuracy, test_accuracy, nonzeros, macs, physical_macs, parameters,
        structure, exactness, latency_ms, examples_per_second``), ``bytes`` of the weights' file,
        and ``sweep``.

    Raises:
        ArtifactError: The artefact is damaged or needs a factory.
        InputError: The factory or the data cannot be had.
    """
    path = Path(folder)
    architecture = read_artifact(path).architecture
    origin = architecture.origin
    torch.set_num_threads(_num_threads(origin))
    shrunk = models.load_artifact(path, factory=factory)
    masked = models.load_masked(path, factory=factory)
    example = torch.zeros((1, *architecture.input_shape))
    masks = masks_from_zeros(masked, ChannelGraph.trace(masked, example))
    networks = {"dense": masked, "shrunk": shrunk}
    return {
        "sweep": origin.get("sweep"),
        "trial": origin.get("trial"),
        "params": origin.get("params"),
        "threshold": origin.get("threshold"),
        **_accuracies(shrunk, _data(architecture, path, source), origin),
        "nonzeros": int(masks.nonzeros()),
        "macs": int(masks.macs()),
        "physical_macs": measure.physical_macs(shrunk, example),
        "parameters": measure.num_parameters(shrunk),
        "structure": measure.structure(masks),
        "exactness": exactness(masked, shrunk, architecture.input_shape),
        "latency_ms": measure_latency(networks, example),
        "examples_per_second": measure_throughput(networks, example),
        "bytes": (path / WEIGHTS).stat().st_size,
    }


def _num_threads(origin: dict[str, Any]) -> int:
    """Returns the threads of a trial, at most as many as there are cores."""
    cpus = origin.get("cpus", 1)
    if not isinstance(cpus, int | float) or not cpus >= 1:
        return 1
    return int(min(cpus, os.cpu_count() or 1))


def _accuracies(
    model: torch.nn.Module, data: Splits | None, origin: dict[str, Any]
) -> dict[str, float | None]:
    found: dict[str, float | None] = {"val_accuracy": None, "test_accuracy": None}
    if data is None:
        return found
    topk = 5 if origin.get("accuracy") == "top5" else 1
    # No validation data were ever set aside from a network that no sweep trained.
    splits = {"val_accuracy": data.validation} if "data" in origin else {}
    with torch.inference_mode():
        outputs = model(torch.zeros((1, *data.input_shape))).shape[1]
    for name, source in (splits | {"test_accuracy": data.test}).items():
        split = "test" if name == "test_accuracy" else "validation"
        batches = make_batches(source, torch.device("cpu"), cpus=1, name=split, outputs=outputs)
        found[name] = evaluate(model, batches, topk=topk)
    return found


def _data(architecture: Architecture, folder: Path, source: str | None) -> Splits | None:
    """Returns the data of the sweep an artefact came from, or of the caller's source.

    Raises:
        ArtifactError: What the artefact says of its data cannot be read.
        InputError: The source is not built in, and the caller did not name it: a file may not say
            what code to run; or its examples do not fit the network.
    """
    origin = architecture.origin
    seed, protocol = origin.get("seed", 0), origin.get("protocol", "honest")
    if "data" not in origin:
        if source is None:
            return None
        named, protocol = Data(source=source), "paper"  # which splits nothing off
    else:
        try:
            named = Data.model_validate(origin["data"])
        except ValidationError as error:
            raise ArtifactError(f"{folder}: origin.data is not a data section: {error}") from error
    if type(seed) is not int or not 0 <= seed < 2**31 or protocol not in ("honest", "paper"):
        raise ArtifactError(f"{folder}: origin has no valid seed and protocol")
    if source is None and named.source not in DATASETS:
        raise InputError(
            f"the artefact was measured on {named.source!r}, which is not built in: give the data "
            f"source yourself, --data {named.source}, if you trust it"
        )
    if source is not None and source != named.source:
        named = Data(source=source, validation=named.validation)
    data = load(named, seed=seed, protocol=protocol)
    if list(data.input_shape) != architecture.input_shape:
        raise InputError(
            f"the network takes examples of shape {architecture.input_shape}, those of "
            f"{named.source!r} have {list(data.input_shape)}. Give its own data with --data"
        )
    return data
