"""The file that holds the study, mended after a crash."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from hoyer_search.errors import StorageError


def open_journal(path: Path) -> JournalStorage:
    """Opens the journal of a study, and creates it when there is none.

    The caller holds the sweep's lock, so whatever a writer left behind is from one that died: its
    lock file, for which Optuna would wait 30 s, and a last line cut short, after which Optuna
    could not read what follows.

    Args:
        path: The journal's file; its folder exists.

    Raises:
        StorageError: The file holds something else.
    """
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.exists():
        _drop_torn_line(path)
    try:
        return JournalStorage(_WholeLines(path))
    except ValueError as error:
        raise StorageError(
            f"{path} does not hold a study: {error}. Restore it, or start a new sweep that knows "
            f"this one's trials by `warm_start_from: {path.parent}`"
        ) from error


class _WholeLines(BaseJournalBackend):
    """Optuna's file, without the half of a line that it leaves when the disk is full.

    What is written once there is room again would stand behind that half, and no study could be
    read from the file any more.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = JournalFileBackend(str(path))

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._file.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        try:
            self._file.append_logs(logs)
        except OSError:
            _drop_torn_line(self._path)
            raise


def _drop_torn_line(path: Path) -> None:
    with path.open("rb+") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)
