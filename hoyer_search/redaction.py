"""Secrets out of texts: what is printed, logged or recorded passes through here."""

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

HIDDEN = "***"

SHORTEST = 8
"""Shorter values of variables are left alone: ``true`` or ``none`` are in every text."""

_USER = re.compile(r"(?<=//)[^/\s\"'<>]+@")
_SECRET_NAME = re.compile(
    r"(^|_)(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|(ACCESS|API|PRIVATE)_?KEY)(_|$)",
    re.IGNORECASE,
)
_PLACE = re.compile(r"_(PATH|FILE|DIR|URL|URI)$", re.IGNORECASE)


def redact(text: str) -> str:
    """Returns a text without the secrets that can be told.

    These are user and password of every URL in it, and the values of this process's environment
    variables that by their names hold a password, secret, token or key, or a URL with a password.
    """
    text = _USER.sub("", text)
    for secret in _secrets():
        text = text.replace(secret, HIDDEN)
    return text


def paths_of_secrets(value: Any, path: str = "") -> Iterator[str]:
    """Yields the dotted path of every text in plain data that ``redact`` would change."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths_of_secrets(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths_of_secrets(item, f"{path}.{index}")
    elif isinstance(value, str) and redact(value) != value:
        yield path


def _secrets() -> list[str]:
    """Returns the secrets of the environment, longest first: one may be a part of another."""
    found = {secret for name, value in os.environ.items() for secret in _held(name, value)}
    return sorted((s for s in found if len(s) >= SHORTEST), key=len, reverse=True)


def _held(name: str, value: str) -> Iterator[str]:
    if _SECRET_NAME.search(name) and not _PLACE.search(name):
        yield value
    if "://" in value and "@" in value:
        try:
            password = urlsplit(value).password
        except ValueError:
            return
        if password:
            yield from (password, unquote(password))
