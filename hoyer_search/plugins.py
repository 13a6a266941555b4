"""The user's own models and data: imported by an explicit ``package.module:function`` only."""

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from hoyer_search.errors import PluginError, unknown_name


def resolve(
    name: str, *, kind: str, builtin: Mapping[str, Callable[..., Any]]
) -> Callable[..., Any]:
    """Returns a built-in function by its alias, or a user's by ``package.module:function``.

    The working folder is importable, as it is for ``python -m``.

    Args:
        name: Alias or import path.
        kind: What it should name, for messages, e.g. ``"model factory"``.
        builtin: Built-in functions by alias.

    Raises:
        PluginError: The alias is unknown, the module cannot be imported, or has no such callable.
    """
    if ":" not in name:
        if name in builtin:
            return builtin[name]
        raise PluginError(
            unknown_name(kind, name, builtin) + ", or 'package.module:function' of your own"
        )
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise PluginError(
            f"{kind} {name!r}: importing {module_name!r} raised {type(error).__name__}: {error}. "
            f"Run from the folder that holds the module, or install it"
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        public = [n for n in vars(module) if not n.startswith("_") and callable(getattr(module, n))]
        raise PluginError(f"{kind} {name!r}: {unknown_name('callable', attribute, public)}")
    result: Callable[..., Any] = function
    return result
