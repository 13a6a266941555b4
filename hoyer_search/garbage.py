"""When Python may look for garbage that holds itself."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_blocks = 0
_was_on = False


@contextmanager
def no_collection() -> Iterator[None]:
    """Leaves off collecting garbage, in all threads, until the last such block of any has ended."""
    global _blocks, _was_on
    with _lock:
        if _blocks == 0:
            _was_on = gc.isenabled()
            gc.disable()
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if _blocks == 0 and _was_on:
                gc.enable()
