"""Speed of a shrunk ResNet-50 against the dense one, and against its MACs.

    python benchmarks/latency.py

A random share of the internal channels of every residual block (those between its convolutions) is
zeroed with its normalization, found again from the zeros and removed. The two networks take
turns in one run; the median time of a batch counts. The last column is the speedup over the ratio
of the MACs as they run: 1 would be a machine on which time is MACs.
"""

import argparse
import json

import torch
from torch import nn

from hoyer_search import models
from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.exactness import exactness
from hoyer_search.compression.latency import measure_latency
from hoyer_search.compression.masks import make_masks
from hoyer_search.compression.measure import num_parameters, physical_macs
from hoyer_search.compression.shrink import shrink

SHAPE = (3, 224, 224)


@torch.no_grad()
def empty_channels(model: nn.Module, share: float) -> None:
    """Zeroes a random share of the channels between the convolutions of every block."""
    generator = torch.Generator().manual_seed(0)
    for name, layer in model.named_modules():
        if ".conv1" in name or ".conv2" in name:
            filters = layer.weight.shape[0]
            dead = torch.randperm(filters, generator=generator)[: round(share * filters)]
            norm = model.get_submodule(name.replace(".conv", ".bn"))
            for parameter in (layer.weight, norm.weight, norm.bias):
                parameter[dead] = 0


def shrunk_resnet50(share: float) -> tuple[nn.Module, nn.Module, float]:
    """Returns the dense network, the shrunk one, and their difference in float64."""
    torch.manual_seed(0)
    dense = models.build("resnet50", {}).eval()
    masked = models.build("resnet50", {}).eval()
    masked.load_state_dict(dense.state_dict())
    empty_channels(masked, share)
    graph = ChannelGraph.trace(masked, torch.zeros(1, *SHAPE))
    masks = make_masks(masked, graph, threshold=0.0, rule="absolute", granularity="element")
    small, _ = shrink(masked, graph, masks)
    return dense, small, exactness(masked, small, SHAPE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=0.7, help="share of channels removed")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=30.0, help="time for each batch size")
    parser.add_argument("--contiguous", action="store_true", help="not channels last")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dense, small, difference = shrunk_resnet50(arguments.share)
    example = torch.zeros(1, *SHAPE)
    macs = [physical_macs(model, example) for model in (dense, small)]
    ratio = macs[0] / macs[1]
    if not arguments.contiguous:
        dense, small = (m.to(memory_format=torch.channels_last) for m in (dense, small))
    rows = []
    for batch in arguments.batches:
        times = measure_latency(
            {"dense": dense, "shrunk": small}, torch.randn(batch, *SHAPE), seconds=arguments.seconds
        )
        speedup = times["dense"] / times["shrunk"]
        rows.append({"batch": batch, **times, "speedup": speedup, "of_macs": speedup / ratio})
    if arguments.json:
        print(json.dumps({"macs": macs, "exactness": difference, "rows": rows}))
        return
    print(f"torch {torch.__version__}, {arguments.threads} threads, difference {difference:.1e}")
    print(f"MACs {macs[0]:,} -> {macs[1]:,} ({ratio:.2f}x)")
    print(f"parameters {num_parameters(dense):,} -> {num_parameters(small):,}")
    print(f"{'batch':>5}{'dense ms':>11}{'shrunk ms':>11}{'speedup':>9}{'of MACs':>9}")
    for row in rows:
        print(
            f"{row['batch']:>5}{row['dense']:>11.1f}{row['shrunk']:>11.1f}"
            f"{row['speedup']:>8.2f}x{row['of_macs']:>9.2f}"
        )


if __name__ == "__main__":
    main()
