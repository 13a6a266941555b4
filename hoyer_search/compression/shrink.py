"""A smaller network with the outputs of the masked one."""

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.cutting import Kept, cut, num_columns, num_rows
from hoyer_search.compression.flow import Mix
from hoyer_search.compression.gather import gathered
from hoyer_search.compression.layers import PrunableLayer, prunable_layers
from hoyer_search.compression.masks import Masks
from hoyer_search.compression.planning import Plan, make_plan
from hoyer_search.compression.propagation import reach
from hoyer_search.errors import InputError, ShrinkError

LIVE_CONSTANT = "their zero filters make constants, by a bias or a BatchNorm"


@dataclass(frozen=True, slots=True)
class Stayed:
    """Zeros that a shrunk network still holds as whole rows or columns.

    Attributes:
        layer: Name of the layer.
        side: ``rows`` or ``columns``.
        count: How many of them are all zero.
        reason: Why they could not be removed.
    """

    layer: str
    side: str
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Went:
    """What one module of the network lost.

    Attributes:
        layer: Name of the module.
        rows: Filters, or normalised channels, before and after.
        columns: Input channels before and after; None for a normalisation.
        hollow: Whether nothing is left of it but its bias.
        gathers: Whether it picks its columns out of a wider input.
    """

    layer: str
    rows: tuple[int, int]
    columns: tuple[int, int] | None = None
    hollow: bool = False
    gathers: bool = False


@dataclass(frozen=True, slots=True)
class ShrinkReport:
    """What shrinking kept, what went, and which zeros it had to keep.

    Attributes:
        kept: Rows and columns kept by name, of every module that lost some.
        went: What each of those modules lost.
        stayed: Zero rows and columns that are still there, and channels of a live constant.
        inputs: Channels of the input that the smaller network takes, rising, where any were free
            to go: it is given ``images[:, inputs]``. None where it takes all.
        outputs: Channels of the output that it returns, likewise; all others are zero.
        exactness: Largest difference of the outputs relative to the largest output, None where it
            was not measured.
    """

    kept: dict[str, Kept]
    went: list[Went]
    stayed: list[Stayed]
    inputs: list[int] | None = None
    outputs: list[int] | None = None
    exactness: float | None = None

    def __str__(self) -> str:
        """Returns a line for each module that lost something, and for what had to stay."""
        lines = [_went_line(one) for one in self.went] or ["nothing to remove"]
        for verb, channels in (("takes inputs", self.inputs), ("returns outputs", self.outputs)):
            if channels is not None:
                lines.append(f"{verb} {_shown(channels)}")
        lines += [f"{s.layer}: {s.count} {s.side} stayed: {s.reason}" for s in self.stayed]
        if self.exactness is not None:
            lines.append(f"outputs differ by at most {self.exactness:.1e} of the largest")
        return "\n".join(lines)


def shrink(
    model: nn.Module,
    graph: ChannelGraph,
    masks: Masks,
    *,
    round_to: int = 1,
    strict: bool = False,
    gather: bool = False,
) -> tuple[nn.Module, ShrinkReport]:
    """Returns a copy of a network without its dead channels: filters, norms and columns.

    A channel is removed when no layer whose outputs matter reads it, or when it is zero wherever it
    is read, which leaves the outputs as they were. A tensor keeps one channel at least; a layer
    that reads nothing becomes a ``Hollow``. Inputs and outputs keep their shapes, unless the graph
    has them free.

    Args:
        model: The network; it is not changed, and need not be masked yet.
        graph: Its channel graph.
        masks: Its zeros.
        round_to: Widths become multiples of it, or stay full.
        strict: Whether to refuse live constants; see ``api.shrink``.
        gather: Whether a layer leaves out dead columns whose channels stay; see ``api.shrink``.

    Returns:
        The smaller network, in the same mode and on the same device, and what was kept.

    Raises:
        ShrinkError: ``strict`` refuses a live constant; the layer that makes it is named.
    """
    if round_to < 1:
        raise InputError(f"round_to must be at least 1, got {round_to}: 1 removes all it can")
    shrunk = copy.deepcopy(model)
    masks.apply_(shrunk)
    plan = make_plan(shrunk, graph, round_to=round_to)
    constant = _live_constants(shrunk, graph, plan)
    if strict and constant:
        raise ShrinkError(
            f"strict shrinking refuses live constants, but {constant[0].count} filters of zeros in "
            f"{constant[0].layer!r} make channels other than zero by a bias or a BatchNorm. Zero "
            "those with their filters, or shrink without strict"
        )
    kept = {n: choice for n, choice in _choices(graph, plan) if choice != Kept()}
    if gather:
        kept |= _gathers(shrunk, graph, plan, kept, round_to)
    stayed = _stayed(graph, masks, plan, kept) + constant
    went = [_lost(shrunk, name, choice) for name, choice in kept.items()]
    cut(shrunk, kept)
    inputs, outputs = (
        None if channels is None else plan.kept[channels].nonzero().flatten().tolist()
        for channels in (graph.free_input, graph.free_output)
    )
    return shrunk, ShrinkReport(kept, went, stayed, inputs, outputs)


