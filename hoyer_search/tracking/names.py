"""Names and tags that a sweep, its trials and its points have in MLflow."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from hoyer_search import files
from hoyer_search.config import SweepConfig
from hoyer_search.store import SweepFolder

KIND = "hoyer.kind"
SWEEP = "hoyer.sweep"
SWEEP_ID = "hoyer.sweep_id"
UID = "hoyer.uid"
STATE = "hoyer.state"
FRONT = "hoyer.front"
POINT = "hoyer.point"
START = "hoyer.started_from"
RETRAINS = "hoyer.retrains"
COLOUR = "mlflow.runColor"
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a sweep is called.

    Attributes:
        sweep: Its name.
        sweep_id: 16 hex digits that also tell sweeps of the same name apart.
        task: ``DATASET-MODEL``.
    """

    sweep: str
    sweep_id: str
    task: str

    @classmethod
    def of(cls, folder: SweepFolder, config: SweepConfig) -> "Identity":
        """Returns the identity of a sweep's folder; it is the same every time."""
        identity = files.digest([folder.name, folder.provenance()])[:16]
        task = f"{_last(config.data.source)}-{_last(config.model.factory)}"
        return cls(sweep=folder.name, sweep_id=identity, task=task)

    @property
    def experiment(self) -> str:
        """Returns the name of the experiment, which sweeps of the same task share."""
        return f"hoyer/{self.task}"

    @property
    def registered_model(self) -> str:
        """Returns the name of the registered model."""
        return f"hoyer-{self.task}"

    @property
    def tags(self) -> dict[str, str]:
        """Returns the tags that everything of the sweep carries."""
        return {SWEEP: self.sweep, SWEEP_ID: self.sweep_id, "mlflow.source.name": "hoyer-search"}


def _last(path: str) -> str:
    """Returns ``function`` of ``package.module:function``, or an alias as it is."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", path.rpartition(":")[2])


def alias(operating_point: str) -> str:
    """Returns an operating point's name as MLflow accepts it for an alias."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", operating_point)
    return f"point-{name}" if re.fullmatch(r"(?i)v\d+|latest", name) else name


def pull_command(folder: SweepFolder, point: str, *, output: str = "best/") -> str:
    """Returns the command that fetches an operating point's network, from anywhere."""
    storage = folder.path.parent
    where = "" if storage == Path("runs").absolute() else f" --storage {shlex.quote(str(storage))}"
    return f"hoyer-search pull {folder.name} --point {shlex.quote(point)}{where} -o {output}"
