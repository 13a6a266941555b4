"""Running a sweep: every check first, then the search, with its tracking beside it."""

import contextlib
import datetime
import importlib.metadata
import logging
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from hoyer_search import files, spaces, tracking
from hoyer_search.client import DEFAULT_STORAGE, StoredSweep
from hoyer_search.config import SweepConfig
from hoyer_search.errors import ConfigError, StorageError, StorageFull
from hoyer_search.redaction import paths_of_secrets
from hoyer_search.results import DataContents, Earlier, Event
from hoyer_search.store import SweepFolder, check_new, storage_argument

log = logging.getLogger(__name__)

CHANGEABLE = {"budget": "budget.*", "resources": "resources.*", "confirm": "confirm"}
"""Fields of the configuration that ``resume`` may change: no trained network depends on them."""

_PACKAGES = ("hoyer-search", "torch", "torchvision", "ray", "optuna", "mlflow", "numpy")


def _ignore(event: Event) -> None:
    """Drops an event."""


def run(
    space: str | os.PathLike[str] | SweepConfig,
    *,
    name: str | None = None,
    storage: str | os.PathLike[str] = DEFAULT_STORAGE,
    tracking_uri: str | None = None,
    address: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    on_event: Callable[[Event], None] = _ignore,
) -> StoredSweep:
    """Runs a sweep to its end and returns it.

    Everything that can be wrong with the input is checked before anything is written or started.

    Args:
        space: Name of a built-in search space, path of a YAML file, or a configuration.
        name: The sweep's name; by default the space's with date and time.
        storage: Folder that holds sweeps.
        tracking_uri: MLflow store; by default ``sqlite:///STORAGE/mlflow.db``.
        address: Ray cluster as ``HOST:PORT``; by default Ray runs inside this process.
        overrides: Values by dotted path, e.g. ``{"budget.trials": 20}``.
        on_event: Called in this process at each step of each trial.

    Raises:
        InputError: Something given is wrong; nothing was started.
        StorageFull: The storage has no space left; ``resume`` goes on once it has.
        KeyboardInterrupt: Ctrl-C; ``resume`` goes on.
    """
    config = load_space(space, overrides)
    name = name or default_name(config)
    root = Path(storage).absolute()
    check_new(root, name)
    uri = tracking_uri or tracking.default_uri(root)
    earlier = _earlier(config, root)
    data = _check(config, root, uri, address)
    folder = SweepFolder.create(
        root,
        name,
        config=config,
        provenance=_provenance(uri),
        contents=_contents(data),
        earlier=earlier,
    )
    return _search(folder, data, uri=uri, address=address, on_event=on_event)


def resume(
    name: str,
    *,
    storage: str | os.PathLike[str] = DEFAULT_STORAGE,
    tracking_uri: str | None = None,
    address: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    on_event: Callable[[Event], None] = _ignore,
) -> StoredSweep:
    """Goes on with a sweep that was interrupted, wherever it was, and returns it at its end.

    One that stopped on its budget goes on when it is given more of it.

    Args:
        name: The sweep's name.
        storage: Folder that holds it.
        tracking_uri: MLflow store; by default the one it was started with.
        address: Ray cluster as ``HOST:PORT``; by default Ray runs inside this process.
        overrides: Values by dotted path that replace those of the sweep for good, of ``budget``,
            ``resources`` and ``confirm`` only, e.g. ``{"budget.trials": 40}``.
        on_event: Called in this process at each step of each trial.

    Raises:
        InputError: There is no such sweep, another process runs it, what it needs is gone, its
            data are others, or something else is to change.
        StorageFull: The storage has no space left; ``resume`` goes on once it has.
        KeyboardInterrupt: Ctrl-C; ``resume`` goes on once more.
    """
    root = Path(storage).absolute()
    folder = SweepFolder.open(root, name)
    uri = tracking_uri_of(folder, tracking_uri)
    config = changed_config(folder, overrides or {})
    data = _check(config, root, uri, address)
    _check_same(folder, data, config)
    return _search(folder, data, config=config, uri=uri, address=address, on_event=on_event)


def changed_config(folder: SweepFolder, overrides: Mapping[str, Any]) -> SweepConfig:
    """Returns a sweep's configuration with some of it replaced, all in memory.

    Raises:
        ConfigError: A field may not change once trials have run, or its value is wrong or secret.
    """
    check_public(overrides)
    for path in overrides:
        if path.split(".")[0] not in CHANGEABLE:
            raise ConfigError(
                f"--set {path}: the trials of a sweep must stay comparable, so only "
                f"{', '.join(CHANGEABLE.values())} may change when it goes on; start a new sweep "
                "for anything else"
            )
    config = spaces.load(folder.path / "sweep.yaml", overrides=overrides)
    before, after = folder.config().resources, config.resources
    moved = (before.cpus, before.gpus) != (after.cpus, after.gpus)
    if config.objective.sparsity == "latency_ms" and moved:
        raise ConfigError(
            "resources: a sweep for latency measures it on the resources of a trial, which must "
            f"stay {before.cpus:g} CPUs and {before.gpus:g} GPUs; got {after.cpus:g} and "
            f"{after.gpus:g}. Only resources.workers may change"
        )
    return config


def tracking_uri_of(folder: SweepFolder, given: str | None = None) -> str:
    """Returns the MLflow store of a sweep: the one given, or the one it was started with."""
    started_with: str | None = folder.provenance().get("tracking_uri")
    return given or started_with or tracking.default_uri(folder.path.parent)


