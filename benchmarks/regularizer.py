"""Time of a regularizer's gradient over a network: ours against autograd of the formula.

    python benchmarks/regularizer.py

One thread. Every variant adds its gradient to the weights' ``.grad``. Variants take turns, and the
fastest of their rounds counts, so that other load on the machine hurts all alike. The error is
the largest over layers of max |gradient - exact| / max |exact|, exact being autograd in float64.
Hoyer-Square has compiled kernels, for long trainings of large networks; Group-HS gains nothing by
them.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from hoyer_search.hoyer import _compiled, add_gradients_, make_regularizer

DECAY = 2e-4


def hoyer_square(weight: Tensor) -> Tensor:
    """The formula of the DeepHoyer authors' training scripts."""
    return torch.sum(torch.abs(weight)) ** 2 / torch.sum(weight**2)


def group_hs(weight: Tensor) -> Tensor:
    """Group-HS over filters and channels, squared thrice as in the authors' training scripts."""
    filters = torch.sum(torch.sqrt(torch.sum(weight**2, tuple(range(1, weight.dim())))))
    channels = torch.sum(torch.sqrt(torch.sum(weight**2, (0, *range(2, weight.dim())))))
    return (channels**2 + filters**2) / torch.sum(weight**2)


FORMULAS = {"hoyer_square": hoyer_square, "group_hs": group_hs}


def lenet_300_100() -> list[nn.Parameter]:
    return [nn.Linear(*sizes).weight for sizes in ((784, 300), (300, 100), (100, 10))]


def resnet_50() -> list[nn.Parameter]:
    return [m.weight for m in resnet50().modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def with_autograd(formula: Callable[[Tensor], Tensor], weights: Sequence[Tensor]) -> None:
    total = torch.zeros((), dtype=weights[0].dtype)
    for weight in weights:
        total = total + formula(weight)
    (DECAY * total).backward()


def fastest(variants: Sequence[Callable[[], object]], *, rounds: int) -> list[float]:
    """Returns each variant's shortest seconds over interleaved rounds, the first unmeasured."""
    seconds = [float("inf")] * len(variants)
    for number in range(rounds + 1):
        for index, variant in enumerate(variants):
            start = time.perf_counter()
            variant()
            if number:
                seconds[index] = min(seconds[index], time.perf_counter() - start)
    return seconds


def gradients(weights: Sequence[nn.Parameter], add: Callable[[], object]) -> list[Tensor]:
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    add()
    return [weight.grad.double() for weight in weights if weight.grad is not None]


def error(actual: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    pairs = zip(actual, exact, strict=True)
    return max(float((a - e).abs().max() / e.abs().max()) for a, e in pairs)


def compare(name: str, weights: Sequence[nn.Parameter], *, rounds: int) -> list[str]:
    """Returns the lines of the table for one regularizer of one network."""
    formula = FORMULAS[name]

    def theirs() -> None:
        with_autograd(formula, weights)

    def ours(*, compiled: bool) -> None:
        add_gradients_(make_regularizer(name, compiled=compiled), weights, decay=DECAY)

    variants = [theirs, partial(ours, compiled=False)]
    if name == "hoyer_square" and sum(w.numel() for w in weights) > 1e6:
        variants.append(partial(ours, compiled=True))
    double = [nn.Parameter(weight.detach().double()) for weight in weights]
    exact = gradients(double, lambda: with_autograd(formula, double))
    errors = [error(gradients(weights, add), exact) for add in variants]
    seconds = fastest(variants, rounds=rounds)
    ways = zip(("autograd", "eager", "compiled"), seconds, errors, strict=False)
    return [
        f"{way:10}{time * 1e3:>10.2f}{seconds[0] / time:>8.2f}x{wrong:>10.1e}"
        for way, time, wrong in ways
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="rounds on ResNet-50 (default 20)")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.perf_counter()
    compiled = _compiled.available()
    print(f"torch {torch.__version__}, one thread", end="; ")
    print(f"kernel compiled in {time.perf_counter() - start:.1f} s" if compiled else "no compiler")
    print(f"{'network':15}{'regularizer':14}{'way':10}{'ms':>10}{'faster':>9}{'error':>10}")
    networks = (("LeNet-300-100", lenet_300_100(), 25 * rounds), ("ResNet-50", resnet_50(), rounds))
    for network, weights, network_rounds in networks:
        for name in FORMULAS:
            for line in compare(name, weights, rounds=network_rounds):
                print(f"{network:15}{name:14}{line}", flush=True)


if __name__ == "__main__":
    main()
