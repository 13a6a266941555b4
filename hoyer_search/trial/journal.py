"""``metrics.jsonl``: every step of a trial once, whatever number of attempts it took."""

import json
from pathlib import Path

from hoyer_search import files
from hoyer_search.results import Progress, to_json


class Journal:
    """Appends progress to a JSON-lines file, and leaves out what an earlier attempt wrote."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[tuple[str, int | None, int]] = set()
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    self._seen.add((entry["stage"], entry["point"], entry["epoch"]))
                except (ValueError, KeyError, TypeError):
                    continue  # torn by a kill; readers leave it out too

    def add(self, progress: Progress) -> None:
        """Appends a step, unless an earlier attempt did.

        Raises:
            OSError: It cannot be written, e.g. on a full disk; the file is as it was.
        """
        key = (progress.stage, progress.point, progress.epoch)
        if key not in self._seen:
            files.append_line(self._path, json.dumps(to_json(progress), allow_nan=False))
            self._seen.add(key)
