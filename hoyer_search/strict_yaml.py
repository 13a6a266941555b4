"""YAML 1.2 as plain data: no tags, no aliases, no duplicate keys, bounded, with line numbers."""

from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from hoyer_search.errors import ConfigError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML document as dicts, lists, strings, numbers, booleans and None.

    Attributes:
        data: The value.
        lines: Line number, from 1, of every key and item by its path.
        source: Name of the file, for messages.
    """

    data: Any
    lines: dict[Path, int]
    source: str

    def where(self, path: Path) -> str:
        """Returns ``FILE:LINE`` of the nearest known ancestor of a path."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return f"{self.source}:{self.lines[path[:length]]}"
        return self.source


def parse(text: str, *, source: str) -> Document:
    """Parses one YAML 1.2 document strictly.

    Args:
        text: The document.
        source: Name of the file, for messages.

    Raises:
        ConfigError: It is too large or too deep, is no YAML, or holds a tag, an alias, a
            duplicate key or several documents. The message names file and line.
    """
    if len(text.encode()) > MAX_BYTES:
        raise ConfigError(f"{source}: a search space may have at most {MAX_BYTES:,} bytes")
    try:
        _check_events(text, source)
        node = YAML(typ="rt", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{source}{line}: not valid YAML: {error.problem}") from error
    except (YAMLError, ValueError) as error:
        raise ConfigError(f"{source}: not valid YAML: {error}") from error
    lines: dict[Path, int] = {}
    data = None if node is None else _value(node, (), lines, source)
    return Document(data=data, lines=lines, source=source)


def _check_events(text: str, source: str) -> None:
    depth = 0
    for event in YAML(typ="rt", pure=True).parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            raise ConfigError(
                f"{source}:{line}: anchors and aliases are not allowed; repeat the value"
            )
        if isinstance(event, CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ConfigError(f"{source}:{line}: nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, CollectionEndEvent):
            depth -= 1


def _value(node: Node, path: Path, lines: dict[Path, int], source: str) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, ScalarNode):
        return _scalar(node, source)
    if isinstance(node, SequenceNode):
        return [_value(item, (*path, i), lines, source) for i, item in enumerate(node.value)]
    if not isinstance(node, MappingNode) or node.tag != "tag:yaml.org,2002:map":
        raise _tag_error(node, source)
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, ScalarNode):
            raise ConfigError(f"{source}:{line}: a key must be text")
        key = str(key_node.value)
        if key in result:
            raise ConfigError(f"{source}:{line}: key {key!r} stands twice; remove one")
        lines[(*path, key)] = line
        result[key] = _value(value_node, (*path, key), lines, source)
    return result


def _scalar(node: ScalarNode, source: str) -> Any:
    kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
    text = node.value
    if kind in ("str", "timestamp"):
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text.replace("_", ""), 0 if text.lstrip("+-").startswith(("0x", "0o")) else 10)
    if kind == "float":
        return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    raise _tag_error(node, source)


def _tag_error(node: Node, source: str) -> ConfigError:
    line = node.start_mark.line + 1
    return ConfigError(
        f"{source}:{line}: {node.tag!r} is not allowed: only text, numbers, true, false, null, "
        "lists and mappings are"
    )
