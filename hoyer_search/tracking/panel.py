"""What the report shows of a network that its reader chooses: plain data for ``page.js``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hoyer_search import histograms
from hoyer_search.front import Front
from hoyer_search.histograms import Histogram, TrialHistograms
from hoyer_search.results import LayerResult, Point
from hoyer_search.tracking import names, series
from hoyer_search.tracking.snapshot import Snapshot

DETAILED = 40
"""Most networks of the front whose layers a report holds."""


def network(
    sweep: Snapshot,
    front: Front,
    points: Sequence[Point],
    *,
    runs: Mapping[str, str],
    uri: str | None = None,
) -> dict[str, Any]:
    """Returns every finetuned network as columns, and the layers of those on the front.

    Args:
        sweep: The sweep.
        front: Its front, with a point at least.
        points: Its finetuned networks; figures refer to them by their place.
        runs: MLflow's run id by the trial's uid, of those that have one.
        uri: Tracking URI of the page that shows it, None for one that stays here.
    """
    places = {point.name: place for place, point in enumerate(points)}
    labels = {places[name]: label for name, label in series.labels(front).items()}
    winners = {p.name: name for name, p in reversed(list(front.operating_points.items())) if p}
    order = [places[point.name] for point in front.points]
    detailed = {place: points[place] for place in _some(order, labels)}
    return {
        "unit": series.UNITS[front.sparsity],
        "dense": _dense(front),
        "points": _columns(points, front),
        "params": {
            name: [point.params.get(name) for point in points]
            for name in sweep.config.search.dimensions
            if name != "threshold"
        },
        "order": order,
        "labels": labels,
        "first": next(iter(labels), order[0]),
        "runs": {p.uid: runs[p.uid] for p in points if p.uid in runs},
        "pull": {
            places[p.name]: names.pull_command(sweep.folder, winners.get(p.name, p.name), uri=uri)
            for p in front.points
        },
        "detailed": DETAILED,
        "layers": {place: _layers(point.layers) for place, point in detailed.items()},
        "histograms": _histograms(sweep, detailed),
    }


def _some(order: Sequence[int], labels: Iterable[int]) -> list[int]:
    """Returns the operating points, and others spread evenly over the front."""
    room = max(1, DETAILED - len(set(labels)))
    step = -(-len(order) // room)
    return sorted({*labels, *order[::step]})


def _dense(front: Front) -> dict[str, Any]:
    dense = front.dense
    return {
        "test": dense.test_accuracy,
        "nonzeros": dense.nonzeros,
        "macs": dense.macs,
        "parameters": dense.parameters,
        "structure": dense.structure,
    }


def _columns(points: Sequence[Point], front: Front) -> dict[str, list[Any]]:
    return {
        "uid": [p.uid for p in points],
        "trial": [p.trial for p in points],
        "compression": series.rounded(front.compression(p) for p in points),
        "val": [round(p.val_accuracy, 6) for p in points],
        "raw": [round(p.raw_val_accuracy, 6) for p in points],
        "test": [round(p.test_accuracy, 6) for p in points],
        "nonzeros": [p.nonzeros for p in points],
        "macs": [p.macs for p in points],
        "physical_macs": [p.physical_macs for p in points],
        "parameters": [p.parameters for p in points],
        "structure": [p.structure for p in points],
        "threshold": series.rounded(p.threshold for p in points),
        "dense_latency": series.rounded(p.latency_ms["dense"] for p in points),
        "latency": series.rounded(p.latency_ms["shrunk"] for p in points),
        "dense_rate": series.rounded(p.examples_per_second.get("dense", 0.0) for p in points),
        "rate": series.rounded(p.examples_per_second.get("shrunk", 0.0) for p in points),
    }


def _layers(layers: Iterable[LayerResult]) -> list[list[Any]]:
    return [[n.name, n.weights, n.nonzeros, n.rows, n.columns, n.macs] for n in layers]


def _histograms(sweep: Snapshot, detailed: Mapping[int, Point]) -> dict[str, Any]:
    """Returns histograms by stage; those of a trial that kept none are left out."""
    read: dict[str, TrialHistograms | None] = {
        uid: histograms.load(sweep.folder.trial(uid)) for uid in {p.uid for p in detailed.values()}
    }
    known = {uid: found for uid, found in read.items() if found is not None}
    return {
        "dense": next((_plain(found.dense) for found in known.values()), None),
        "regularized": {uid: _plain(found.regularized) for uid, found in known.items()},
        "finetuned": {
            place: _plain(known[point.uid].points[point.index])
            for place, point in detailed.items()
            if point.uid in known
        },
    }


def _plain(layers: Mapping[str, Histogram]) -> dict[str, list[Any]]:
    return {name: [*series.rounded([one.limit]), one.counts] for name, one in layers.items()}
