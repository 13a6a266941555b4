"""Taking rows and columns out of layers, and putting them back."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hoyer_search.compression.gather import Gather
from hoyer_search.compression.hollow import Hollow
from hoyer_search.compression.layers import (
    PRUNABLE_TYPES,
    TRANSPOSED_TYPES,
    PrunableLayer,
    from_blocks,
    num_filters,
    to_blocks,
)

_BY_ROW = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of one module of the full-size network.

    Attributes:
        rows: Indices of the filters (or normalised channels) kept, rising; None keeps all.
        columns: Indices of the input channels kept, rising; None keeps all. Of a grouped
            convolution they count the channels of all groups, and groups that keep none vanish.
            An empty list leaves a layer that reads nothing: a ``Hollow``.
        gathers: Channel of its input that each column kept reads, rising, where the input holds
            others too: a ``Gather``; None where it reads all of them.
    """

    rows: list[int] | None = None
    columns: list[int] | None = None
    gathers: list[int] | None = None


def cut(model: nn.Module, kept: Mapping[str, Kept]) -> None:
    """Replaces modules' parameters and statistics, in place, by the kept rows and columns.

    Args:
        model: A full-size network.
        kept: What to keep, by module name.

    Raises:
        ValueError: A module cannot be cut so: there is none of that name, it is of another type,
            the indices are none, not rising, or out of range, the groups of a convolution would
            keep different numbers of channels, or what is to be gathered are not its columns.
    """
    for name, choice in kept.items():
        module = _module(model, name)
        _check(name, num_rows(module), choice.rows)
        _check_gathers(name, module, choice)
        if isinstance(module, _BatchNorm):
            _check(name, 0, choice.columns)
            _cut_rows(module, choice.rows)
        elif choice.columns == []:
            _cut_rows(module, choice.rows, names=("bias",))
            filters = num_rows(module) if choice.rows is None else len(choice.rows)
            _replace(model, name, Hollow(module, filters))
        else:
            _check(name, num_columns(module), choice.columns)
            _cut_layer(name, module, choice)
            if choice.gathers is not None:
                _replace(model, name, Gather(module, choice.gathers))


@torch.no_grad()
def scatter(small: Mapping[str, Tensor], model: nn.Module, kept: Mapping[str, Kept]) -> None:
    """Puts a shrunk network's tensors into a full-size one, in place, with zeros elsewhere.

    Removed channels of a BatchNorm get mean 0 and variance 1, as new ones have.

    Args:
        small: Parameters and buffers of the shrunk network by name.
        model: The full-size network.
        kept: What was kept, by module name.
    """
    first = {module: name for name, module in model.named_modules()}
    for name, full in model.state_dict(keep_vars=True).items():
        owner, _, kind = name.rpartition(".")
        module = model.get_submodule(owner)
        choice = kept.get(first[module], Kept()) if kind in _BY_ROW else Kept()
        if choice.gathers is not None:
            name = f"{owner}.layer.{kind}"
        if kind == "weight" and isinstance(module, PRUNABLE_TYPES):
            wide = torch.zeros_like(_blocks(full, module))
            if choice.columns != []:
                value = small[name].to(full.device, full.dtype)
                places = _places(owner, module, choice)
                wide[places] = to_blocks(
                    value, groups=len(places[0]), transposed=isinstance(module, TRANSPOSED_TYPES)
                )
            full.copy_(_unblocked(wide, full, module))
            continue
        values = small[name].to(full.device, full.dtype)
        if choice.rows is not None and full.ndim:
            full.fill_(1.0 if kind == "running_var" else 0.0)
            full[torch.tensor(choice.rows, device=full.device)] = values
        else:
            full.copy_(values)


def _module(model: nn.Module, name: str) -> PrunableLayer | _BatchNorm:
    try:
        module = model.get_submodule(name)
    except AttributeError as error:
        raise ValueError(f"there is no module {name!r}") from error
    if not isinstance(module, (*PRUNABLE_TYPES, _BatchNorm)):
        raise ValueError(f"module {name!r} is a {type(module).__name__}, which is never cut")
    return module


def num_rows(module: nn.Module) -> int:
    """Returns the filters of a layer, or the channels of a BatchNorm."""
    return module.num_features if isinstance(module, _BatchNorm) else num_filters(module)


def num_columns(module: PrunableLayer) -> int:
    """Returns the input channels of a layer, over all groups."""
    return module.in_features if isinstance(module, nn.Linear) else module.in_channels


