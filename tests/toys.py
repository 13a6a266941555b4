"""Small networks and data for tests, named by import path as a user's own are."""

import torch
from torch import Tensor, nn

from hoyer_search.datasets import Data


def blobs(examples: int = 600, classes: int = 4, noise: float = 1.0) -> Data:
    """Returns images of shape (1, 6, 6): a pattern of each class, and noise."""
    generator = torch.Generator().manual_seed(7)
    patterns = torch.randn(classes, 1, 6, 6, generator=generator)

    def draw(number: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(classes, (number,), generator=generator)
        return patterns[labels] + noise * torch.randn(number, 1, 6, 6, generator=generator), labels

    return Data(train=draw(examples), test=draw(examples // 2), mean=[0.0], std=[1.0])


def mlp(width: int = 16) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(36, width),
        nn.ReLU(),
        nn.Linear(width, 8),
        nn.ReLU(),
        nn.Linear(8, 4),
    )


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(8, 4),
    )


def tied() -> nn.Module:
    """Returns a network with one layer under two names, and one weight in two layers."""
    layer, first, second = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
    second.weight = first.weight
    middle = (part for one in (layer, layer, first, second) for part in (one, nn.ReLU()))
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), *middle, nn.Linear(16, 4))


def normalized() -> nn.Module:
    """Returns a network that cannot be trained with a batch of one."""
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))


def diverging() -> nn.Module:
    """Returns a network whose outputs soon become infinite."""

    class Exploding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(36, 4)

        def forward(self, x: Tensor) -> Tensor:
            out = self.fc(x.flatten(1))
            return out * torch.inf if self.training else out

    return Exploding()


def emptied() -> nn.Module:
    """Returns a network whose weights are zero, and stay so: no gradient passes them."""
    model = mlp()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def volumes() -> nn.Module:
    """Returns a network that makes volumes of images."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.Unflatten(1, (1, 4)),
        nn.Conv3d(1, 3, 3),
        nn.Flatten(),
        nn.Linear(24, 4),
    )


def branching() -> nn.Module:
    """Returns a network whose path depends on its values: torch.fx cannot trace it."""

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(36, 4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.fc(x.flatten(1))
            return out if out.sum() > 0 else out * 2

    return Branching()


def no_layers() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.ReLU())


def weight_normed() -> nn.Module:
    first = nn.utils.parametrizations.weight_norm(nn.Linear(36, 8))
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(8, 4))


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(4))


def nothing() -> None:
    return None


SPACE = """\
name: toy
model: {factory: "toys:mlp"}
data: {source: "toys:blobs", validation: 200}
regularizer: {name: hoyer_square}
pipeline:
  pretrain: {epochs: 3, lr: 1.0e-2, batch_size: 50}
  regularize: {epochs: 4, lr: 1.0e-2, batch_size: 50}
  curve: {points: 12}
  finetune: {epochs: 2, lr: 1.0e-2, batch_size: 50, max_points: 2}
  checkpoint_minutes: 1.0e-9
search:
  decay: {low: 1.0e-4, high: 1.0e-1, log: true}
objective: {points: {A: 0.0, B: 0.05, C: 0.3}}
budget: {trials: 3}
resources: {cpus: 1, workers: 2}
"""
