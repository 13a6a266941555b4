"""What a network is: accuracy, size, structure, latency, and whether shrinking it is exact."""

from dataclasses import dataclass

from torch import nn

from hoyer_search.compression import measure as compression
from hoyer_search.compression.channels import ChannelGraph
from hoyer_search.compression.exactness import exactness
from hoyer_search.compression.latency import measure_latency, measure_throughput
from hoyer_search.compression.masks import Masks, masks_from_zeros
from hoyer_search.compression.shrink import ShrinkReport, shrink
from hoyer_search.results import Dense, Point, TrialSpec
from hoyer_search.trial.training import evaluate
from hoyer_search.trial.workbench import Workbench


@dataclass(frozen=True, slots=True)
class Measured:
    """A finetuned network's record, its shrunk form, and what shrinking removed."""

    point: Point
    shrunk: nn.Module
    report: ShrinkReport


def measure_dense(model: nn.Module, bench: Workbench) -> Dense:
    """Returns the record of the dense network."""
    graph = bench.graph(model)
    masks = masks_from_zeros(model, graph)
    return Dense(
        val_accuracy=evaluate(model, bench.validation, topk=bench.topk),
        test_accuracy=evaluate(model, bench.test, topk=bench.topk),
        nonzeros=int(masks.nonzeros()),
        macs=int(masks.macs()),
        parameters=compression.num_parameters(model),
        structure=compression.structure(masks),
        latency_ms=measure_latency({"dense": model}, bench.example)["dense"],
        examples_per_second=measure_throughput({"dense": model}, bench.example)["dense"],
    )


def measure_point(
    model: nn.Module,
    graph: ChannelGraph,
    masks: Masks,
    bench: Workbench,
    *,
    spec: TrialSpec,
    index: int,
    threshold: float,
    raw_val_accuracy: float,
    val_accuracy: float,
) -> Measured:
    """Shrinks a finetuned, masked network and measures both.

    Args:
        model: The masked network.
        graph: Its channels.
        masks: Its zeros.
        bench: Data and device.
        spec: The trial.
        index: The point's place among the trial's points.
        threshold: Threshold it was pruned with.
        raw_val_accuracy: Validation accuracy before finetuning.
        val_accuracy: Validation accuracy after it.

    Raises:
        ShrinkError: The shrunk network's outputs differ from the masked one's.
    """
    shrunk, report = shrink(model, graph, masks)
    networks = {"dense": model, "shrunk": shrunk}
    latency = measure_latency(networks, bench.example)
    throughput = measure_throughput(networks, bench.example)
    point = Point(
        trial=spec.number,
        uid=spec.uid,
        index=index,
        params=spec.params,
        threshold=threshold,
        raw_val_accuracy=raw_val_accuracy,
        val_accuracy=val_accuracy,
        test_accuracy=evaluate(shrunk, bench.test, topk=bench.topk),
        nonzeros=int(masks.nonzeros()),
        macs=int(masks.macs()),
        physical_macs=compression.physical_macs(shrunk, bench.example),
        parameters=compression.num_parameters(shrunk),
        structure=compression.structure(masks),
        exactness=exactness(model, shrunk, bench.data.input_shape),
        latency_ms={"dense": latency["dense"], "shrunk": latency["shrunk"]},
        examples_per_second={"dense": throughput["dense"], "shrunk": throughput["shrunk"]},
        layers=compression.layer_results(masks),
    )
    return Measured(point, shrunk, report)
