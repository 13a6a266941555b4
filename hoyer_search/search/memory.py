"""Trials that Ray killed because a node ran low on memory.

Tune ends its whole run then, and no limit of failures counts. What is said of it is Ray's text:
https://docs.ray.io/en/latest/ray-core/scheduling/ray-oom-prevention.html
"""

import re
from collections.abc import Mapping

from ray.exceptions import OutOfMemoryError

_KILLED = re.compile(r"Selected to kill: \(Actor\((\w+)\).*?memory used=([\d.]+)GB")


def killed_for_memory(error: BaseException | None) -> OutOfMemoryError | None:
    """Returns Ray's error that an error came from, None when memory was not its cause."""
    while error is not None and not isinstance(error, OutOfMemoryError):
        error = error.__cause__ or error.__context__
    return error


def hungriest(error: OutOfMemoryError, trials: Mapping[str, str]) -> tuple[str, float] | None:
    """Returns the trial that used most memory of those that Ray killed, and its GB.

    Ray kills several at once to make room; the others go on as if nothing had happened.

    Args:
        error: Ray's error.
        trials: The trial that each actor runs, by the actor's id in hexadecimal digits.

    Returns:
        None when the text names no actor of ours.
    """
    killed = [
        (float(gb), trials[actor]) for actor, gb in _KILLED.findall(str(error)) if actor in trials
    ]
    if not killed:
        return None
    gigabytes, uid = max(killed)
    return uid, gigabytes
