"""The command line as a process of its own: ``hoyer-search``, or ``python -m hoyer_search``."""

import os
import sys
import threading

LEFT_BEHIND = "tracking"
"""Name of the thread that a sweep may leave behind, with MLflow (``tracking.tracker``)."""


def start() -> None:
    """Runs the command line and ends the process, at once if a thread still waits for MLflow.

    Such a thread would crash in an interpreter that is taken down around it.
    """
    code: str | int | None = 0
    try:
        from hoyer_search.cli import main  # takes a while, in which Ctrl-C may come

        main()
    except SystemExit as error:
        code = error.code or 0
    except KeyboardInterrupt:
        code = 130
    if any(thread.name == LEFT_BEHIND for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
    sys.exit(code)


if __name__ == "__main__":
    start()
