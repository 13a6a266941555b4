"""Which channels are the same constant at every position, whatever the network is given."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.flow import Combine, Concat, Map, Mix, Pick, Scale, Source
from hoyer_search.compression.layers import TRANSPOSED_TYPES, to_blocks
from hoyer_search.compression.propagation import Reach


@torch.no_grad()
def constants(model: nn.Module, graph: ChannelGraph, reached: Reach) -> dict[int, Tensor]:
    """Returns the constants that flow through a network in evaluation mode.

    A filter of zeros makes a channel of its bias, BatchNorm shifts it, an activation bends it, and
    a ReLU may make a zero of it after all. A constant other than zero that runs into a padded
    convolution gives something else at the borders, and is none behind it.

    Args:
        model: The network.
        graph: Its channel graph.
        reached: What ``propagation.reach`` returns of its weights.

    Returns:
        Values by tensor, float64 of shape (n,); NaN where a channel varies.
    """
    values: dict[int, Tensor] = {}
    for step in graph.flow:
        match step:
            case Source():
                device = graph.lasting[step.out].device
                values[step.out] = torch.full(
                    (step.size,), torch.nan, dtype=torch.float64, device=device
                )
            case Mix():
                values[step.out] = _mixed(model, graph, step, values, reached)
            case Scale():
                values[step.out] = _scaled(model.get_submodule(step.norm), values[step.source])
            case Map():
                values[step.out] = _mapped(step, values[step.source])
            case Combine():
                left, right = values[step.left], values[step.right]
                varies = left.isnan() | right.isnan()
                values[step.out] = step.function(left, right).where(~varies, torch.nan)
                if step.product:
                    zero = (left == 0) | (right == 0)
                    values[step.out] = values[step.out].where(~zero, 0.0)
            case Concat():
                values[step.out] = torch.cat([values[source] for source in step.sources])
            case Pick():
                values[step.out] = values[step.source][step.index]
    return values


def _mixed(
    model: nn.Module,
    graph: ChannelGraph,
    step: Mix,
    values: Mapping[int, Tensor],
    reached: Reach,
) -> Tensor:
    """Returns the constants that a layer makes of those that it reads."""
    module, layer = model.get_submodule(step.layer), graph.layers[step.layer]
    weights = reached[step.layer]
    still = weights.new_zeros(weights.shape[0] * weights.shape[1], dtype=torch.float64)
    if (bias := getattr(module, "bias", None)) is not None:
        still = bias.double()
    if step.source is None:
        return still.where(~weights.any(2).flatten(), torch.nan)
    inputs = values[step.source].reshape(len(weights), -1)
    unknown = inputs.isnan() | ((inputs != 0) & _uneven(module))
    varies = (weights & unknown.unsqueeze(1)).any(2).flatten()
    if bool(((inputs != 0) & ~unknown).any()):
        blocks = to_blocks(
            module.get_parameter("weight"), groups=layer.groups, transposed=layer.transposed
        )
        known = inputs.where(~unknown, 0.0).unsqueeze(2)
        still = still + (blocks.double().sum(3) @ known).flatten()
    return still.where(~varies, torch.nan)


def _uneven(module: nn.Module) -> bool:
    """Returns whether a layer's outputs at the borders lack some of its inputs."""
    if isinstance(module, TRANSPOSED_TYPES):
        return True
    padding = getattr(module, "padding", 0)
    size = 0 if padding == "valid" else padding
    none = not any(size) if isinstance(size, tuple) else size == 0
    return not none and getattr(module, "padding_mode", "zeros") == "zeros"


def _scaled(module: nn.Module, inputs: Tensor) -> Tensor:
    assert isinstance(module, _BatchNorm)
    if module.running_mean is None or module.running_var is None:
        return torch.full_like(inputs, torch.nan)  # normalised by each batch, in evaluation too
    scale = (module.running_var.double() + module.eps).rsqrt()
    shift = -module.running_mean.double() * scale
    if module.affine:
        scale, shift = scale * module.weight.double(), shift * module.weight.double()
        shift = shift + module.bias.double()
    return (inputs * scale + shift).where(scale != 0, shift)


def _mapped(step: Map, inputs: Tensor) -> Tensor:
    outputs = torch.full_like(inputs, torch.nan)
    if step.function is not None:
        outputs = step.function(inputs).where(~inputs.isnan(), torch.nan)
    return outputs.where(inputs != 0, 0.0) if step.keeps_zero else outputs
