"""BatchNorm folded into the convolution before it, for networks that only run."""

import copy
from collections import Counter
from collections.abc import Iterator

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hoyer_search.compression import tracing

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def fold_norms(model: nn.Module) -> nn.Module:
    """Returns a copy of a network with its BatchNorms folded, in evaluation mode.

    A convolution of which only a BatchNorm reads the output takes over its scale and shift, and an
    ``nn.Identity`` takes its place: the same outputs up to rounding, with fewer passes over memory.
    Other BatchNorms stay, and so do all of a network that torch.fx cannot trace.
    """
    folded = copy.deepcopy(model).eval()
    try:
        graph = tracing.trace(folded)
    except Exception:  # torch.fx lets through whatever forward() raises on proxies
        return folded
    for name, norm_name in list(_pairs(folded, graph)):
        layer, norm = folded.get_submodule(name), folded.get_submodule(norm_name)
        assert isinstance(layer, CONVOLUTIONS)
        assert isinstance(norm, _BatchNorm)
        folded.set_submodule(name, fuse_conv_bn_eval(layer, norm))
        folded.set_submodule(norm_name, nn.Identity())
    return folded


def _pairs(model: nn.Module, graph: fx.Graph) -> Iterator[tuple[str, str]]:
    """Yields the names of convolutions and of the BatchNorms that alone read them."""
    modules = dict(model.named_modules(remove_duplicate=False))
    calls = Counter(id(modules[str(n.target)]) for n in graph.nodes if n.op == "call_module")
    exposed = {str(n.target).rpartition(".")[0] for n in graph.nodes if n.op == "get_attr"}
    for node in graph.nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        names = str(source.target), str(node.target)
        layer, norm = (modules[name] for name in names)
        if (
            type(layer) in CONVOLUTIONS
            and isinstance(norm, _BatchNorm)
            and norm.running_var is not None
            and calls[id(layer)] == calls[id(norm)] == 1
            and exposed.isdisjoint(names)
        ):
            yield names
