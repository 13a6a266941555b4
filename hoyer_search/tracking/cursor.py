"""What MLflow has acknowledged of a sweep, on disk beside it."""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from hoyer_search import files, results
from hoyer_search.errors import StorageError
from hoyer_search.tracking.records import RunRecord


@dataclass(slots=True)
class RunCursor:
    """How far one run is uploaded.

    Attributes:
        record: The run as the server holds it.
        lines: Lines of ``metrics.jsonl`` sent; of the sweep's run, how many ended trials its series
            counts.
    """

    record: RunRecord
    lines: int = 0


@dataclass(slots=True)
class Cursor:
    """How far a sweep is uploaded to one tracking URI. Losing it costs time, not data.

    Attributes:
        target: Digest of the tracking URI, which may hold a password.
        experiment: Id of the experiment.
        parent: The sweep's run.
        trials: The trials' runs by uid.
        views: Digest of the saved views set.
        front: Digest of what the uploaded front.json shows.
        report: Digest of what the uploaded report shows.
        versions: Version of the registered model by point name.
        whole: False on disk while a sync is under way: what that had sent is not known then.
    """

    target: str
    experiment: str | None = None
    parent: RunCursor | None = None
    trials: dict[str, RunCursor] = field(default_factory=dict)
    views: str = ""
    front: str = ""
    report: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    whole: bool = True

    @classmethod
    def new(cls, uri: str) -> "Cursor":
        """Returns the cursor of a URI that nothing was uploaded to."""
        return cls(target=files.digest(uri))

    @classmethod
    def load(cls, path: Path, *, uri: str) -> "Cursor":
        """Returns the cursor of a URI; a new one if there is none, or only another URI's."""
        new = cls.new(uri)
        try:
            cursor = results.load(cls, path)
        except StorageError:
            return new
        return cursor if cursor.target == new.target else new

    def save(self, path: Path) -> None:
        """Writes the cursor, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, TypeAdapter(Cursor).dump_json(self))
