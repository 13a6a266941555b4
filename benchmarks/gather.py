"""Speed of layers that gather, beside the same networks without.

    OMP_NUM_THREADS=1 python benchmarks/gather.py

LeNet-5 with the structure of the paper's Table 2 (5-12-139-13), and DenseNet-121 with half of the
columns of every 1x1 convolution dead, each at random, so that hardly a channel is dead for all its
readers. The networks take turns in one run; the median processor time of a batch counts.
"""

import torch
from latency import median_times
from torch import nn

import hoyer_search as hs
from hoyer_search import models
from hoyer_search.compression.measure import physical_macs


@torch.no_grad()
def lenet_5(generator: torch.Generator) -> nn.Module:
    """Returns LeNet-5 with 139 live columns of the 192 that twelve filters make."""
    model = models.build("lenet_5", {})
    for name, filters in (("conv1", 5), ("conv2", 12), ("fc1", 13)):
        layer = model.get_submodule(name)
        layer.weight[filters:], layer.bias[filters:] = 0, 0
    model.fc1.weight[:, torch.randperm(192, generator=generator)[139:]] = 0
    return model


@torch.no_grad()
def densenet121(generator: torch.Generator) -> nn.Module:
    """Returns DenseNet-121 with half of the columns of its 1x1 convolutions zero."""
    model = models.build("densenet121", {})
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            channels = layer.in_channels
            layer.weight[:, torch.randperm(channels, generator=generator)[: channels // 2]] = 0
    return model


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'network':<14}{'batch':>6}{'MACs':>15}{'gathered':>15}{'ms':>9}{'gathered':>10}")
    for make, size, rounds in ((lenet_5, (1, 28, 28), 400), (densenet121, (3, 224, 224), 5)):
        torch.manual_seed(0)
        model = make(torch.Generator().manual_seed(0)).eval()
        example = torch.zeros(1, *size)
        found = {
            name: hs.shrink(model, example, gather=name == "gathered")[0].to(
                memory_format=torch.channels_last
            )
            for name in ("plain", "gathered")
        }
        macs = {name: physical_macs(network, example) for name, network in found.items()}
        for batch in (1, 16):
            images = torch.randn(batch, *size).to(memory_format=torch.channels_last)
            times = median_times(found, images, rounds)
            print(
                f"{make.__name__:<14}{batch:>6}{macs['plain']:>15,}{macs['gathered']:>15,}"
                f"{times['plain']:>9.2f}{times['gathered']:>10.2f}"
            )


if __name__ == "__main__":
    main()
