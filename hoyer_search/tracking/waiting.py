"""How much of a sweep waits for MLflow: what lies in the folder behind the cursor."""

from pathlib import Path

from hoyer_search.store import SweepFolder
from hoyer_search.tracking.cursor import Cursor
from hoyer_search.tracking.runs import settled


def num_waiting(folder: SweepFolder, uri: str) -> int:
    """Returns how many steps and results of trials a tracking server has not acknowledged yet.

    It asks the folder alone, and counts what a sync under way has sent as waiting until it ends.

    Args:
        folder: The sweep's folder.
        uri: Tracking URI.

    Raises:
        StorageError: A trial's record is damaged.
    """
    cursor = Cursor.load(folder.tracking / "cursor.json", uri=uri)
    ended = {result.uid: result for result in folder.all_results()}
    waiting = 0
    for spec in folder.all_specs():
        run, result = cursor.trials.get(spec.uid), ended.get(spec.uid)
        if run is not None and result is not None and settled(run.record, result):
            continue
        steps = _num_lines(folder.trial(spec.uid) / "metrics.jsonl")
        sent = 0 if run is None else run.lines
        waiting += max(0, steps - sent) + (result is not None)
    return waiting


def _num_lines(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(line.endswith(b"\n") for line in file)
