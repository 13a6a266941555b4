"""Front points as LoggedModels and versions of a registered model."""

import math
from collections.abc import Mapping

from hoyer_search.front import Front
from hoyer_search.results import Point
from hoyer_search.tracking import names, runs
from hoyer_search.tracking.client import Client
from hoyer_search.tracking.cursor import Cursor
from hoyer_search.tracking.records import Sample
from hoyer_search.tracking.serving import FLAVOR
from hoyer_search.tracking.snapshot import Snapshot

Holders = Mapping[str, Mapping[str, str]]
"""Tags of the version that each alias points to."""


def register(client: Client, sweep: Snapshot, cursor: Cursor, identity: names.Identity) -> None:
    """Registers every point of the front that is not yet, then points the aliases to the best.

    Aliases are the operating points, ``knee``, and ``best``: the strictest operating point that a
    network keeps. All sweeps of a task share them.
    Points without an artefact folder are left out.
    """
    front, folder = sweep.front, sweep.folder
    points = [p for p in (front.points if front else []) if folder.point(p.name).is_dir()]
    if front is None or not points:
        return
    model, config = identity.registered_model, sweep.config
    found = f"{config.model.factory} on {config.data.source}"
    client.registered_model(
        model, description=f"Smaller networks of {found}, found by hoyer-search"
    )
    cursor.versions |= _known_versions(client, identity)
    holders = client.holders(model)
    for point in points:
        if point.name not in cursor.versions:
            tags = _floor_tags(sweep, front, point, holders, identity)
            cursor.versions[point.name] = _add(client, sweep, front, point, cursor, identity, tags)
    _set_aliases(client, sweep, front, cursor, holders, identity)


def aliases(front: Front) -> Mapping[str, Point]:
    """Returns the point of each alias; operating points that nothing keeps are left out."""
    kept = {
        names.alias(name): point
        for name, point in front.operating_points.items()
        if point is not None
    }
    if kept:
        kept.setdefault("best", next(iter(kept.values())))
    if front.knee is not None:
        kept.setdefault("knee", front.knee)
    return kept


def _floors(front: Front) -> dict[str, float]:
    """Returns the floor that each alias stands for; ``knee`` has none."""
    points = front.operating_points
    floors = {names.alias(n): floor for n, floor in front.floors.items() if points[n] is not None}
    if floors:
        floors.setdefault("best", next(iter(floors.values())))
    return floors


def _known_versions(client: Client, identity: names.Identity) -> dict[str, str]:
    return {
        tags["point"]: version
        for version, tags in client.versions(identity.registered_model)
        if tags.get(names.SWEEP_ID) == identity.sweep_id
    }


def _set_aliases(
    client: Client,
    sweep: Snapshot,
    front: Front,
    cursor: Cursor,
    holders: Holders,
    identity: names.Identity,
) -> None:
    """Points aliases to this sweep's points that meet their demands.

    None goes to a point that is larger than another sweep's which keeps the floor too. Sizes of
    other sparsity objectives are not comparable: of those, the later sweep that meets the demand
    has the alias.
    """
    floors = _floors(front)
    for alias, point in aliases(front).items():
        version, held = cursor.versions.get(point.name), holders.get(alias, {})
        if version is None or point.val_accuracy < _demand(alias, held, sweep, identity):
            continue
        if not _smaller_elsewhere(held, front, point, identity, floor=floors.get(alias, 0.0)):
            client.set_alias(identity.registered_model, alias, version)


def _smaller_elsewhere(
    held: Mapping[str, str], front: Front, point: Point, identity: names.Identity, *, floor: float
) -> bool:
    """Returns whether a version, by its tags, is another sweep's, smaller, and keeps a floor."""
    if held.get(names.SWEEP_ID) == identity.sweep_id or held.get("sparsity") != front.sparsity:
        return False
    keeps = float(held["accuracy"]) >= round(floor, 4)  # as that is rounded
    return keeps and float(held["compression"]) > front.compression(point)


