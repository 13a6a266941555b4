"""Taking rows and columns out of layers, and putting them back."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hoyer_search.compression.layers import PRUNABLE_TYPES

_BY_ROW = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of one module of the full-size network.

    Attributes:
        rows: Indices of the filters (or normalised channels) kept, rising; None keeps all.
        columns: Indices of the input channels kept, rising; None keeps all.
    """

    rows: list[int] | None = None
    columns: list[int] | None = None


def cut(model: nn.Module, kept: Mapping[str, Kept]) -> None:
    """Replaces modules' parameters and statistics, in place, by the kept rows and columns.

    Args:
        model: A full-size network.
        kept: What to keep, by module name.

    Raises:
        ValueError: A module cannot be cut so: there is none of that name, it is of another type,
            or the indices are none, not rising, or out of range.
    """
    for name, choice in kept.items():
        module = _module(model, name)
        weight = module.get_parameter("weight") if hasattr(module, "weight") else None
        for size, indices in (
            (_num_rows(module), choice.rows),
            (0 if weight is None or weight.ndim < 2 else weight.shape[1], choice.columns),
        ):
            _check(name, size, indices)
        for kind in _BY_ROW:
            tensor = getattr(module, kind, None)
            if isinstance(tensor, nn.Parameter):
                small = nn.Parameter(_pick(tensor.detach(), choice), tensor.requires_grad)
                setattr(module, kind, small)
            elif isinstance(tensor, Tensor):
                setattr(module, kind, _pick(tensor, choice))
        _rename_sizes(module)


@torch.no_grad()
def scatter(small: Mapping[str, Tensor], model: nn.Module, kept: Mapping[str, Kept]) -> None:
    """Puts a shrunk network's tensors into a full-size one, in place, with zeros elsewhere.

    Removed channels of a BatchNorm get mean 0 and variance 1, as new ones have.

    Args:
        small: Parameters and buffers of the shrunk network by name.
        model: The full-size network.
        kept: What was kept, by module name.
    """
    for name, full in model.state_dict(keep_vars=True).items():
        module, _, kind = name.rpartition(".")
        choice = kept.get(module, Kept()) if kind in _BY_ROW else Kept()
        values = small[name].to(full.device, full.dtype)
        for dim, indices in ((1, choice.columns), (0, choice.rows)):
            if indices is not None and full.ndim > dim:
                shape = list(values.shape)
                shape[dim] = full.shape[dim]
                wider = full.new_full(shape, 1.0 if kind == "running_var" else 0.0)
                values = wider.index_copy_(dim, torch.tensor(indices, device=full.device), values)
        full.copy_(values)


def _module(model: nn.Module, name: str) -> nn.Module:
    try:
        module = model.get_submodule(name)
    except AttributeError as error:
        raise ValueError(f"there is no module {name!r}") from error
    if not isinstance(module, (*PRUNABLE_TYPES, _BatchNorm)):
        raise ValueError(f"module {name!r} is a {type(module).__name__}, which is never cut")
    return module


def _num_rows(module: nn.Module) -> int:
    if isinstance(module, _BatchNorm):
        return module.num_features
    return module.get_parameter("weight").shape[0]


def _check(name: str, size: int, indices: list[int] | None) -> None:
    if indices is None:
        return
    rising = all(a < b for a, b in itertools.pairwise(indices))
    if not indices or not rising or indices[0] < 0 or indices[-1] >= size:
        raise ValueError(
            f"kept indices of module {name!r} must rise within [0, {size}), got {indices[:5]}..."
        )


def _pick(tensor: Tensor, choice: Kept) -> Tensor:
    channels_last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    for dim, indices in ((0, choice.rows), (1, choice.columns)):
        if indices is not None and tensor.ndim > dim:
            tensor = tensor.index_select(dim, torch.tensor(indices, device=tensor.device))
    if channels_last:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor.clone()


def _rename_sizes(module: nn.Module) -> None:
    if isinstance(module, _BatchNorm):
        affine_or_statistics = next(
            t for t in (module.weight, module.running_mean) if t is not None
        )
        module.num_features = len(affine_or_statistics)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        module.out_channels = module.weight.shape[0]
        module.in_channels = module.weight.shape[1] * module.groups
