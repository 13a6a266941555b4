"""The operations whose effect on channels is known, by what they do to them."""

import operator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

# fmt: off
# Channel by channel, and zero stays zero.
KEEPING_MODULES: tuple[type[nn.Module], ...] = (
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU,
    nn.Mish, nn.Tanh, nn.Hardswish, nn.Softsign, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
)
KEEPING_FUNCTIONS: set[Any] = {
    functional.relu, functional.relu_, torch.relu, torch.relu_, functional.relu6,
    functional.leaky_relu, functional.elu, functional.selu, functional.celu, functional.gelu,
    functional.silu, functional.mish, functional.tanh, torch.tanh, functional.hardswish,
    functional.softsign, functional.dropout, functional.dropout1d, functional.dropout2d,
    functional.dropout3d, operator.neg, torch.abs, "relu", "relu_", "tanh", "tanh_", "abs",
    "contiguous", "clone", "detach", torch.clone,
}
# Channel by channel, but zero becomes something else.
SHIFTING_MODULES: tuple[type[nn.Module], ...] = (
    nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.LogSigmoid,
)
SHIFTING_FUNCTIONS: set[Any] = {
    functional.sigmoid, torch.sigmoid, functional.hardsigmoid, functional.softplus,
    functional.logsigmoid, torch.exp, "sigmoid", "exp",
}
# Over positions within a channel; zeros stay zeros.
POOLING_MODULES: tuple[type[nn.Module], ...] = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)
POOLING_FUNCTIONS: set[Any] = {
    functional.max_pool1d, functional.max_pool2d, functional.max_pool3d, functional.avg_pool1d,
    functional.avg_pool2d, functional.avg_pool3d, functional.adaptive_avg_pool1d,
    functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d, functional.adaptive_max_pool1d,
    functional.adaptive_max_pool2d, functional.adaptive_max_pool3d,
}
SUMS: set[Any] = {
    operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub, "add", "add_",
    "sub", "sub_",
}
PRODUCTS: set[Any] = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}
QUOTIENTS: set[Any] = {operator.truediv, torch.div, "div", "div_"}
CONCATENATIONS: set[Any] = {torch.cat, torch.concat, torch.concatenate}
FLATTENS: set[Any] = {torch.flatten, "flatten"}
MEANS: set[Any] = {torch.mean, "mean"}
VIEWS: set[Any] = {torch.reshape, "view", "reshape"}


ARITHMETIC: set[Any] = SUMS | PRODUCTS | QUOTIENTS
IN_PLACE: set[Any] = {operator.iadd, operator.isub, operator.imul}
PERMUTATIONS: set[Any] = {torch.permute, "permute"}
CHUNKS: set[Any] = {torch.chunk, "chunk"}
ITEMS: set[Any] = {operator.getitem}
SIZES: set[Any] = {getattr, "size"}
# fmt: on
