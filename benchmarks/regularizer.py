"""Time of a regularizer's gradient over a network: ours against autograd of the formula.

    python benchmarks/regularizer.py

One thread. Every variant adds its gradient to the weights' ``.grad``. Variants take turns, and the
fastest of their rounds counts, so that other load on the machine hurts all alike. The error is
the largest over layers of max |gradient - exact| / max |exact|, exact being autograd in float64.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from hoyer_search.hoyer import add_gradients_, make_regularizer

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


def compare(name: str, weights: Sequence[nn.Parameter], *, rounds: int) -> str:
    """Returns one line of the table."""
    formula, regularizer = FORMULAS[name], make_regularizer(name)

    def theirs() -> None:
        with_autograd(formula, weights)

    def ours() -> None:
        add_gradients_(regularizer, weights, decay=DECAY)

    double = [nn.Parameter(weight.detach().double()) for weight in weights]
    exact = gradients(double, lambda: with_autograd(formula, double))
    errors = [error(gradients(weights, add), exact) for add in (theirs, ours)]
    slow, fast = fastest([theirs, ours], rounds=rounds)
    return (
        f"{slow * 1e3:10.2f}  {fast * 1e3:8.2f}  {slow / fast:5.2f}x"
        f"  {errors[0]:14.1e}  {errors[1]:10.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="rounds on ResNet-50 (default 20)")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, one thread, times in ms")
    print(
        f"{'network':14}{'regularizer':14}{'autograd':>10}{'ours':>10}{'ratio':>8}"
        f"{'autograd error':>16}{'our error':>12}"
    )
    networks = (("LeNet-300-100", lenet_300_100(), 25 * rounds), ("ResNet-50", resnet_50(), rounds))
    for network, weights, network_rounds in networks:
        for name in FORMULAS:
            line = compare(name, weights, rounds=network_rounds)
            print(f"{network:14}{name:14}{line}", flush=True)


if __name__ == "__main__":
    main()
