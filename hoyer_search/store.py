"""The folder of a sweep: where everything lies, and the one truth that the rest is built from.

STORAGE/SWEEP/sweep.yaml          the resolved configuration; `hoyer-search run` takes it again
STORAGE/SWEEP/provenance.json     versions, code revision, when and where it was started
STORAGE/SWEEP/data.json           what tells its examples from others
STORAGE/SWEEP/earlier.json        trials of the sweep it started from
STORAGE/SWEEP/study.journal       the Optuna study
STORAGE/SWEEP/pretrained/HASH/    the dense network, shared by the trials
STORAGE/SWEEP/trials/UID/         spec.json, stages, checkpoints, metrics.jsonl, result.json, and
                                  histograms.json of its weights
STORAGE/SWEEP/points/UID-K/       artefacts of finetuned points
STORAGE/SWEEP/tracking/           what MLflow has acknowledged
STORAGE/SWEEP/usage.json          hours that the search has used
STORAGE/SWEEP/finished.json       why the search ended
STORAGE/SWEEP/driver.json         who runs the sweep, or ran it last; driver.lock says whether
STORAGE/SWEEP/report.html         what `hoyer-search report` wrote
"""

import json
import os
import re
import shlex
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ruamel.yaml import YAML

from hoyer_search import files, results, spaces
from hoyer_search.config import SweepConfig
from hoyer_search.errors import StorageError, unknown_name
from hoyer_search.front import Front
from hoyer_search.garbage import no_collection
from hoyer_search.memo import load_once
from hoyer_search.results import (
    DataContents,
    Dense,
    Earlier,
    Finished,
    Point,
    Record,
    TrialResult,
    TrialSpec,
    Usage,
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")

LOCK_SECONDS = 1.0
"""How long a driver tries to take a sweep before it says that another runs it."""


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """One sweep's folder.

    Attributes:
        path: ``STORAGE/SWEEP``, absolute.
    """

    path: Path

    @classmethod
    def create(
        cls,
        storage: Path,
        name: str,
        *,
        config: SweepConfig,
        provenance: dict[str, Any],
        contents: DataContents | None = None,
        earlier: Earlier | None = None,
    ) -> "SweepFolder":
        """Creates the folder of a new sweep, whole or not at all.

        Args:
            storage: The folder that holds sweeps.
            name: The sweep's name.
            config: Its configuration.
            provenance: Versions, revision, machine and time.
            contents: What tells its data from others.
            earlier: What it knows from an earlier sweep, which it does not need from then on.

        Raises:
            StorageError: The name leaves its folder or is taken, or the storage is not writable.
        """
        check_new(storage, name)
        folder = cls(storage.absolute() / name)
        try:
            with files.new_directory(folder.path) as temporary:
                (temporary / "trials").mkdir()
                (temporary / "points").mkdir()
                (temporary / "pretrained").mkdir()
                (temporary / "sweep.yaml").write_text(dump_yaml(config), encoding="utf-8")
                (temporary / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")
                if contents is not None:
                    results.save(temporary / "data.json", contents)
                if earlier is not None:
                    results.save(temporary / "earlier.json", earlier)
        except OSError as error:
            raise StorageError(
                f"storage {storage} cannot be written: {error}. Give another with --storage"
            ) from error
        return folder

    @classmethod
    def open(cls, storage: Path, name: str) -> "SweepFolder":
        """Opens the folder of an existing sweep.

        Raises:
            StorageError: There is no such sweep; the existing ones are listed, nearest first.
        """
        check_name(name)
        folder = cls(storage.absolute() / name)
        if not (folder.path / "sweep.yaml").is_file():
            known = sweep_names(storage)
            if not known:
                raise StorageError(
                    f"no sweep in {storage.absolute()}: give its folder with --storage"
                )
            raise StorageError(unknown_name(f"sweep in {storage.absolute()}", name, known))
        return folder

    @property
    def name(self) -> str:
        """Returns the sweep's name."""
        return self.path.name

    @property
    def study_journal(self) -> Path:
        """Returns the path of the Optuna journal."""
        return self.path / "study.journal"

    @property
    def tracking(self) -> Path:
        """Returns the folder of what the tracking server has acknowledged."""
        return self.path / "tracking"

    def pretrained(self, key: str) -> Path:
        """Returns the folder of a memoised dense network."""
        return self.path / "pretrained" / key

    def trial(self, uid: str) -> Path:
        """Returns the folder of a trial.

        Raises:
            StorageError: A record gives it an id that leads elsewhere.
        """
        return self.path / "trials" / _plain(uid)

    def point(self, name: str) -> Path:
        """Returns the folder of a point's artefact; ``name`` is ``Point.name``.

        Raises:
            StorageError: A record gives it a name that leads elsewhere.
        """
        return self.path / "points" / _plain(name)

    def config(self) -> SweepConfig:
        """Returns the sweep's configuration.

        Raises:
            ConfigError: ``sweep.yaml`` was edited into something invalid.
        """
        return spaces.load(self.path / "sweep.yaml")

    def set_config(self, config: SweepConfig) -> None:
        """Replaces the sweep's configuration; the caller holds the sweep's lock."""
        files.write_text(self.path / "sweep.yaml", dump_yaml(config))

    def usage(self) -> Usage:
        """Returns what the search has used; a driver that was killed may miss 10 s of it."""
        path = self.path / "usage.json"
        return results.load(Usage, path) if path.is_file() else Usage()

    def save_usage(self, usage: Usage) -> None:
        """Records what the search has used."""
        results.save(self.path / "usage.json", usage)

    def finished(self) -> Finished | None:
        """Returns how the search ended, None while it has not."""
        path = self.path / "finished.json"
        return results.load(Finished, path) if path.is_file() else None

    def save_finished(self, finished: Finished | None) -> None:
        """Records how the search ended, or that it goes on."""
        if finished is None:
            (self.path / "finished.json").unlink(missing_ok=True)
        else:
            results.save(self.path / "finished.json", finished)

    def provenance(self) -> dict[str, Any]:
        """Returns versions, revision, machine and time of the sweep's start.

        Raises:
            StorageError: The file is missing or damaged.
        """
        path = self.path / "provenance.json"
        try:
            provenance: dict[str, Any] = dict(files.read_json(path))
        except (OSError, ValueError, TypeError) as error:
            raise StorageError(f"{path} does not hold a provenance: {error}") from error
        return provenance

    def contents(self) -> DataContents | None:
        """Returns what tells the sweep's data from others, None where nothing was kept of it."""
        path = self.path / "data.json"
        return results.load(DataContents, path) if path.is_file() else None

    def earlier(self) -> Earlier | None:
        """Returns what the sweep knows from an earlier one, None when it started from nothing."""
        path = self.path / "earlier.json"
        return results.load(Earlier, path) if path.is_file() else None

    def add_trial(self, spec: TrialSpec) -> None:
        """Records a trial before it starts."""
        folder = self.trial(spec.uid)
        folder.mkdir(parents=True, exist_ok=True)
        results.save(folder / "spec.json", spec)

    def spec(self, uid: str) -> TrialSpec | None:
        """Returns a trial's specification, None when there is no such trial."""
        path = self.trial(uid) / "spec.json"
        return results.load(TrialSpec, path) if path.is_file() else None

    def specs(self) -> list[TrialSpec]:
        """Returns the specification of every trial of the search, by number."""
        return [spec for spec in self.all_specs() if spec.retrains is None]

    def retraining_specs(self) -> list[TrialSpec]:
        """Returns the specification of every retraining of a winner, by its number and repeat."""
        return [spec for spec in self.all_specs() if spec.retrains is not None]

    def result(self, uid: str) -> TrialResult | None:
        """Returns how a trial ended, None while it has not."""
        path = self.trial(uid) / "result.json"
        return results.load(TrialResult, path) if path.is_file() else None

    def results(self) -> list[TrialResult]:
        """Returns the results of all trials of the search that ended, by number."""
        return [result for result in self.all_results() if result.retrains is None]

    def retrainings(self) -> list[TrialResult]:
        """Returns the results of the winners' retrainings that ended, by number and repeat."""
        return [result for result in self.all_results() if result.retrains is not None]

    def dense(self) -> Dense | None:
        """Returns the dense network's measurements, None before it is trained."""
        path = next((self.path / "pretrained").glob("*/dense.json"), None)
        return None if path is None else results.load(Dense, path)

    def points(self) -> list[Point]:
        """Returns every finetuned point of every trial of the search."""
        return [point for result in self.results() for point in result.points]

    def front(self) -> Front | None:
        """Returns the front so far, None before the dense network is known."""
        dense = self.dense()
        if dense is None:
            return None
        objective = self.config().objective
        return Front.of(
            self.points(),
            dense=dense,
            sparsity=objective.sparsity,
            floors=objective.floors(dense.val_accuracy),
        )

    def metrics(self, uid: str) -> Iterator[dict[str, Any]]:
        """Yields the whole lines of a trial's ``metrics.jsonl``; torn ones are left out."""
        yield from files.read_lines(self.trial(uid) / "metrics.jsonl")

    def all_specs(self) -> list[TrialSpec]:
        """Returns the specifications of trials and retrainings, by number and repeat."""
        return sorted(self._records(TrialSpec, "spec.json"), key=_order)

    def all_results(self) -> list[TrialResult]:
        """Returns the results of trials and retrainings that ended, by number and repeat."""
        return sorted(self._records(TrialResult, "result.json"), key=_order)

    def _records(self, kind: type[Record], name: str) -> list[Record]:
        with no_collection():
            return [load_once(kind, p) for p in (self.path / "trials").glob(f"*/{name}")]

    def lock(self) -> FileLock:
        """Takes the sweep for this process; a second driver is refused.

        The lock ends with the process, however it ends.

        Raises:
            StorageError: Another process runs this sweep; it is named.
            OSError: The folder cannot be written.
        """
        # Whoever asks whether the sweep runs holds the lock for a moment.
        lock = FileLock(self.path / "driver.lock", timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout as error:
            raise self._taken() from error
        holder = {"host": socket.gethostname(), "pid": os.getpid()}
        try:
            files.write_json(self.path / "driver.json", holder)
        except OSError:
            lock.release()
            raise
        return lock

    def check_idle(self) -> None:
        """Checks that no driver holds the sweep now.

        Raises:
            StorageError: One does; it is named.
        """
        if self.running:
            raise self._taken()

    def _taken(self) -> StorageError:
        """Returns the error that names who said last that it runs the sweep."""
        try:
            holder = files.read_json(self.path / "driver.json")
            who = f"process {holder['pid']} on {holder['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            who = "another process"
        return StorageError(f"sweep {self.name!r} is being run by {who}: wait for it or stop it")

    @property
    def running(self) -> bool:
        """Returns whether a driver holds the sweep now."""
        lock = FileLock(self.path / "driver.lock", blocking=False)
        try:
            with lock:
                return False
        except Timeout:
            return True

    def state(self) -> str:
        """Returns ``running``, ``finished`` or ``interrupted``."""
        if self.running:
            return "running"
        return "finished" if (self.path / "finished.json").is_file() else "interrupted"


def _order(record: TrialSpec | TrialResult) -> tuple[int, int]:
    return record.number, record.retrains.repeat if record.retrains else 0


def _plain(name: str) -> str:
    """Returns the name of a folder of the sweep, which whoever can write to it may have chosen.

    Raises:
        StorageError: It is no plain folder name.
    """
    if not NAME.fullmatch(name):
        raise StorageError(
            f"a record of the sweep names a folder {name!r}, which is no plain name: it is damaged"
        )
    return name


def check_name(name: str) -> None:
    """Checks that a sweep's name is one plain folder name.

    Raises:
        StorageError: It is not.
    """
    if not NAME.fullmatch(name):
        raise StorageError(
            f"a sweep's name takes letters, digits, '.', '_' and '-', at most 100; got {name!r}"
        )


def check_new(storage: Path, name: str) -> None:
    """Checks that a sweep of that name can be created.

    Raises:
        StorageError: It is no plain folder name, or taken, or the storage is no folder but a URL.
    """
    check_name(name)
    check_is_folder(storage)
    if (storage / name).exists():
        raise StorageError(
            f"sweep {name!r} exists already in {storage.absolute()}: choose another name, "
            f"or go on with it by `hoyer-search resume {name} {storage_argument(storage)}`"
        )


def storage_argument(storage: Path) -> str:
    """Returns a storage as an argument of a command to copy."""
    return f"--storage {shlex.quote(str(storage))}"


def check_is_folder(storage: Path) -> None:
    """Checks that a storage can be a folder, here or on a cluster.

    Raises:
        StorageError: It is a URL.
    """
    if not storage.exists() and any(SCHEME.fullmatch(part) for part in storage.parts):
        raise StorageError(
            f"storage must be a folder, one that all nodes mount; got {storage}, which looks like "
            "a URL: give the folder where that is mounted (NFS, EFS, Filestore)"
        )


def sweep_names(storage: Path) -> list[str]:
    """Returns the names of all sweeps in a storage folder, oldest first."""
    found = sorted(storage.glob("*/sweep.yaml"), key=lambda path: path.stat().st_mtime)
    return [path.parent.name for path in found]


def dump_yaml(config: SweepConfig) -> str:
    """Returns a configuration as the YAML that ``spaces.load`` reads back the same."""
    buffer = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    # ruamel types this attribute as None; False keeps the order of the fields
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(config.model_dump(mode="json", exclude_none=True), buffer)
    return buffer.getvalue()
