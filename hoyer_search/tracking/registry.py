"""Front points as LoggedModels and versions of a registered model."""

from collections.abc import Mapping

from hoyer_search.front import Front
from hoyer_search.results import Point
from hoyer_search.tracking import names, runs
from hoyer_search.tracking.client import Client
from hoyer_search.tracking.cursor import Cursor
from hoyer_search.tracking.records import Sample
from hoyer_search.tracking.serving import FLAVOR
from hoyer_search.tracking.snapshot import Snapshot


def register(client: Client, sweep: Snapshot, cursor: Cursor, identity: names.Identity) -> None:
    """Registers every point of the front that is not yet, then points the aliases to the best.

    Aliases are the operating points, ``knee``, and ``best``: the strictest operating point. All
    sweeps of a task share them.
    Points without an artefact folder are left out.
    """
    front, folder = sweep.front, sweep.folder
    points = [p for p in (front.points if front else []) if folder.point(p.name).is_dir()]
    if front is None or not points:
        return
    model = identity.registered_model
    if any(point.name not in cursor.versions for point in points):
        description = f"Smaller networks found by hoyer-search for {identity.task}"
        client.registered_model(model, description=description)
        cursor.versions |= _known_versions(client, identity)
    for point in points:
        if point.name not in cursor.versions:
            cursor.versions[point.name] = _add(client, sweep, front, point, cursor, identity)
    _set_aliases(client, model, front, cursor, identity)


def aliases(front: Front) -> Mapping[str, Point]:
    """Returns the point of each alias; operating points that nothing keeps are left out."""
    kept = {
        names.alias(name): point
        for name, point in front.operating_points.items()
        if point is not None
    }
    if front.knee is not None:
        kept.setdefault("knee", front.knee)
    if kept:
        kept.setdefault("best", next(iter(kept.values())))
    return kept


def _known_versions(client: Client, identity: names.Identity) -> dict[str, str]:
    return {
        tags["point"]: version
        for version, tags in client.versions(identity.registered_model)
        if tags.get(names.SWEEP_ID) == identity.sweep_id
    }


def _set_aliases(
    client: Client, model: str, front: Front, cursor: Cursor, identity: names.Identity
) -> None:
    """Points aliases to this sweep's points, but to none that is larger than another sweep's.

    Sweeps of other sparsity objectives are not comparable: of those, the later one has the alias.
    """
    for alias, point in aliases(front).items():
        version = cursor.versions.get(point.name)
        if version is None or cursor.aliases.get(alias) == version:
            continue
        held = client.version_tags(model, alias)
        if not _smaller_elsewhere(held, front, point, identity):
            client.set_alias(model, alias, version)
        cursor.aliases[alias] = version


def _smaller_elsewhere(
    held: Mapping[str, str], front: Front, point: Point, identity: names.Identity
) -> bool:
    """Returns whether a version, by its tags, is another sweep's and smaller than a point."""
    if held.get(names.SWEEP_ID) == identity.sweep_id or held.get("sparsity") != front.sparsity:
        return False
    return float(held["compression"]) > front.compression(point)


def _add(
    client: Client,
    sweep: Snapshot,
    front: Front,
    point: Point,
    cursor: Cursor,
    identity: names.Identity,
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
            "accuracy": str(metrics["accuracy"]),
            "test_accuracy": str(metrics["test_accuracy"]),
            "nonzeros": str(point.nonzeros),
            "macs": str(point.macs),
            "compression": str(metrics["compression"]),
            "sparsity": front.sparsity,
            "data": sweep.config.data.source,
            "structure": point.structure,
        },
        description=(
            f"{front.compression(point):.1f}x smaller ({front.sparsity}) at "
            f"{point.val_accuracy:.2%} validation accuracy ({point.test_accuracy:.2%} on test): "
            f"{point.nonzeros:,} nonzero weights, {point.macs:,} MACs, structure "
            f"{point.structure}. Trial {point.trial} of sweep {identity.sweep}."
        ),
    )
