"""How long networks take to run."""

import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from hoyer_search.compression.channels import evaluating

MIN_ROUNDS, MAX_ROUNDS = 5, 200
THROUGHPUT_BATCH = 16


def measure_latency(
    models: Mapping[str, nn.Module], example_input: Tensor, *, seconds: float = 1.0
) -> dict[str, float]:
    """Returns the median time of one batch, in milliseconds, by name.

    The networks take turns, so that what else the machine does falls on all of them alike; each
    runs twice first to warm up. CUDA devices are waited for. Times are wall-clock, in evaluation
    and inference mode, with the number of threads in force.

    Args:
        models: Networks by name.
        example_input: The batch; it is moved to each network's device.
        seconds: Time limit for all of it, kept unless five rounds take longer.
    """
    inputs = {name: example_input.to(_device(model)) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    deadline = time.perf_counter() + seconds
    with torch.inference_mode(), ExitStack() as stack:
        for model in models.values():
            stack.enter_context(evaluating(model))
        for name, model in models.items():
            _run(model, inputs[name])
            _run(model, inputs[name])
        for turn in range(MAX_ROUNDS):
            if turn >= MIN_ROUNDS and time.perf_counter() >= deadline:
                break
            for name, model in models.items():
                times[name].append(_run(model, inputs[name]))
    return {name: statistics.median(runs) * 1e3 for name, runs in times.items()}


def measure_throughput(
    models: Mapping[str, nn.Module], example_input: Tensor, *, seconds: float = 1.0
) -> dict[str, float]:
    """Returns the examples a second in batches of ``THROUGHPUT_BATCH``, by name.

    Taken as ``measure_latency`` takes its medians.

    Args:
        models: Networks by name.
        example_input: One example or more, shape (N, ...); the first is repeated.
        seconds: Time limit for all of it, kept unless five rounds take longer.
    """
    batch = example_input[:1].repeat(THROUGHPUT_BATCH, *[1] * (example_input.ndim - 1))
    medians = measure_latency(models, batch, seconds=seconds)
    return {name: THROUGHPUT_BATCH / milliseconds * 1e3 for name, milliseconds in medians.items()}


def _run(model: nn.Module, batch: Tensor) -> float:
    """Returns the seconds of one forward pass."""
    _wait(batch.device)
    start = time.perf_counter()
    model(batch)
    _wait(batch.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
