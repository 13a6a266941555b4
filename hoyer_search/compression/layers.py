"""Which layers of a network are prunable, and where their weights hold filters and channels."""

import fnmatch
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TypeAlias

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hoyer_search.errors import ConfigError

PrunableLayer: TypeAlias = (
    nn.Linear
    | nn.Conv1d
    | nn.Conv2d
    | nn.Conv3d
    | nn.ConvTranspose1d
    | nn.ConvTranspose2d
    | nn.ConvTranspose3d
)
TRANSPOSED_TYPES = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
PRUNABLE_TYPES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED_TYPES)
PRUNABLE_NAMES = ", ".join(kind.__name__ for kind in PRUNABLE_TYPES)


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


def lazy_layers(model: nn.Module) -> list[str]:
    """Returns the modules whose sizes a first run would settle, by name; the root by its type."""
    return [
        name or type(module).__name__
        for name, module in model.named_modules()
        if any(map(is_lazy, chain(module._parameters.values(), module._buffers.values())))
    ]


def kinds(model: nn.Module) -> str:
    """Returns the types of a network's innermost modules, for messages."""
    return ", ".join(sorted({type(m).__name__ for m in model.modules() if not list(m.children())}))


def computed_layers(model: nn.Module) -> list[str]:
    """Returns the linear layers and convolutions that ``prunable_layers`` leaves out, by name.

    Their weights are computed in each pass, by a parametrization as ``weight_norm`` is.
    """
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, PRUNABLE_TYPES) and module._parameters.get("weight") is None
    ]


def matching(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """Returns the layer names that one of the patterns describes, in order.

    A pattern is a name, or has ``*`` for any characters, ``?`` for one and ``[ab]`` for some.
    """
    given = list(patterns)
    return [name for name in names if any(fnmatch.fnmatchcase(name, p) for p in given)]


def by_pattern(values: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    """Returns the values of the layers that one of the patterns describes, in order.

    Args:
        values: Values by pattern; a layer's own name wins over patterns.
        names: Names of layers.

    Raises:
        ConfigError: Two patterns describe one layer.
    """
    found = {}
    for name in names:
        own = [name] if name in values else [p for p in values if fnmatch.fnmatchcase(name, p)]
        if len(own) > 1:
            raise ConfigError(
                f"one pattern at most must describe a layer, but {name!r} is described by "
                f"{' and '.join(map(repr, own))}. Narrow them, or give the layer's own name too"
            )
        if own:
            found[name] = values[own[0]]
    return found


def parameter_name(module: str, parameter: str) -> str:
    """Returns a parameter's full name; the root module's own name is empty."""
    return f"{module}.{parameter}" if module else parameter


def num_filters(layer: nn.Module) -> int:
    """Returns how many filters (outputs) a prunable layer has, whatever its weight's order."""
    if isinstance(layer, TRANSPOSED_TYPES):
        return layer.weight.shape[1] * layer.groups
    return layer.get_parameter("weight").shape[0]


def to_blocks(weight: Tensor, *, groups: int = 1, transposed: bool = False) -> Tensor:
    r"""Returns a weight (or its mask) with filters and channels apart, by group.

    Args:
        weight: Shape (filters, channels / groups, \*kernel), or of a transposed convolution
            (channels, filters / groups, \*kernel).
        groups: Groups of the convolution.
        transposed: Whether the convolution is a transposed one.

    Returns:
        Shape (groups, filters / groups, channels / groups, kernel positions); a view if possible.
    """
    first, second = weight.shape[:2]
    positions = weight.shape[2:].numel()
    blocks = weight.reshape(groups, first // groups, second, positions)
    return blocks.transpose(1, 2) if transposed else blocks


def from_blocks(blocks: Tensor, weight: Tensor, *, transposed: bool = False) -> Tensor:
    """Returns what ``to_blocks`` took apart in the order of a weight.

    Args:
        blocks: Shape (groups, filters / groups, channels / groups, kernel positions or 1).
        weight: The weight whose dimensions the result gets; those of the kernel are 1 where the
            blocks have one position.
        transposed: Whether the convolution is a transposed one.
    """
    ordered = blocks.transpose(1, 2) if transposed else blocks
    groups, first, second, positions = ordered.shape
    kernel = weight.shape[2:] if positions > 1 else (1,) * (weight.ndim - 2)
    return ordered.reshape(groups * first, second, *kernel)
