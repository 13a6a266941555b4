"""``metrics.jsonl``: every step of a trial once, whatever number of attempts it took."""

import json
import os
from pathlib import Path

from hoyer_search.results import Progress, to_json


class Journal:
    """Appends progress to a JSON-lines file, and leaves out what an earlier attempt wrote."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[tuple[str, int | None, int]] = set()
        torn = False
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines(True):
                torn = not line.endswith("\n")
                try:
                    entry = json.loads(line)
                    self._seen.add((entry["stage"], entry["point"], entry["epoch"]))
                except (ValueError, KeyError, TypeError):
                    continue  # torn by a kill; readers leave it out too
        if torn:
            self._append("\n")

    def add(self, progress: Progress) -> None:
        """Appends a step, unless an earlier attempt did."""
        key = (progress.stage, progress.point, progress.epoch)
        if key not in self._seen:
            self._append(json.dumps(to_json(progress), allow_nan=False) + "\n")
            self._seen.add(key)

    def _append(self, text: str) -> None:
        # One write of one line with O_APPEND: a kill leaves it whole or, at worst, torn at the end.
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)
