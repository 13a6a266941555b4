"""Small networks that between them use every operation the channel graph follows."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from hoyer_search.models import lenet_5, lenet_300_100


class BatchNormNet(nn.Module):
    """Convolutions with BatchNorm, a pool over all positions, and a flatten of several columns."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 5, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(5)
        self.conv2 = nn.Conv2d(5, 4, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 2)
        x = functional.adaptive_avg_pool2d(self.bn2(self.conv2(x)).relu(), 2)
        return self.fc(x.view(x.size(0), -1))


class ResidualNet(nn.Module):
    """Two residual blocks on one stem, so that channel spaces depend on one another."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.a1, self.a2 = nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.abn = nn.BatchNorm2d(6)
        self.b1, self.b2 = nn.Conv2d(6, 5, 1), nn.Conv2d(5, 6, 1, bias=False)
        self.fc = nn.Linear(6, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.stem(x)))
        x = self.relu(x + self.abn(self.a2(self.relu(self.a1(x)))))
        y = self.b2(self.relu(self.b1(x)))
        y += x
        return self.fc(y.mean(dim=(2, 3)))


class ConcatenatingNet(nn.Module):
    """Branches that are concatenated, normalised together and flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(2, 3, 3, padding=1)
        self.right = nn.Conv2d(2, 4, 1)
        self.bn = nn.BatchNorm2d(7)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(7 * 4, 5), nn.ReLU(), nn.Linear(5, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.left(x), self.right(x)], dim=1)
        return self.head(functional.adaptive_max_pool2d(self.bn(x), 2))


class ShiftingNet(nn.Module):
    """A sigmoid: dead filters give one half, so only unread channels may go."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 8), nn.Linear(8, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(x, 1)
        return self.fc3(functional.relu(self.fc2(torch.sigmoid(self.fc1(x)) * 2.0)))


class UnknownNet(nn.Module):
    """Operations that are not followed: a softmax over channels, a fixed view, groups."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.conv3 = nn.Conv2d(6, 4, 1)
        self.fc1, self.fc2 = nn.Linear(16, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.softmax(self.conv2(functional.relu(self.conv1(x))), 1)
        x = functional.adaptive_avg_pool2d(self.conv3(x), 2)
        return self.fc2(functional.relu(self.fc1(x.view(-1, 16))))


class Conv1dNet(nn.Module):
    """One-dimensional convolutions, dropout and a layer over the last dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(2, 6, 3), nn.Conv1d(6, 4, 3)
        self.bn = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.3)
        self.fc1, self.fc2 = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.shape
        x = torch.tanh(self.bn(self.conv1(x.reshape(b, c, -1))))
        x = functional.max_pool1d(self.drop(self.conv2(x)), 2).mean(-1)
        return self.fc2(functional.gelu(self.fc1(x)))


class UntraceableNet(nn.Module):
    """Control flow that depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(torch.flatten(x, 1))
        return self.fc2(x if x.sum() > 0 else functional.relu(x))


SMALL: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "batch_norm": (BatchNormNet, (2, 6, 6)),
    "residual": (ResidualNet, (2, 5, 5)),
    "concatenating": (ConcatenatingNet, (2, 5, 5)),
    "shifting": (ShiftingNet, (6,)),
    "unknown": (UnknownNet, (2, 5, 5)),
    "conv1d": (Conv1dNet, (2, 4, 4)),
    "untraceable": (UntraceableNet, (6,)),
}
LENETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lenet_300_100": (lenet_300_100, (1, 28, 28)),
    "lenet_5": (lenet_5, (1, 28, 28)),
}


def seeded(name: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """Returns a network with random weights, biases and statistics, and a batch of two."""
    factory, shape = (SMALL | LENETS)[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = factory()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
        return model, torch.randn(2, *shape)