def _check(name: str, size: int, indices: list[int] | None) -> None:
    if indices is None:
        return
    rising = all(a < b for a, b in itertools.pairwise(indices))
    if not indices or not rising or indices[0] < 0 or indices[-1] >= size:
        raise ValueError(
            f"kept indices of module {name!r} must rise within [0, {size}), got {indices[:5]}..."
        )


def _check_gathers(name: str, module: PrunableLayer | _BatchNorm, choice: Kept) -> None:
    places, columns = choice.gathers, choice.columns
    if places is None:
        return
    plain = isinstance(module, PRUNABLE_TYPES) and getattr(module, "groups", 1) == 1
    # Its input holds all columns kept, in their order, and others between them.
    fits = columns is not None and len(places) == len(columns) and min(places, default=-1) >= 0
    rising = all(a < b for a, b in itertools.pairwise(places))
    if not (name and plain and fits and rising) or any(
        place > column for place, column in zip(places, columns or [], strict=True)
    ):
        raise ValueError(
            f"what module {name!r} gathers must be one rising place for each of its columns, at "
            f"most that of the column itself, and it must have no groups, got {places[:5]}..."
        )


def _cut_layer(name: str, module: PrunableLayer, choice: Kept) -> None:
    weight = module.weight
    places = _places(name, module, choice)
    channels_last = weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last)
    small = _unblocked(_blocks(weight.detach(), module)[places], weight, module).contiguous()
    if channels_last:
        small = small.contiguous(memory_format=torch.channels_last)
    module.weight = nn.Parameter(small, weight.requires_grad)
    _cut_rows(module, choice.rows, names=("bias",))
    groups, rows, columns = (place.shape for place in places)
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = rows[1], columns[2]
    else:
        module.groups = groups[0]
        module.out_channels, module.in_channels = rows[1] * groups[0], columns[2] * groups[0]


def _cut_rows(
    module: nn.Module, rows: list[int] | None, *, names: tuple[str, ...] = _BY_ROW
) -> None:
    if rows is None:
        return
    for kind in names:
        tensor = getattr(module, kind, None)
        if isinstance(tensor, Tensor):
            small = tensor.detach()[torch.tensor(rows, device=tensor.device)]
            if isinstance(tensor, nn.Parameter):
                small = nn.Parameter(small, tensor.requires_grad)
            setattr(module, kind, small)
    if isinstance(module, _BatchNorm):
        module.num_features = len(rows)


def _places(name: str, module: PrunableLayer, choice: Kept) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the indices of what is kept, to be applied to a weight's blocks.

    Returns:
        Groups, filters and channels of shapes (g, 1, 1), (g, n, 1) and (g, 1, m).
    """
    groups = 1 if isinstance(module, nn.Linear) else module.groups
    device = module.weight.device
    rows = _by_group(choice.rows, num_rows(module) // groups, groups)
    columns = _by_group(choice.columns, num_columns(module) // groups, groups)
    kept = [group for group in range(groups) if rows[group] or columns[group]]
    for side in (rows, columns):
        sizes = {len(side[group]) for group in kept}
        if len(sizes) != 1 or 0 in sizes:
            raise ValueError(
                f"the groups of module {name!r} must keep equally many channels, at least one, "
                f"got {sorted(sizes)}"
            )
    return (
        torch.tensor(kept, device=device).reshape(-1, 1, 1),
        torch.tensor([rows[group] for group in kept], device=device).unsqueeze(2),
        torch.tensor([columns[group] for group in kept], device=device).unsqueeze(1),
    )


def _by_group(indices: list[int] | None, size: int, groups: int) -> list[list[int]]:
    """Returns indices within their groups; all of them for None."""
    if indices is None:
        return [list(range(size))] * groups
    parts: list[list[int]] = [[] for _ in range(groups)]
    for index in indices:
        parts[index // size].append(index % size)
    return parts


def _blocks(weight: Tensor, module: PrunableLayer) -> Tensor:
    groups = 1 if isinstance(module, nn.Linear) else module.groups
    return to_blocks(weight, groups=groups, transposed=isinstance(module, TRANSPOSED_TYPES))


def _unblocked(blocks: Tensor, like: Tensor, module: PrunableLayer) -> Tensor:
    return from_blocks(blocks, like, transposed=isinstance(module, TRANSPOSED_TYPES))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Puts a module in the place of another, under every name that it has."""
    old = model.get_submodule(name)
    for other, found in list(model.named_modules(remove_duplicate=False)):
        if found is old:
            parent, _, child = other.rpartition(".")
            setattr(model.get_submodule(parent), child, module.train(model.training))
