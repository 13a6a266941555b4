"""Secrets that are planted where users keep theirs, and looked for where they must not be."""

from pathlib import Path

import pytest

URL = "https://someone:canary-of-a-url@127.0.0.1:1/data"
ENVIRONMENT = {
    "MLFLOW_TRACKING_PASSWORD": "canary-of-mlflow",
    "AWS_ACCESS_KEY_ID": "canary-of-an-id",
    "AWS_SECRET_ACCESS_KEY": "canary-of/aws+key",
    "HF_TOKEN": "canary-of-a-token",
    "DATABASE_URL": "postgresql://someone:canary-of%2Fa-database@127.0.0.1:1/db",
}
SECRETS = ("canary-of", "canary%2Dof", "of/aws+key", "of/a-database")


def plant(patch: pytest.MonkeyPatch) -> None:
    """Puts the secrets into the environment of this process and of all that it starts."""
    for name, value in ENVIRONMENT.items():
        patch.setenv(name, value)


def quoted() -> str:
    """Returns a text that holds every secret, as an error of a library might."""
    return f"cannot open {URL} with {ENVIRONMENT!r}"


def in_text(text: str) -> list[str]:
    """Returns which secrets a text holds."""
    return [secret for secret in SECRETS if secret in text]


def in_folder(folder: Path) -> list[str]:
    """Returns the names of the files below a folder that hold a secret, or have one's name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files, folder
    return [
        str(path)
        for path in files
        if in_text(path.name) or in_text(path.read_bytes().decode("latin-1"))
    ]
