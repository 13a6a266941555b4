"""Trains the dense network once, before any trial starts: on the cluster, where it trains."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ray

from hoyer_search.config import SweepConfig
from hoyer_search.results import Progress
from hoyer_search.store import SweepFolder

Pretrain = Callable[[SweepFolder, SweepConfig, Any], Iterable[Progress]]

MAX_LOST_WORKERS = 2
"""How often pretraining goes on after its worker or node was lost."""


def pretrains_here(config: SweepConfig, *, address: str | None) -> bool:
    """Returns whether the driver makes the dense network's record itself, before Ray starts.

    It does where nothing is trained, since weights are given, and where its own cores are those of
    the trials. It has torch and the data already; a worker would load them first.
    """
    return config.model.weights is not None and address is None and config.resources.gpus == 0


def pretrain_remotely(
    pretrain: Pretrain, folder: SweepFolder, config: SweepConfig, data: ray.ObjectRef[Any]
) -> Iterator[Progress]:
    """Yields the steps of pretraining, which runs on a node of the cluster.

    When its worker is lost it starts again, up to twice, and goes on from its checkpoint.

    Args:
        pretrain: Trains the dense network, step by step, unless that was done already.
        folder: The sweep, on storage that the driver and all nodes share.
        config: The sweep's configuration; pretraining gets the resources of a trial.
        data: Reference of the data in the object store.

    Raises:
        Exception: What ``pretrain`` raised.
        ray.exceptions.RayError: Its worker was lost three times.
    """
    task = ray.remote(_run).options(
        num_cpus=config.resources.cpus,
        num_gpus=config.resources.gpus,
        resources=config.resources.custom,
        num_returns="streaming",
        max_retries=0,
    )
    for lost in range(MAX_LOST_WORKERS + 1):
        try:
            steps: Any = task.remote(pretrain, folder, config, data)
            for step in steps:
                yield ray.get(step)
            return
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError:
            if lost == MAX_LOST_WORKERS:
                raise


def _run(
    pretrain: Pretrain, folder: SweepFolder, config: SweepConfig, data: Any
) -> Iterator[Progress]:
    yield from pretrain(folder, config, data)
