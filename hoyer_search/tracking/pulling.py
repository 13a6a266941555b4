"""Sweeps and networks read back from MLflow, with no folder of the sweep at hand."""

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hoyer_search import results
from hoyer_search.errors import InputError
from hoyer_search.front import Front
from hoyer_search.results import Dense, Point, Sparsity
from hoyer_search.tracking.cache import cached
from hoyer_search.tracking.reader import Reader
from hoyer_search.tracking.serving import DATA

FRONT = "front.json"
_LARGEST_FRONT = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class _FrontFile:
    """What is read of ``front.json``; it is empty before the dense network is known."""

    dense: Dense | None
    front: list[Point]
    sparsity: Sparsity = "nonzeros"
    floors: dict[str, float] = field(default_factory=dict)
    confirmed: dict[str, bool | None] = field(default_factory=dict)


class TrackedRecords:
    """What MLflow holds of the newest sweep of a name.

    Args:
        uri: Tracking URI.
        name: The sweep's name.

    Raises:
        StorageError: There is no such sweep.
        ConnectionFailed: MLflow does not answer, or refuses.
    """

    def __init__(self, uri: str, name: str) -> None:
        self.name = name
        self._reader = Reader(uri)
        self._run = self._reader.sweep(name)

    def state(self) -> str:
        """Returns ``running``, ``finished`` or ``interrupted``, as it was uploaded last."""
        return self._reader.sweep(self.name).state

    def front(self) -> Front | None:
        """Returns the front as it was uploaded last, None before there was any."""
        record = self._front_file()
        if record is None or record.dense is None:
            return None
        return Front(
            dense=record.dense,
            sparsity=record.sparsity,
            floors=dict(sorted(record.floors.items(), key=lambda item: -item[1])),
            points=record.front,
        )

    def confirmed(self) -> dict[str, bool | None]:
        """Returns whether retrained winners keep their floor, by the point's name."""
        record = self._front_file()
        return {} if record is None else record.confirmed

    def artifact(self, point: Point) -> Path:
        """Returns the folder of a point's artefact in the cache, downloaded if need be.

        Raises:
            InputError: The point's network was not uploaded.
        """
        if not re.fullmatch(r"[\w-]+", point.name):
            raise InputError(f"{FRONT} of sweep {self.name} names a point {point.name[:80]!r}")
        location = self._reader.point(self._run, point.name)
        if location is None:
            state = self.state()
            remedy = (
                "they are uploaded at its end"
                if state == "running"
                else f"upload them by `hoyer-search sync {self.name}` where its folder is"
            )
            raise InputError(
                f"the network {point.name} of sweep {self.name}, which is {state}, is not in "
                f"MLflow at {self._reader.shown_uri}: {remedy}"
            )
        return _artifact(self._reader, location)

    def _front_file(self) -> _FrontFile | None:
        location = self._run.location
        if FRONT not in self._reader.listing(location):
            return None
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / FRONT
            self._reader.download(location, FRONT, path, most=_LARGEST_FRONT)
            return results.load(_FrontFile, path)


def registered_artifact(uri: str, tracking_uri: str) -> Path:
    """Returns the folder of a registered network's artefact in the cache.

    Args:
        uri: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
        tracking_uri: MLflow store that it is registered in.

    Raises:
        InputError: There is no such network, or MLflow does not answer.
        ArtifactError: What MLflow has is damaged, or was not made by hoyer-search.
    """
    reader = Reader(tracking_uri)
    return _artifact(reader, reader.version(uri))


def _artifact(reader: Reader, location: str) -> Path:
    from hoyer_search.compression.artifact import MANIFEST

    if f"{DATA}/{MANIFEST}" not in reader.listing(location, DATA):
        raise InputError(
            f"MLflow at {reader.shown_uri} does not hold the files of this network: it was not "
            "made by hoyer-search, or they were deleted there; then sync its sweep again"
        )

    def download(name: str, target: Path, most: int) -> None:
        reader.download(location, f"{DATA}/{name}", target, most=most)

    return cached(download)
