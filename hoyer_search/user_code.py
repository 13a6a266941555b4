"""The user's own code, as a job on a cluster takes it: what is uploaded, and checked before."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hoyer_search.config import SweepConfig
from hoyer_search.errors import InputError


def job_environment(
    working_dir: str | os.PathLike[str] | None, given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Returns a job's runtime environment, with ``env_vars`` of its own.

    Args:
        working_dir: Folder to upload, None for none.
        given: Further fields.

    Raises:
        InputError: There is no such folder, or ``env_vars`` is no mapping of text to text.
    """
    environment = dict(given or {})
    variables = environment.get("env_vars") or {}
    if not isinstance(variables, Mapping):
        kind = type(variables).__name__  # the value may be a secret
        raise InputError(f"runtime environment: env_vars must be a mapping, got a {kind}")
    for name, value in variables.items():
        if not isinstance(value, str):  # Ray's own message would quote it
            raise InputError(
                f"runtime environment: env_vars.{name} must be text, got {type(value).__name__}: "
                "put it in quotes"
            )
    environment["env_vars"] = dict(variables)
    if working_dir is not None:
        if not Path(working_dir).is_dir():
            raise InputError(
                f"the working folder must be a folder with your code, got {str(working_dir)!r}"
            )
        environment["working_dir"] = str(Path(working_dir).absolute())
    return environment


def check_model(config: SweepConfig, working_dir: str | os.PathLike[str] | None) -> None:
    """Checks model and data source as far as this machine can.

    What is named by import path and is not in ``working_dir`` is installed on the cluster, and may
    be there only.

    Raises:
        InputError: The network or the data source cannot be found, or layer names are unknown.
    """
    from hoyer_search.datasets.sources import resolve_source
    from hoyer_search.trial import preflight

    with contextlib.ExitStack() as stack:
        if working_dir is not None:
            stack.enter_context(contextlib.chdir(working_dir))
            stack.enter_context(_importable(str(Path.cwd())))
        if working_dir is not None or ":" not in config.model.factory:
            preflight.check_model(config)
        if working_dir is not None or ":" not in config.data.source:
            resolve_source(config.data.source)


@contextlib.contextmanager
def _importable(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
