"""Real networks with random structural masks shrink exactly, and as far as an oracle does."""

import copy

import pytest
import torch
import torch_pruning as tp
from networks import BIG, SIZES, trained
from torch import Tensor, nn

import hoyer_search as hs
from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.exactness import exactness
from hoyer_search.compression.hollow import Hollow
from hoyer_search.compression.layers import prunable_layers, to_blocks
from hoyer_search.compression.masks import Masks, masks_from_zeros, propagate
from hoyer_search.compression.measure import physical_macs
from hoyer_search.compression.shrink import shrink


def marked(names: list[str]) -> list[object]:
    return [pytest.param(n, marks=pytest.mark.slow) if n in BIG else n for n in names]


def drop_filters(model: nn.Module, graph: ChannelGraph, share: float) -> Masks:
    """Masks a random share of every layer's filters, with what hangs on them."""
    generator = torch.Generator().manual_seed(1)
    alive: dict[str, Tensor] = {}
    for name, layer in prunable_layers(model).items():
        blocks = to_blocks(torch.ones_like(layer.weight), groups=graph.layers[name].groups)
        keep = torch.rand(blocks.shape[:2], generator=generator) >= share
        alive[name] = (blocks * keep[:, :, None, None]).reshape(layer.weight.shape)
    masks = propagate(model, graph, alive)
    masks.apply_(model)
    return masks


@pytest.mark.parametrize("share", [0.3, 0.7])
@pytest.mark.parametrize("name", marked(list(SIZES)))
def test_random_structural_masks_shrink_exactly(name, share):
    model, example = trained(name), torch.randn(2, *SIZES[name][0])
    graph = ChannelGraph.trace(model, example)
    masks = drop_filters(model, graph, share)
    shrunk, report = shrink(model, graph, masks)
    for size in SIZES[name]:
        assert exactness(model, shrunk, size) <= 1e-9
    assert physical_macs(shrunk, example[:1]) <= (1 - share) * physical_macs(model, example[:1])
    assert {one.reason for one in report.stayed} <= {
        "model output",
        "it fills up a group, a width or a tensor",
        "their channels are still made or read elsewhere",
    }
    before = masks_from_zeros(model, graph).nonzeros()
    assert masks_from_zeros(shrunk, ChannelGraph.trace(shrunk, example)).nonzeros() == before


@pytest.mark.parametrize("share", [0.3, 0.7])
@pytest.mark.parametrize("name", marked([name for name in SIZES if name != "alexnet"]))
def test_it_shrinks_as_far_as_torch_pruning(name, share):
    """The same coupled groups go: zeroed for us, named to the oracle.

    Torch-Pruning 1.6 raises on AlexNet, whose convolutions have two groups.
    """
    model, example = trained(name), torch.randn(1, *SIZES[name][0])
    oracle = copy.deepcopy(model)
    last = model.get_submodule(list(prunable_layers(model))[-1])
    names = {module: name for name, module in model.named_modules()}
    graph = tp.DependencyGraph().build_dependency(model, example)
    pruner = tp.DependencyGraph().build_dependency(oracle, example)
    generator = torch.Generator().manual_seed(2)
    types = [nn.Conv2d, nn.Linear]
    for group in list(graph.get_all_groups(ignored_layers=[last], root_module_types=types)):
        root, handler, size = group[0].dep.target.module, group[0].dep.handler, len(group[0].idxs)
        order = torch.randperm(size, generator=generator)
        chosen = order[: int(share * size)].sort().values.tolist()
        zero_group(graph, graph.get_pruning_group(root, handler, chosen))
        twin = oracle.get_submodule(names[root])
        pruner.get_pruning_group(twin, handler, chosen).prune()
    shrunk, report = hs.shrink(model, example)
    assert report.exactness <= 1e-9
    assert physical_macs(shrunk, example) <= physical_macs(oracle, example)