def _choices(graph: ChannelGraph, plan: Plan) -> Iterator[tuple[str, Kept]]:
    for name, layer in graph.layers.items():
        columns = [] if name in plan.hollow else _indices(plan.kept, layer.columns)
        yield name, Kept(_indices(plan.kept, layer.rows), columns)
    for name, channels in graph.norms.items():
        yield name, Kept(_indices(plan.kept, channels))


def _gathers(
    model: nn.Module, graph: ChannelGraph, plan: Plan, kept: dict[str, Kept], round_to: int
) -> dict[str, Kept]:
    """Returns what layers keep that have dead columns left, of those that gather."""
    found = {}
    reached = reach({n: layer.weight for n, layer in prunable_layers(model).items()}, graph)
    for name, layer in graph.layers.items():
        rows = kept.get(name, Kept()).rows
        if name in plan.hollow or layer.columns is None or layer.groups > 1 or not name:
            continue
        weights = reached[name][0] if rows is None else reached[name][0, rows]
        there = plan.kept[layer.columns]
        columns, places = gathered(there, weights.any(0), round_to=round_to)
        if 0 < len(columns) < int(there.sum()):
            found[name] = Kept(rows, columns, places)
    return found


def _indices(kept: Tensor, channels: Tensor | None) -> list[int] | None:
    """Returns the indices of kept rows or columns, None where all of them are."""
    if channels is None or bool(kept[channels].all()):
        return None
    return kept[channels].nonzero().flatten().tolist()


def _lost(model: nn.Module, name: str, choice: Kept) -> Went:
    module = model.get_submodule(name)
    rows = num_rows(module)
    after = rows if choice.rows is None else len(choice.rows)
    if isinstance(module, _BatchNorm):
        return Went(name, (rows, after))
    columns = num_columns(cast(PrunableLayer, module))
    left = columns if choice.columns is None else len(choice.columns)
    return Went(
        name,
        (rows, after),
        (columns, left),
        hollow=choice.columns == [],
        gathers=choice.gathers is not None,
    )


def _went_line(one: Went) -> str:
    columns = "" if one.columns is None else f", columns {one.columns[0]} -> {one.columns[1]}"
    note = ", reads nothing any more" if one.hollow else ", gathered" if one.gathers else ""
    return f"{one.layer}: rows {one.rows[0]} -> {one.rows[1]}{columns}{note}"


def _shown(indices: list[int]) -> str:
    more = f", ... ({len(indices)} of them)" if len(indices) > 8 else ""
    return ", ".join(map(str, indices[:8])) + more


def _stayed(graph: ChannelGraph, masks: Masks, plan: Plan, kept: dict[str, Kept]) -> list[Stayed]:
    found = []
    for name, reached in reach({n: masks.weight(n) for n in graph.layers}, graph).items():
        layer, choice = graph.layers[name], kept.get(name, Kept())
        if choice.columns == []:
            continue
        for side, alive, indices, channels in (
            ("rows", reached.any(2).flatten(), choice.rows, layer.rows),
            ("columns", reached.any(1).flatten(), choice.columns, layer.columns),
        ):
            dead = ~alive if indices is None else ~alive[indices]
            if channels is None:
                channels = dead.new_full((len(alive),), -1, dtype=torch.int64)
            left = channels if indices is None else channels[indices]
            reasons = Counter(_reason(graph, plan, c) for c in left[dead].tolist())
            found += [Stayed(name, side, n, reason) for reason, n in reasons.items()]
    return found


def _reason(graph: ChannelGraph, plan: Plan, channel: int) -> str:
    if channel < 0:
        return graph.untraced or "its channels are not followed"
    if channel in graph.pins:
        return graph.pins[channel]
    if not bool(plan.used[channel]):
        return "it fills up a group, a width or a tensor"
    if graph.free_output is not None and bool((graph.free_output == channel).any()):
        return "an output that is not zero"
    return "their channels are still made or read elsewhere"


def _live_constants(model: nn.Module, graph: ChannelGraph, plan: Plan) -> list[Stayed]:
    """Returns the filters of zeros whose constants other than zero a layer reads."""
    counts: Counter[str] = Counter()
    origins: dict[int, str] = {}
    for step in graph.flow:
        if isinstance(step, Mix):
            rows = graph.layers[step.layer].rows
            if rows is not None:
                for channel in rows[~plan.constants[step.out].isnan()].tolist():
                    origins.setdefault(channel, step.layer)
            if step.source is None:
                continue
            columns, values = graph.layers[step.layer].columns, plan.constants[step.source]
            assert columns is not None
            live = plan.used[columns] & ~values.isnan() & (values != 0)
            for channel in set(columns[live].tolist()):
                if channel in origins:
                    counts[origins.pop(channel)] += 1
    return [Stayed(n, "rows", count, LIVE_CONSTANT) for n, count in counts.items()]