def _demand(
    alias: str, held: Mapping[str, str], sweep: Snapshot, identity: names.Identity
) -> float:
    """Returns the validation accuracy at which a version, by its tags, gives up an alias.

    That is the floor it was chosen for. Without that tag (``knee`` has no floor, earlier releases
    wrote none) it is another sweep's own accuracy, and nothing within the sweep. A version whose
    accuracy is unknown, or another measure than the sweep's, keeps the alias.
    """
    if not held:
        return 0.0
    own, measure = held.get(names.SWEEP_ID) == identity.sweep_id, sweep.config.objective.accuracy
    if not own and held.get("measure", "top1") != measure:
        return math.inf
    return float(held.get(_floor_tag(alias), 0.0 if own else held.get("accuracy", math.inf)))


def _floor_tag(alias: str) -> str:
    return f"floor_{alias}"


def _floor_tags(
    sweep: Snapshot, front: Front, point: Point, holders: Holders, identity: names.Identity
) -> dict[str, str]:
    """Returns the floor that a point was chosen for, as a tag by each of its aliases.

    A higher one that the point takes over with the alias stays, or the alias would sink from sweep
    to sweep.
    """
    chosen, tags = aliases(front), {}
    for alias, floor in _floors(front).items():
        if chosen[alias].name == point.name:
            demand = _demand(alias, holders.get(alias, {}), sweep, identity)
            kept = max(floor, demand) if point.val_accuracy >= demand else floor
            tags[_floor_tag(alias)] = str(kept)
    return tags


def _add(
    client: Client,
    sweep: Snapshot,
    front: Front,
    point: Point,
    cursor: Cursor,
    identity: names.Identity,
    floor_tags: Mapping[str, str],
) -> str:
    """Registers one point and returns its version."""
    experiment, run_id = cursor.experiment or "", cursor.trials[point.uid].record.run_id
    metrics = runs.point_metrics(point, front)
    marks = {names.SWEEP_ID: identity.sweep_id, names.POINT: point.name}
    model_id, ready = client.find_model(experiment, marks) or (None, False)
    if model_id is None or not ready:
        model_id = client.log_model(
            experiment,
            run_id,
            name=f"{identity.task}-{point.name}",
            folder=sweep.folder.point(point.name),
            tags=identity.tags | {names.POINT: point.name},
            flavor=FLAVOR,
            unfinished=model_id,
        )
    # Older than the run's own metrics, so that they stay the last of the run.
    time = int((sweep.folder.trial(point.uid) / "spec.json").stat().st_mtime * 1000)
    samples = [Sample(key, value, time) for key, value in metrics.items()]
    client.log(run_id, samples=samples, model_id=model_id)
    client.log_data(run_id, name=sweep.config.data.source, settings=sweep.config.data.model_dump())
    return client.create_version(
        identity.registered_model,
        model_id=model_id,
        run_id=run_id,
        tags={
            names.SWEEP_ID: identity.sweep_id,
            "sweep": identity.sweep,
            "point": point.name,
            "model_id": model_id,
            "measure": sweep.config.objective.accuracy,
            "accuracy": str(metrics["accuracy"]),
            "test_accuracy": str(metrics["test_accuracy"]),
            "nonzeros": str(point.nonzeros),
            "macs": str(point.macs),
            "compression": str(metrics["compression"]),
            "sparsity": front.sparsity,
            "data": sweep.config.data.source,
            "structure": point.structure,
        }
        | dict(floor_tags),
        description=(
            f"{front.times(point)} smaller ({front.sparsity}) at "
            f"{point.val_accuracy:.2%} validation accuracy ({point.test_accuracy:.2%} on test): "
            f"{point.nonzeros:,} nonzero weights, {point.macs:,} MACs, structure "
            f"{point.structure}. Trial {point.trial} of sweep {identity.sweep}."
        ),
    )
