"""Which layers of a network are prunable."""

from typing import TypeAlias

from torch import nn

PrunableLayer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
PRUNABLE_TYPES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def prunable_layers(model: nn.Module) -> dict[str, PrunableLayer]:
    """Returns the layers whose weights may be pruned, by module name, in the model's order.

    These are linear layers and convolutions; biases and normalisation are not counted, as in the
    paper. A module or a weight that is used under several names appears once, under the first. A
    layer whose weight is computed (a parametrization) has no weight of its own and is left out.
    """
    layers: dict[str, PrunableLayer] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        if not isinstance(module, PRUNABLE_TYPES) or module._parameters.get("weight") is None:
            continue
        if id(module.weight) not in seen:
            seen.add(id(module.weight))
            layers[name] = module
    return layers


def parameter_name(module: str, parameter: str) -> str:
    """Returns a parameter's full name; the root module's own name is empty."""
    return f"{module}.{parameter}" if module else parameter
