"""The dense network of a sweep: trained once, or loaded, and shared by its trials."""

from collections.abc import Iterator

from torch import nn

from hoyer_search import models, results
from hoyer_search.compression.weights import apply_weights
from hoyer_search.config import SweepConfig
from hoyer_search.datasets import Splits
from hoyer_search.results import Dense, Progress
from hoyer_search.store import SweepFolder
from hoyer_search.trial import stages
from hoyer_search.trial.journal import Journal
from hoyer_search.trial.measure import measure_dense
from hoyer_search.trial.workbench import Workbench, to_progress


def pretrain(folder: SweepFolder, config: SweepConfig, data: Splits) -> Iterator[Progress]:
    """Trains the dense network of a sweep, or loads the weights given, once.

    Afterwards ``folder.dense()`` is its record and ``folder.pretrained(key)`` holds its weights.

    Args:
        folder: The sweep's folder.
        config: The sweep's configuration; searched parameters are never read.
        data: The sweep's data.

    Yields:
        A step each epoch; nothing when weights are given or it was done before.

    Raises:
        TrialDiverged: The loss became NaN or infinite.
    """
    target = folder.pretrained(pretrain_key(config))
    if stages.load_stage(target) is not None:
        return
    bench = Workbench(config, data)
    attempt = stages.Attempt(target.parent)
    journal = Journal(target.parent / "metrics.jsonl")
    model = bench.model()
    checkpoints = bench.checkpoints(target.with_name(f"{target.name}.partial"))
    if config.model.weights is not None:
        apply_weights(model, models.load_trained(config.model.factory, config.model.weights))
    else:
        settings = config.pipeline.pretrain
        for epoch in bench.train(model, settings, stage="pretrain", checkpoints=checkpoints):
            progress = to_progress("pretrain", epoch, settings)
            bench.noted = False
            journal.add(progress)
            bench.noted = True
            yield progress
    dense = measure_dense(model, bench)
    stages.save_stage(
        target,
        attempt=attempt,
        model=model,
        info={},
        records={"dense.json": results.to_json(dense)},
    )
    checkpoints.clear()


def load_pretrained(
    folder: SweepFolder, config: SweepConfig, bench: Workbench
) -> tuple[Dense, nn.Module, str]:
    """Returns the dense network's record, the network on the trial's device, and its key.

    Raises:
        FileNotFoundError: It was not trained, or is damaged.
    """
    key = pretrain_key(config)
    output, dense = stages.load_stage(folder.pretrained(key)), folder.dense()
    if output is None or dense is None:
        raise FileNotFoundError(f"{folder.pretrained(key)}: pretrain the network first")
    model = bench.model()
    model.load_state_dict(output.weights)
    return dense, model, key


def pretrain_key(config: SweepConfig) -> str:
    """Returns the hash of all that the dense network depends on; no searched parameter does."""
    weights = config.model.weights
    return stages.stage_key(
        model=config.model.model_dump(),
        weights=None if weights is None else models.trained_id(config.model.factory, weights),
        data=config.data.model_dump(),
        training=None if weights else config.pipeline.pretrain.model_dump(),
        accuracy=config.objective.accuracy,
        protocol=config.protocol,
        seed=config.seed,
    )
