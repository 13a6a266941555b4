"""The files of cluster/, read: their documents, images and commands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
CLUSTER = ROOT / "cluster"
KUBERNETES = sorted((CLUSTER / "kubernetes").glob("*.yaml"))
LAUNCHER = [CLUSTER / "aws.yaml", CLUSTER / "on-premises.yaml"]
COMPOSE = [CLUSTER / "compose.yaml", CLUSTER / "compose.gpu.yaml"]
MANIFESTS = [*KUBERNETES, *LAUNCHER, *COMPOSE]
README = (CLUSTER / "README.md").read_text()
SECRETS = set(re.findall(r"^(\w+)=", (CLUSTER / ".env.example").read_text(), re.MULTILINE))

_BLOCK = re.compile(r"^( *)```sh\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_OPERATORS = frozenset("();<>|&")


def load(path: Path) -> Any:
    """Returns the one document of a file."""
    return yaml.safe_load(path.read_text())


def documents(path: Path) -> list[dict[str, Any]]:
    """Returns all documents of a file."""
    return list(yaml.safe_load_all(path.read_text()))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yields each value of a document that holds no others, with the keys that lead to it."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in items:
            yield from leaves(child, (*path, key))
    else:
        yield path, value


def images(path: Path) -> set[str]:
    """Returns the images that a manifest names."""
    return {value for keys, value in leaves(documents(path)) if keys[-1] == "image"}


def shell_blocks() -> list[str]:
    """Returns the README's shell code, a block each, without indentation."""
    return [
        re.sub(f"^{indent}", "", text, flags=re.MULTILINE)
        for indent, text in _BLOCK.findall(README)
    ]


def commands(program: str) -> list[list[str]]:
    """Returns each command of a program in the README's shell code and in all manifests."""
    texts = shell_blocks()
    texts += [v for path in MANIFESTS for _, v in leaves(documents(path)) if isinstance(v, str)]
    lines = [line for text in texts for line in text.replace("\\\n", " ").splitlines()]
    return [command for line in lines if program in line for command in _commands(line, program)]


def _commands(line: str, program: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(
        re.sub(r"\$\{\w+:-(\w+)\}", r"\1", line), posix=True, punctuation_chars=True
    )
    lexer.whitespace_split = True
    simple: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= _OPERATORS:
            simple.append([])
            continue
        simple[-1].append(word)
        if f"{program} " in word:  # a quoted command
            yield from _commands(word, program)
    for words in simple:
        called = words[words.index(program) :] if program in words else []
        if called[1:] and not called[1].startswith("-"):  # else something has the same name
            yield called
