"""Changing an artefact as somebody hostile would: the manifest agrees again afterwards."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "models" / "golden"


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Replaces a file's content and its entry in the manifest."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def edit(folder: Path, name: str, change: Callable[[Any], object]) -> None:
    """Changes a JSON file; the manifest agrees unless it is the manifest."""
    value = json.loads((folder / name).read_text())
    change(value)
    if name == "manifest.json":
        (folder / name).write_text(json.dumps(value))
    else:
        rewrite(folder, name, json.dumps(value).encode())
