"""A smaller network with the outputs of the masked one."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hoyer_search.compression.channels import ChannelGraph, evaluating
from hoyer_search.compression.cutting import Kept, cut
from hoyer_search.compression.layouts import Slots
from hoyer_search.compression.masks import Masks, dead_channels
from hoyer_search.compression.propagation import gather
from hoyer_search.errors import ShrinkError

TOLERANCE = 1e-10


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
class ShrinkReport:
    """What shrinking kept, and which zeros it had to keep.

    Attributes:
        kept: Rows and columns kept by name, of every module that lost some.
        stayed: Zero rows and columns that are still there.
    """

    kept: dict[str, Kept]
    stayed: list[Stayed]


def shrink(model: nn.Module, graph: ChannelGraph, masks: Masks) -> tuple[nn.Module, ShrinkReport]:
    """Returns a copy of a network without its dead channels: filters, norms and columns.

    A channel is removed when it is zero wherever it is made, scaled and read, which leaves the
    outputs as they were. At least one channel of each space stays, dead or not; inputs and outputs
    keep their shapes.

    Args:
        model: The network; it is not changed, and need not be masked yet.
        graph: Its channel graph.
        masks: Its zeros.

    Returns:
        The smaller network, in the same mode and on the same device, and what was kept.
    """
    alive = [_at_least_one(~dead) for dead in dead_channels(masks, graph)]
    kept: dict[str, Kept] = {}
    for name, layer in graph.layers.items():
        kept[name] = Kept(_indices(alive, layer.rows), _indices(alive, layer.columns))
    for name, slots in graph.norms.items():
        kept[name] = Kept(_indices(alive, slots))
    kept = {name: choice for name, choice in kept.items() if choice != Kept()}
    shrunk = copy.deepcopy(model)
    masks.apply_(shrunk)
    cut(shrunk, kept)
    return shrunk, ShrinkReport(kept, _stayed(graph, masks, kept))


def exactness(
    masked: nn.Module,
    shrunk: nn.Module,
    input_shape: Sequence[int],
    *,
    tolerance: float = TOLERANCE,
) -> float:
    """Returns the largest difference between the outputs of a masked and a shrunk network.

    Both are copied to double precision and run in evaluation mode on random inputs, in a batch of
    one and a batch of three. The inputs are the same at every call.

    Args:
        masked: The full-size network with its zeros.
        shrunk: The smaller network.
        input_shape: Shape of one example.
        tolerance: Largest difference allowed.

    Raises:
        ShrinkError: They differ by more than ``tolerance``, in shape, or by a NaN.
    """
    device = next(masked.parameters()).device
    left, right = (copy.deepcopy(model).to(device).double() for model in (masked, shrunk))
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    with evaluating(left), evaluating(right):
        for batch in (1, 3):
            inputs = torch.randn((batch, *input_shape), generator=generator, dtype=torch.float64)
            worst = max(worst, _difference(left, right, inputs.to(device)))
    if not worst <= tolerance:
        raise ShrinkError(
            f"a shrunk network must give the masked one's outputs within {tolerance:g}, but they "
            f"differ by {worst:g}. Report the network's forward(): an operation in it mixes "
            "channels in a way that was not recognised"
        )
    return worst


def _difference(left: nn.Module, right: nn.Module, inputs: Tensor) -> float:
    expected: Tensor = left(inputs)
    try:
        found: Tensor = right(inputs)
    except RuntimeError as error:
        raise ShrinkError(
            f"a shrunk network must accept the masked one's inputs, but it raised: {error}. "
            "Its forward() may hold a fixed number of channels: read it from the tensors instead"
        ) from error
    if expected.shape != found.shape:
        return math.inf
    difference = (expected - found).abs().max().item()
    return math.inf if math.isnan(difference) else float(difference)


def _at_least_one(alive: Tensor) -> Tensor:
    if len(alive) and not bool(alive.any()):
        alive = alive.clone()
        alive[0] = True
    return alive


def _indices(alive: list[Tensor], slots: tuple[Slots, ...]) -> list[int] | None:
    """Returns the indices of live rows or columns, None where all of them are."""
    if not slots:
        return None
    flags = gather(alive, slots)
    return None if bool(flags.all()) else flags.nonzero().flatten().tolist()


def _stayed(graph: ChannelGraph, masks: Masks, kept: dict[str, Kept]) -> list[Stayed]:
    found = []
    for name, layer in graph.layers.items():
        mask, choice = masks.weight(name) != 0, kept.get(name, Kept())
        rows = mask.flatten(1).any(1)
        columns = mask.transpose(0, 1).flatten(1).any(1)
        for side, alive, indices, slots in (
            ("rows", rows, choice.rows, layer.rows),
            ("columns", columns, choice.columns, layer.columns),
        ):
            left = alive if indices is None else alive[indices]
            if count := int((~left).sum()):
                found.append(Stayed(name, side, count, _reason(graph, slots)))
    return found


def _reason(graph: ChannelGraph, slots: tuple[Slots, ...]) -> str:
    if not slots:
        return graph.untraced or "its channels are not followed"
    pins = [reason for slot in slots if (reason := graph.spaces[slot.space].pinned)]
    return pins[0] if pins else "their channels are still made or read elsewhere"
