"""Speed of a shrunk ResNet-50 against the dense one, and against its MACs.

    OMP_NUM_THREADS=1 python benchmarks/latency.py

A random share of the internal channels of every residual block (those between its convolutions) is
zeroed with its normalization, found again from the zeros and removed, as they are and with widths
rounded up to multiples of 8 and of 16. All networks take turns in one run, each with its BatchNorms
and with them folded into its convolutions; the median time of a batch counts, by processor time, so
that what else the machine does matters little. The last column is the speedup over the ratio of the
MACs as they run: 1 would be a machine on which time is MACs.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

import hoyer_search as hs
from hoyer_search import models
from hoyer_search.compression.folding import fold_norms
from hoyer_search.compression.measure import num_parameters, physical_macs

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


def networks(share: float, widths: list[int]) -> dict[str, nn.Module]:
    """Returns the dense network and the shrunk ones by name; their exactness is asserted."""
    torch.manual_seed(0)
    dense = models.build("resnet50", {}).eval()
    masked = copy.deepcopy(dense)
    empty_channels(masked, share)
    found = {"dense": dense}
    for width in widths:
        small, report = hs.shrink(masked, torch.zeros(1, 3, 64, 64), round_to=width)
        print(
            f"round_to {width}: outputs differ by {report.exactness:.0e}, "
            f"{num_parameters(small):,} parameters",
            flush=True,
        )
        found["shrunk" if width == 1 else f"shrunk, round_to {width}"] = small
    return found


@torch.inference_mode()
def median_times(models: Mapping[str, nn.Module], images: Tensor, rounds: int) -> dict[str, float]:
    """Returns the median processor time of a batch by name, in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            start = time.process_time()
            model(images)
            if turn:  # the first warms up
                times[name].append(time.process_time() - start)
    return {name: statistics.median(runs) * 1e3 for name, runs in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=0.7, help="share of channels removed")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--round-to", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--rounds", type=int, default=7, help="timed batches of each network")
    parser.add_argument("--contiguous", action="store_true", help="not channels last")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # processor time of several threads is no latency
    plain = networks(arguments.share, arguments.round_to)
    macs = {name: physical_macs(model, torch.zeros(1, *SHAPE)) for name, model in plain.items()}
    form = torch.contiguous_format if arguments.contiguous else torch.channels_last
    kinds = {"": plain, ", folded": {name: fold_norms(model) for name, model in plain.items()}}
    rows = []
    for batch in arguments.batches:
        images = torch.randn(batch, *SHAPE).to(memory_format=form)
        timed = {
            name + kind: model.to(memory_format=form)
            for kind, some in kinds.items()
            for name, model in some.items()
        }
        times = median_times(timed, images, arguments.rounds * (4 if batch == 1 else 1))
        for kind in kinds:
            for name in plain:
                speedup = times["dense" + kind] / times[name + kind]
                ratio = macs["dense"] / macs[name]
                rows.append(
                    {
                        "network": name + kind,
                        "batch": batch,
                        "ms": times[name + kind],
                        "macs": macs[name],
                        "speedup": speedup,
                        "of_macs": speedup / ratio,
                    }
                )
    if arguments.json:
        print(json.dumps(rows))
        return
    print(f"{'network':<28}{'batch':>6}{'MACs':>15}{'ms':>9}{'speedup':>9}{'of MACs':>9}")
    for row in rows:
        print(
            f"{row['network']:<28}{row['batch']:>6}{row['macs']:>15,}{row['ms']:>9.1f}"
            f"{row['speedup']:>8.2f}x{row['of_macs']:>9.2f}"
        )


if __name__ == "__main__":
    main()
