"""Cost of a training step of LeNet-300-100 on MNIST: plain, with ours, and as the authors do it.

    python benchmarks/step_cost.py

One thread, batch 100, fused Adam, Hoyer-Square on all weights. The ways take turns in one run, a
slice of an epoch each, so that whatever else the machine does falls on all of them; the median of
the slices is scaled to an epoch of 600 steps.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from hoyer_search import models
from hoyer_search.config import Training
from hoyer_search.datasets import mnist
from hoyer_search.datasets.splits import Examples, to_source
from hoyer_search.hoyer import make_regularizer
from hoyer_search.trial.batches import TensorBatches
from hoyer_search.trial.training import Penalty, make_optimizer, train_epoch

SETTINGS = Training(epochs=1, schedule="constant")
DECAY, EPOCH_STEPS = 2e-4, 600


class Images(torchvision.datasets.VisionDataset):
    """MNIST as torchvision serves it: PIL image, ToTensor and Normalize for every example."""

    def __init__(self, examples: Examples) -> None:
        self.images = [
            torchvision.transforms.functional.to_pil_image((x * 0.3081 + 0.1307).clip(0, 1)[0])
            for x in examples.inputs
        ]
        self.labels = examples.labels
        self.transform = torchvision.transforms.Compose(
            [
                torchvision.transforms.ToTensor(),
                torchvision.transforms.Normalize((0.1307,), (0.3081,)),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


Batches = Iterator[tuple[Tensor, Tensor]]


def endless(make: Callable[[int], Batches]) -> Batches:
    """Yields batches epoch after epoch."""
    return itertools.chain.from_iterable(make(epoch) for epoch in itertools.count())


def ours(batches: Batches, *, decay: float) -> Callable[[int], None]:
    model = models.build("lenet_300_100", {})
    optimizer = make_optimizer(model, SETTINGS)
    weights = [layer.weight for layer in (model.fc1, model.fc2, model.fc3)]
    penalty = Penalty(make_regularizer("hoyer_square"), weights, [1.0] * 3, decay)

    def steps(number: int) -> None:
        train_epoch(
            model,
            optimizer,
            itertools.islice(batches, number),
            first_step=0,
            total_steps=EPOCH_STEPS,
            settings=SETTINGS,
            penalty=penalty if decay else None,
        )

    return steps


def authors(batches: Batches) -> Callable[[int], None]:
    """The loop of the authors' scripts: every parameter regularized, through autograd."""
    model = models.build("lenet_300_100", {})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def steps(number: int) -> None:
        model.train()
        for inputs, labels in itertools.islice(batches, number):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), labels)
            penalty = 0.0
            for parameter in model.parameters():
                penalty += (parameter.abs().sum() ** 2) / (parameter**2).sum()
            (loss + DECAY * penalty).backward()
            optimizer.step()

    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=100, help="steps of a slice")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    examples = to_source(mnist().train, name="train")
    memory = TensorBatches(examples, torch.device("cpu"))

    def from_memory() -> Batches:
        return endless(lambda epoch: memory.shuffled(100, seed=epoch))

    loader = DataLoader(Images(examples), batch_size=100, shuffle=True)
    ways = {
        "plain epoch": ours(from_memory(), decay=0.0),
        "ours, Hoyer-Square": ours(from_memory(), decay=DECAY),
        "authors' formula, in memory": authors(from_memory()),
        "authors' formula, Dataset and DataLoader": authors(endless(lambda _: iter(loader))),
    }
    slices: dict[str, list[float]] = {name: [] for name in ways}
    for steps in ways.values():
        steps(20)  # warm up
    for _ in range(arguments.rounds):
        for name, steps in ways.items():
            start = time.perf_counter()
            steps(arguments.steps)
            slices[name].append(time.perf_counter() - start)
    seconds = {n: statistics.median(t) * EPOCH_STEPS / arguments.steps for n, t in slices.items()}
    if arguments.json:
        print(json.dumps(seconds))
        return
    plain, regularized = seconds["plain epoch"], seconds["ours, Hoyer-Square"]
    title = "one epoch of LeNet-300-100, one thread"
    print(f"{title:<44}{'seconds':>8}{'x plain':>9}{'x ours':>9}")
    for name, value in seconds.items():
        print(f"{name:<44}{value:>8.2f}{value / plain:>9.2f}{value / regularized:>9.2f}")


if __name__ == "__main__":
    main()