def default_name(config: SweepConfig) -> str:
    """Returns the name of a sweep that was given none: the space's, with date and time."""
    return f"{config.name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def load_space(
    space: str | os.PathLike[str] | SweepConfig, overrides: Mapping[str, Any] | None
) -> SweepConfig:
    """Returns the configuration that a space's name, file or configuration stands for.

    Raises:
        ConfigError: The space is unknown, breaks a rule or holds a secret.
        TypeError: A configuration is given together with overrides.
    """
    if not isinstance(space, SweepConfig):
        space = spaces.load(space if isinstance(space, str) else Path(space), overrides=overrides)
    elif overrides:
        raise TypeError("overrides go with a space's name or file, not with a SweepConfig")
    else:
        space = spaces.check(space)
    check_public(space.model_dump(mode="json"))
    return space


def check_public(config: Mapping[str, Any]) -> None:
    """Checks that a configuration, or a part of it, holds no secret: it is stored and shown.

    Raises:
        ConfigError: A value is a URL with a user or password, or a secret of the environment.
    """
    for path in paths_of_secrets(dict(config)):
        raise ConfigError(
            f"{path}: a sweep's configuration is stored and shown, so it may hold no secret; this "
            "value has a URL with a user or password in it, or the value of an environment "
            "variable that is named as one. Let your code read it from the environment"
        )


def _earlier(config: SweepConfig, storage: Path) -> Earlier | None:
    from hoyer_search.search.earlier import read_earlier

    return None if config.warm_start_from is None else read_earlier(config, storage)


def _check(config: SweepConfig, storage: Path, uri: str, address: str | None) -> Any:
    """Checks model, data, storage, tracking and cluster, and returns the data."""
    from hoyer_search.search.cluster import check_cluster
    from hoyer_search.trial.preflight import load_checked

    _check_writable(storage)
    check_cluster(config.resources, address=address)
    data = load_checked(config)
    tracking.check(uri)
    return data


def _contents(data: Any) -> DataContents:
    from hoyer_search.datasets.contents import contents

    return contents(data)


def _check_same(folder: SweepFolder, data: Any, config: SweepConfig) -> None:
    """Checks that a sweep goes on with the data it began with."""
    from hoyer_search.datasets.contents import check_contents

    before = folder.contents()
    if before is not None:
        check_contents(before, data, source=config.data.source)


def _check_writable(storage: Path) -> None:
    existing = next(p for p in (storage, *storage.parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise StorageError(
            f"storage {storage} cannot be written ({existing} is no writable folder): "
            "give another with --storage"
        )


def _search(
    folder: SweepFolder,
    data: Any,
    *,
    config: SweepConfig | None = None,
    uri: str,
    address: str | None,
    on_event: Callable[[Event], None],
) -> StoredSweep:
    from hoyer_search.search.tuner import run_search

    with _space(folder), folder.lock():
        if config is not None and config != folder.config():
            folder.save_finished(None)  # it tells of limits that are no more
            folder.set_config(config)
        tracker = tracking.Tracker(folder, uri)
        tracker.start()

        @cache
        def look_at_floors() -> None:
            _warn_of_floors(folder, data)

        def observe(event: Event) -> None:
            if event.spec is not None:  # the dense network is known from then on
                look_at_floors()
            if event.result is not None:
                tracker.notify()
            on_event(event)

        try:
            run_search(
                folder, data=data, address=address, on_event=observe, outbox=tracker.num_waiting
            )
        except BaseException:
            tracker.close(timeout=10)  # whoever stops a sweep does not want to wait
            raise
        if not tracker.close():
            log.warning(
                "MLflow lacks some of the sweep (%s); `hoyer-search sync %s` uploads it",
                tracker.problem,
                _where(folder),
            )
    return StoredSweep(folder)


def _warn_of_floors(folder: SweepFolder, data: Any) -> None:
    """Warns of operating points that ask for no more accuracy than guessing has."""
    dense, objective = folder.dense(), folder.config().objective
    if dense is None or not data.outputs:
        return
    guessing = min(1.0, (5 if objective.accuracy == "top5" else 1) / data.outputs)
    floors = objective.floors(dense.val_accuracy)
    low = {point: floor for point, floor in floors.items() if floor <= guessing}
    if low:
        log.warning(
            "a network that only guesses among %d outputs is right on %.2f%%, which keeps the "
            "floor of operating points %s; the dense network has %.2f%%: pretrain it for longer, "
            "or set smaller drops, or the smallest network there may be a useless one",
            data.outputs,
            100 * guessing,
            ", ".join(f"{point} ({100 * floor:.2f}%)" for point, floor in low.items()),
            100 * dense.val_accuracy,
        )


@contextlib.contextmanager
def _space(folder: SweepFolder) -> Iterator[None]:
    """Says that the storage is full when that is what ended the block."""
    try:
        yield
    except Exception as error:
        if not files.out_of_space(error):
            raise
        raise StorageFull(
            f"no space is left for {folder.path}: free some, and `hoyer-search resume "
            f"{_where(folder)}` goes on; what is written is whole"
        ) from error


def _where(folder: SweepFolder) -> str:
    """Returns a sweep's name and storage as arguments of a command."""
    return f"{folder.name} {storage_argument(folder.path.parent)}"


def _provenance(tracking_uri: str) -> dict[str, Any]:
    parts = urlsplit(tracking_uri)
    public = parts._replace(netloc=parts.netloc.rpartition("@")[2])  # never store a password
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "revision": _revision(),
        "tracking_uri": tracking_uri if not parts.netloc else urlunsplit(public),
    }


def _revision() -> str | None:
    """Returns the Git revision of the working folder, None outside a repository."""
    try:
        shown = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return shown.stdout.strip() or None
