"""The networks that shrinking is tested with, and groups of them made zero."""

import copy
from functools import cache

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hoyer_search.models import build

# Names, and two sizes of images that each network takes.
SIZES: dict[str, list[tuple[int, ...]]] = {
    "lenet_300_100": [(1, 28, 28), (784,)],
    "lenet_5": [(1, 28, 28)],
    "resnet20": [(3, 32, 32), (3, 24, 24)],
    "alexnet": [(3, 227, 227)],
    "resnet50": [(3, 64, 64), (3, 48, 48)],
    "vgg16_bn": [(3, 64, 64), (3, 32, 32)],
    "densenet121": [(3, 64, 64), (3, 32, 32)],
    "mobilenet_v2": [(3, 64, 64), (3, 48, 48)],
    "efficientnet_b0": [(3, 64, 64), (3, 48, 48)],
}
BIG = {"alexnet", "resnet50", "vgg16_bn", "densenet121"}


def trained(name: str) -> nn.Module:
    """Returns a network whose normalisation looks as if it had been trained."""
    model = copy.deepcopy(_made(name))
    torch.manual_seed(1)  # what a test draws next is the same, whether it was made now or before
    return model


@cache  # random numbers for 138 million weights take longer than a copy
def _made(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = build(name, {}).eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model