@torch.no_grad()
def zero_group(graph: tp.DependencyGraph, group: tp.dependency.Group) -> None:
    """Zeroes filters, biases, gammas and betas of a coupled group."""
    for dependency, indices in group:
        module = dependency.target.module
        if graph.is_out_channel_pruning_fn(dependency.handler) and hasattr(module, "weight"):
            module.weight[indices] = 0
            if module.bias is not None:
                module.bias[indices] = 0


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_alexnet_keeps_equally_many_channels_in_both_groups(share):
    model, example = trained("alexnet"), torch.randn(1, *SIZES["alexnet"][0])
    graph = ChannelGraph.trace(model, example)
    shrunk, _ = shrink(model, graph, drop_filters(model, graph, share))
    for layer in (shrunk.conv2, shrunk.conv4, shrunk.conv5):
        assert layer.groups == 2
        blocks = to_blocks(layer.weight, groups=2)
        # The fuller group has no dead filter left: widths are no larger than they need be.
        assert blocks.flatten(2).any(2).all(1).any()


BRANCHES = {
    "resnet20": ["blocks.1.", "blocks.4."],
    "resnet50": ["layer1.1.", "layer3.2."],
    "mobilenet_v2": ["features.3.", "features.9."],
    "efficientnet_b0": ["features.2.1."],
    "densenet121": ["features.denseblock2.denselayer3."],
}


@pytest.mark.parametrize("name", marked(list(BRANCHES)))
def test_an_emptied_branch_vanishes(name):
    model, example = trained(name), torch.randn(1, *SIZES[name][0])
    graph = ChannelGraph.trace(model, example)
    prefixes = tuple(BRANCHES[name])
    alive = {
        layer: torch.zeros_like(module.weight)
        if layer.startswith(prefixes)
        else torch.ones_like(module.weight)
        for layer, module in prunable_layers(model).items()
    }
    masks = propagate(model, graph, alive)
    masks.apply_(model)
    shrunk, report = shrink(model, graph, masks)
    emptied = [layer for layer in alive if layer.startswith(prefixes)]
    assert emptied
    assert all(isinstance(shrunk.get_submodule(layer), Hollow) for layer in emptied)
    assert {one.layer for one in report.went if one.hollow} >= set(emptied)
    for size in SIZES[name]:
        assert exactness(model, shrunk, size) <= 1e-9
    dense = {one.name: one.physical_macs for one in hs.count_macs(model, example).layers}
    left = sum(macs for layer, macs in dense.items() if layer not in emptied)
    assert physical_macs(shrunk, example) <= left


@pytest.mark.slow
def test_resnet_50_has_the_counts_of_the_paper_and_of_1_89x():
    model, image = trained("resnet50"), torch.randn(1, 3, 224, 224)
    dense = hs.count_macs(model, image)
    assert (dense.physical_macs, dense.logical_macs) == (4_089_184_256, 4_089_184_256)
    assert dense.parameters == 25_557_032
    macs = {one.name: one.physical_macs for one in dense.layers}

    def shares(keep: float) -> dict[str, tuple[float, float]]:
        """Returns rows and columns left of each layer when blocks keep a share inside."""
        left: dict[str, tuple[float, float]] = {}
        for layer, module in prunable_layers(model).items():
            part = layer.rpartition(".")[2]
            inside = layer.startswith("layer") and part in ("conv1", "conv2", "conv3")
            rows, columns = (
                round(keep * n) / n if n else 1.0
                for n in (
                    module.weight.shape[0] if inside and part != "conv3" else 0,
                    module.weight.shape[1] if inside and part != "conv1" else 0,
                )
            )
            left[layer] = rows, columns
        return left

    def expected(keep: float) -> float:
        return sum(macs[n] * rows * columns for n, (rows, columns) in shares(keep).items())

    keep = min(
        (k / 256 for k in range(64, 256)), key=lambda k: abs(4_089_184_256 / expected(k) - 1.89)
    )
    with torch.no_grad():
        for layer, (rows, _) in shares(keep).items():
            module = model.get_submodule(layer)
            first = round(rows * module.weight.shape[0])
            norm = model.get_submodule(layer.replace("conv", "bn")) if rows < 1 else None
            for tensor in [] if norm is None else [module.weight, norm.weight, norm.bias]:
                tensor[first:] = 0
    shrunk, _ = hs.shrink(model, torch.randn(1, 3, 64, 64))
    small = hs.count_macs(shrunk, image)
    assert small.physical_macs == small.logical_macs == round(expected(keep))
    assert dense.physical_macs / small.physical_macs == pytest.approx(1.89, abs=0.01)
    assert small.layers[0].name == "conv1"
    assert sum(one.physical_macs for one in small.layers) == small.physical_macs
