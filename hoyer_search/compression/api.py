"""Shrinking a network of one's own, outside any sweep."""

from dataclasses import replace

from torch import nn

from hoyer_search.compression.channels import ChannelGraph, Inputs, as_inputs
from hoyer_search.compression.exactness import exactness
from hoyer_search.compression.layers import PRUNABLE_NAMES, computed_layers, kinds
from hoyer_search.compression.masks import masks_from_zeros
from hoyer_search.compression.planning import check_connected
from hoyer_search.compression.shrink import ShrinkReport
from hoyer_search.compression.shrink import shrink as shrink_masked
from hoyer_search.errors import PluginError


def shrink(
    model: nn.Module,
    example_inputs: Inputs,
    *,
    round_to: int = 1,
    strict: bool = False,
    gather: bool = False,
    remove_inputs: bool = False,
    remove_outputs: bool = False,
) -> tuple[nn.Module, ShrinkReport]:
    """Returns a network without the channels that exact zeros in its parameters make dead.

    A channel is dead when nothing that matters reads it, or when it is zero for every input. The
    smaller network is of the same class, and its outputs in evaluation mode are checked against the
    given one's in double precision, on random inputs in two batch sizes.

    Args:
        model: A trained network; it is not changed.
        example_inputs: A batch of any size, or a tuple of inputs. Of whole numbers, as tokens are,
            the outputs are compared on these examples alone.
        round_to: Widths become multiples of it, for hardware, by keeping the best of the dead
            channels.
        strict: Whether to refuse a network in which a filter of zeros makes a constant other than
            zero, by a bias or a BatchNorm; otherwise such a channel is kept, which is exact.
        gather: Whether a layer with zero weights for channels that stay, as another layer reads
            them, leaves those out: it becomes a ``Gather``, which copies the channels that it reads
            and has fewer MACs, yet takes longer.
        remove_inputs: Whether channels of the input that nothing reads go too, as one of an image:
            the smaller network takes ``images[:, report.inputs]``.
        remove_outputs: Whether outputs that are zero for every input go too, as classes with zero
            weights and bias: what it returns is ``model(images)[:, report.outputs]``.

    Returns:
        The smaller network, in the same mode and on the same device, and a report.

    Raises:
        InputError: Ends are to go, of a network that takes or returns several tensors; the network
            is no module, or an input is no batch.
        PluginError: The network has lazy layers, no weights yet, or no prunable layer, or does not
            accept the example.
        ShrinkError: The network is cut in two, or cannot be shrunk exactly, or ``strict`` refuses.
    """
    graph = ChannelGraph.trace(
        model, example_inputs, free_input=remove_inputs, free_output=remove_outputs
    )
    if not graph.layers:
        raise PluginError(_nothing_prunable(model))
    check_connected(model, graph)
    masks = masks_from_zeros(model, graph)
    shrunk, report = shrink_masked(
        model, graph, masks, round_to=round_to, strict=strict, gather=gather
    )
    examples = [
        tuple(one.shape[1:]) if one.is_floating_point() else one
        for one in as_inputs(example_inputs, model)
    ]
    difference = exactness(model, shrunk, *examples, inputs=report.inputs, outputs=report.outputs)
    return shrunk, replace(report, exactness=difference)


def _nothing_prunable(model: nn.Module) -> str:
    rule = f"a network to shrink must have a prunable layer ({PRUNABLE_NAMES})"
    if computed := computed_layers(model):
        names = ", ".join(name or type(model).__name__ for name in computed)
        return (
            f"{rule}, but the weights of {names} are computed by a parametrization: make plain "
            "weights of them with torch.nn.utils.parametrize.remove_parametrizations"
        )
    return f"{rule}, but its layers are: {kinds(model)}. There is nothing to remove from it"
