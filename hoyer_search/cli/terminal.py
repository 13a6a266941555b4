"""What commands print, and how values look."""

import contextlib
import json
import sys
from contextlib import AbstractContextManager
from typing import Any

import click
from rich.console import Console

from hoyer_search.display import clock
from hoyer_search.redaction import redact

# Where no terminal says how wide it is (a pipe, a log file), tables get room for every column.
_width = None if sys.stdout.isatty() else 140
# Names are printed as they are: [this] is no markup, and :100: no emoji.
out = Console(width=_width, markup=False, emoji=False)
err = Console(stderr=True, markup=False, emoji=False)


def say(text: str, *, console: Console = out) -> None:
    """Prints a line as it is but for secrets: no markup, no colours, no wrapping."""
    console.print(redact(text), highlight=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """Prints one JSON document."""
    click.echo(json.dumps(document, indent=1))


def kept_for_json(as_json: bool) -> AbstractContextManager[object]:
    """Keeps standard output for the JSON document: what a user's code prints goes to the other."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()


def print_pairs(values: dict[str, Any]) -> None:
    """Prints names and values, one pair a line."""
    width = max(map(len, values))
    for key, value in values.items():
        say(f"{key.removesuffix('_hours').replace('_', ' '):<{width}}  {format_value(key, value)}")


def format_value(key: str, value: Any) -> str:
    """Returns a value for people; the ending of its name tells what it is."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {format_value(key, v)}" for k, v in value.items())
    if isinstance(value, float):
        if key.endswith("accuracy"):
            return f"{value:.2%}"
        if key.endswith("_hours"):
            return clock(3600 * value)
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
