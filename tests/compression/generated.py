"""Random networks that torch.fx can trace, and random zeros in them."""

import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

CHANNELS = (2, 3, 4, 6)
STEPS = (
    "conv", "conv", "conv", "grouped", "depthwise", "transposed", "norm", "relu", "act", "shared",
    "add", "add", "multiply", "gate", "concat", "chunk", "slice", "pool", "unknown",
)  # fmt: skip


class Generated(nn.Module):
    """Runs a list of steps over a growing list of images of equal size."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.layers = nn.ModuleList()
        self.steps: list[tuple[Any, ...]] = []
        self.widths = [3]
        self.callable: list[tuple[int, int, int]] = []  # layer, width read, width made
        for _ in range(self.random.randint(3, 9)):
            getattr(self, f"_{self.random.choice(STEPS)}")()
        self.flat = self.random.random() < 0.5
        features = self.widths[-1] * (4 if self.flat else 1)
        self.hidden = nn.Linear(features, 5)
        self.last = nn.Linear(5, 3)

    def forward(self, image: Tensor) -> Tensor:
        images = [image]
        for kind, sources, argument in self.steps:
            images.append(self._run(kind, [images[s] for s in sources], argument))
        x = functional.adaptive_avg_pool2d(images[-1], 2 if self.flat else 1)
        return self.last(functional.relu(self.hidden(torch.flatten(x, 1))))

    def _run(self, kind: str, given: list[Tensor], argument: Any) -> Tensor:
        x = given[0]
        if kind == "call":
            return self.layers[argument](x)
        if kind == "act":
            return argument(x)
        if kind == "add":
            return x + given[1]
        if kind == "multiply":
            return x * given[1]
        if kind == "concat":
            return torch.cat(given, dim=1)
        if kind == "chunk":
            return torch.chunk(x, 2, dim=1)[argument]
        if kind == "slice":
            return x[:, argument]
        if kind == "gate":
            squeezed = functional.adaptive_avg_pool2d(x, 1)
            inner = functional.relu(self.layers[argument](squeezed))
            return x * torch.sigmoid(self.layers[argument + 1](inner))
        return torch.softmax(x, dim=1)

    # Steps, each of which appends an image

    def _pick(self) -> int:
        last = len(self.widths) - 1
        return last if self.random.random() < 0.7 else self.random.randint(0, last)

    def _step(self, kind: str, sources: list[int], argument: Any, width: int) -> None:
        self.steps.append((kind, sources, argument))
        self.widths.append(width)

    def _call(self, layer: nn.Module, source: int, width: int) -> None:
        self.layers.append(layer)
        self._step("call", [source], len(self.layers) - 1, width)

    def _conv(self) -> None:
        source, width = self._pick(), self.random.choice(CHANNELS)
        kernel, bias = self.random.choice((1, 3)), self.random.random() < 0.5
        layer = nn.Conv2d(self.widths[source], width, kernel, padding=kernel // 2, bias=bias)
        self.callable.append((len(self.layers), self.widths[source], width))
        self._call(layer, source, width)

    def _grouped(self) -> None:
        source = self._pick()
        groups = next((g for g in (3, 2) if self.widths[source] % g == 0), 1)
        width = groups * self.random.randint(1, 3)
        layer = nn.Conv2d(self.widths[source], width, 3, padding=1, groups=groups)
        self._call(layer, source, width)

    def _depthwise(self) -> None:
        source = self._pick()
        width = self.widths[source] * self.random.choice((1, 1, 2))
        layer = nn.Conv2d(
            self.widths[source], width, 3, padding=1, groups=self.widths[source],
            bias=self.random.random() < 0.5,
        )  # fmt: skip
        self._call(layer, source, width)

    def _transposed(self) -> None:
        source = self._pick()
        groups = 2 if self.widths[source] % 2 == 0 and self.random.random() < 0.5 else 1
        width = groups * self.random.randint(1, 3)
        layer = nn.ConvTranspose2d(self.widths[source], width, 3, padding=1, groups=groups)
        self._call(layer, source, width)

    def _norm(self) -> None:
        source = self._pick()
        affine = self.random.random() < 0.8
        layer = nn.BatchNorm2d(self.widths[source], affine=affine)
        self._call(layer, source, self.widths[source])

    def _relu(self) -> None:
        self._step("act", [len(self.widths) - 1], functional.relu, self.widths[-1])

    def _act(self) -> None:
        source = self._pick()
        function = self.random.choice((torch.sigmoid, functional.gelu, torch.tanh))
        self._step("act", [source], function, self.widths[source])

    def _pool(self) -> None:
        source = self._pick()
        layer = self.random.choice((nn.MaxPool2d, nn.AvgPool2d))(3, stride=1, padding=1)
        self._call(layer, source, self.widths[source])

    def _shared(self) -> None:
        found = [
            (layer, source, made)
            for layer, read, made in self.callable
            for source, width in enumerate(self.widths)
            if width == read
        ]
        if not found:
            return self._conv()
        layer, source, made = self.random.choice(found)
        return self._step("call", [source], layer, made)

    def _pair(self, kind: str) -> None:
        left = len(self.widths) - 1
        right = self.random.choice([i for i, w in enumerate(self.widths) if w == self.widths[left]])
        self._step(kind, [left, right], None, self.widths[left])

    def _add(self) -> None:
        self._pair("add")

    def _multiply(self) -> None:
        self._pair("multiply")

    def _gate(self) -> None:
        width = self.widths[-1]
        self.layers.extend([nn.Conv2d(width, 2, 1), nn.Conv2d(2, width, 1)])
        self._step("gate", [len(self.widths) - 1], len(self.layers) - 2, width)

    def _concat(self) -> None:
        sources = [self._pick() for _ in range(self.random.choice((2, 3)))]
        self._step("concat", sources, None, sum(self.widths[s] for s in sources))

    def _chunk(self) -> None:
        source = self._pick()
        if self.widths[source] % 2:
            return self._conv()
        return self._step("chunk", [source], self.random.choice((0, 1)), self.widths[source] // 2)

    def _slice(self) -> None:
        source = self._pick()
        start = self.random.choice((None, 1)) if self.widths[source] > 1 else None
        stop = self.random.choice((None, 2, self.widths[source]))
        width = len(range(self.widths[source])[start:stop])
        self._step("slice", [source], slice(start, stop), width)

    def _unknown(self) -> None:
        self._step("softmax", [len(self.widths) - 1], None, self.widths[-1])


def generated(seed: int, density: float) -> nn.Module:
    """Returns a random network with random zeros: filters, channels, weights, biases and norms.

    A zero filter may keep its bias and its normalisation: a constant that must be carried.
    """
    torch.manual_seed(seed)
    model = Generated(seed).eval()
    fold = model.random.random() < 0.5
    with torch.no_grad():
        for module in model.modules():
            weight = getattr(module, "weight", None)
            if isinstance(module, _BatchNorm):
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
                if weight is not None:
                    alive = torch.rand(len(weight)) < density
                    module.weight.copy_(torch.randn(len(weight)) * alive)
                    module.bias.copy_(torch.randn(len(weight)) * (alive if fold else 1))
            elif weight is not None:
                for shape in ((len(weight), 1), (1, weight.shape[1]), weight.shape[:2]):
                    keep = torch.rand(shape) < density
                    weight *= keep.reshape(*shape, *(1,) * (weight.ndim - 2))
                if module.bias is not None and len(module.bias) == len(weight) and fold:
                    module.bias *= weight.flatten(1).any(1)
    return model
