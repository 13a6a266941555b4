"""Trains the dense network once, before any trial starts: on the cluster, where it trains."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hoyer_search.config import SweepConfig
from hoyer_search.errors import TrialError
from hoyer_search.results import Progress
from hoyer_search.search.watchdog import Watchdog
from hoyer_search.store import SweepFolder

Pretrain = Callable[[SweepFolder, SweepConfig, Any], Iterable[Progress]]

MAX_LOST_WORKERS = 2
"""How often pretraining goes on after its worker or node was lost, or it hung."""

LOOK_SECONDS = 1.0
"""Time between two looks at whether it hangs."""

_NAME = "pretraining"


class _Hung(Exception):
    """Pretraining made no step for too long, and was killed."""


def pretrains_here(config: SweepConfig, *, address: str | None) -> bool:
    """Returns whether the driver makes the dense network's record itself, before Ray starts.

    It does where nothing is trained, since weights are given, and where its own cores are those of
    the trials. It has torch and the data already; a worker would load them first.
    """
    return config.model.weights is not None and address is None and config.resources.gpus == 0


def pretrain_remotely(
    pretrain: Pretrain,
    folder: SweepFolder,
    config: SweepConfig,
    data: ray.ObjectRef[Any],
    *,
    watchdog: Watchdog,
) -> Iterator[Progress]:
    """Yields the steps of pretraining, which runs on a node of the cluster.

    When its worker is lost, or hangs and is killed for it, it starts again, up to twice, and goes
    on from its checkpoint.

    Args:
        pretrain: Trains the dense network, step by step, unless that was done already.
        folder: The sweep, on storage that the driver and all nodes share.
        config: The sweep's configuration; pretraining gets the resources of a trial.
        data: Reference of the data in the object store.
        watchdog: Says when it hangs; it learns from the steps.

    Raises:
        Exception: What ``pretrain`` raised.
        TrialError: Its worker was lost, or it hung, the third time.
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
            yield from _watched(task.remote(pretrain, folder, config, data), watchdog)
            return
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except (ray.exceptions.RayError, _Hung) as error:
            if lost == MAX_LOST_WORKERS:
                raise TrialError(
                    f"pretraining was given up, its worker lost {lost + 1} times: {error}"
                ) from error


def _watched(steps: Any, watchdog: Watchdog) -> Iterator[Progress]:
    """Yields the steps of a task; one that hangs is killed, and ``_Hung`` raised."""
    try:
        node, process = ray.get(next(steps))  # when there is a node for it
        watchdog.stepped(_NAME)
        while True:
            ready, _ = ray.wait([steps], timeout=LOOK_SECONDS)
            if ready:
                step: Progress = ray.get(next(steps))
                watchdog.stepped(_NAME)
                watchdog.learn(step)
                yield step
            for _, seconds in watchdog.look([_NAME]):
                there = NodeAffinitySchedulingStrategy(node, soft=False)
                ray.remote(_kill).options(num_cpus=0, scheduling_strategy=there).remote(process)
                raise _Hung(f"no step for {seconds:.0f} s (resources.hang_minutes)")
    except StopIteration:
        return
    finally:
        watchdog.left(_NAME)


def _run(
    pretrain: Pretrain, folder: SweepFolder, config: SweepConfig, data: Any
) -> Iterator[tuple[str, int] | Progress]:
    yield ray.get_runtime_context().get_node_id(), os.getpid()
    yield from pretrain(folder, config, data)


def _kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
