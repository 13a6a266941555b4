"""The file that holds the study, mended after a crash."""

from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


def open_journal(path: Path) -> JournalStorage:
    """Opens the journal of a study, and creates it when there is none.

    The caller holds the sweep's lock, so whatever a writer left behind is from one that died: its
    lock file, for which Optuna would wait 30 s, and a last line cut short, after which Optuna
    could not read what follows.

    Args:
        path: The journal's file; its folder exists.
    """
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.exists():
        _drop_torn_line(path)
    return JournalStorage(JournalFileBackend(str(path)))


def _drop_torn_line(path: Path) -> None:
    with path.open("rb+") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)
