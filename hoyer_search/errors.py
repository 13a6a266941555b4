"""The error tree of hoyer-search.

HoyerSearchError
├── InputError                something the user gave is wrong; nothing was started (exit code 2)
│   ├── ConfigError           a search space breaks a rule (file, line and field are named)
│   ├── PluginError           a model factory or data function cannot be imported or misbehaves
│   ├── DataError             a data set is missing, damaged or empty
│   ├── StorageError          the storage folder or the sweep in it cannot be used
│   ├── ConnectionFailed      a tracking server or Ray cluster does not answer
│   └── ArtifactError         an artefact or weights file is damaged, unsafe or of the wrong shape
├── StorageFull               the storage has no space left; the sweep can be resumed
├── TrialError                a trial cannot go on; the sweep does
│   ├── TrialDiverged         the loss or a weight became NaN or infinite
│   └── TrialFenced           a newer attempt of the same trial has taken over
└── ShrinkError               a shrunk network would not equal the masked one

Every message states the rule, the value received and the remedy, and holds no secret.
"""

import difflib
from collections.abc import Iterable

from hoyer_search.redaction import redact


class HoyerSearchError(Exception):
    """Root of every error that hoyer-search raises on purpose.

    What it was given may be a URL with a password, and what another library said may quote one:
    such secrets are taken out of the message.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(redact(arg) if isinstance(arg, str) else arg for arg in args))


class InputError(HoyerSearchError):
    """Input breaks a rule; raised before any work starts."""


class ConfigError(InputError):
    """A search space is not valid."""


class PluginError(InputError):
    """A user's import path cannot be imported, or what it returns cannot be used."""


class DataError(InputError):
    """A data set is missing, damaged or empty."""


class StorageError(InputError):
    """A storage folder, or a sweep in it, cannot be used."""


class ConnectionFailed(InputError):
    """A tracking server or a Ray cluster does not answer."""


class ArtifactError(InputError):
    """An artefact or a weights file is damaged, unsafe or does not fit."""


class StorageFull(HoyerSearchError):
    """The storage has no space left, or the quota is spent; the sweep can be resumed."""


class TrialError(HoyerSearchError):
    """A trial cannot go on; it is recorded as failed and the sweep continues."""


class TrialDiverged(TrialError):
    """The loss or a weight became NaN or infinite."""


class TrialFenced(TrialError):
    """A newer attempt of the same trial has taken over its folder."""


class ShrinkError(HoyerSearchError):
    """A shrunk network would not give the outputs of the masked one."""


def unknown_name(kind: str, name: object, valid: Iterable[str]) -> str:
    """Returns an error text for an unknown name that lists the valid ones, nearest first.

    Args:
        kind: What the name should name, e.g. ``"regularizer"``.
        name: The name received.
        valid: Every valid name.

    Returns:
        One sentence of the form ``unknown KIND 'NAME': did you mean 'X'? Valid: ...``.
    """
    names = sorted(valid)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    ordered = near + [n for n in names if n not in near]
    hint = f" did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {str(name)!r}:{hint} Valid: {', '.join(ordered)}"
