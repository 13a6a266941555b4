"""Names and tags that a sweep, its trials and its points have in MLflow."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from hoyer_search import files
from hoyer_search.config import SweepConfig
from hoyer_search.store import SweepFolder, storage_argument
from hoyer_search.tracking.address import is_server, without_password

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
        registered_model: Name of the registered model. Data and models of the user have a digest of
            their import paths in it, since other modules may have functions of the same names.
    """

    sweep: str
    sweep_id: str
    task: str
    registered_model: str

    @classmethod
    def of(cls, folder: SweepFolder, config: SweepConfig) -> "Identity":
        """Returns the identity of a sweep's folder; it is the same every time."""
        identity = files.digest([folder.name, folder.provenance()])[:16]
        paths = [config.data.source, config.model.factory]
        task = "-".join(map(_last, paths))
        digest = f"-{files.digest(paths)[:8]}" if any(":" in path for path in paths) else ""
        model = f"hoyer-{task}{digest}"
        return cls(sweep=folder.name, sweep_id=identity, task=task, registered_model=model)

    @property
    def experiment(self) -> str:
        """Returns the name of the experiment, which sweeps of the same task share."""
        return f"hoyer/{self.task}"

    @property
    def tags(self) -> dict[str, str]:
        """Returns the tags that everything of the sweep carries."""
        return {SWEEP: self.sweep, SWEEP_ID: self.sweep_id, "mlflow.source.name": "hoyer-search"}


def _last(path: str) -> str:
    """Returns ``function`` of ``package.module:function``, or an alias as it is."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", path.rpartition(":")[2])


def alias(operating_point: str) -> str:
    """Returns an operating point's name as MLflow accepts it for an alias."""
    name = re.sub(r"[^\w-]", "-", operating_point)
    return f"point-{name}" if re.fullmatch(r"(?i)v\d+|latest", name) else name


def pull_command(
    folder: SweepFolder, point: str, *, uri: str | None = None, output: str = "best/"
) -> str:
    """Returns the command that fetches the network of a point.

    Args:
        folder: The sweep.
        point: Its operating point, or the name of a network.
        uri: Tracking URI that the command's reader found it at. From a server it is fetched, which
            works on every machine that reaches it; else from the folder, on this one.
        output: Folder to fetch it to.
    """
    storage = folder.path.parent
    if uri is not None and is_server(uri):
        where = f" --tracking-uri {shlex.quote(without_password(uri))}"
    elif storage == Path("runs").absolute():
        where = ""
    else:
        where = f" {storage_argument(storage)}"
    return f"hoyer-search pull {folder.name} --point {shlex.quote(point)}{where} -o {output}"
