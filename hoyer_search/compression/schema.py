"""Strict JSON into dataclasses, with the standard library alone.

Artefacts are read where little more than torch is installed, and may be hostile: unknown and
missing fields, wrong types, duplicate keys, NaN and bottomless nesting are all refused.
"""

import dataclasses
import json
import types
import typing
from typing import Any, TypeVar, cast

Record = TypeVar("Record")


def parse(kind: type[Record], content: bytes) -> Record:
    """Returns a JSON document as ``kind``: a dataclass, or a type of its fields.

    Fields may be of type int, float, str, bool, Any, ``X | None``, ``list[X]``, ``dict[str, X]``
    and dataclass. An integer serves as a float.

    Raises:
        ValueError: It is no JSON, or not such a document; the place in it is named.
    """
    try:
        document = json.loads(content, parse_constant=_refuse, object_pairs_hook=_distinct)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return cast(Record, _convert(kind, document, ""))


def _convert(kind: Any, value: Any, place: str) -> Any:
    if kind is Any:
        return value
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        (inner,) = (k for k in arguments if k is not types.NoneType)
        return None if value is None else _convert(inner, value, place)
    if dataclasses.is_dataclass(kind):
        return _record(kind, _typed(dict, value, place), place)
    if origin is list:
        items = _typed(list, value, place)
        return [_convert(arguments[0], item, f"{place}[{i}]") for i, item in enumerate(items)]
    if origin is dict:
        items = _typed(dict, value, place)
        return {key: _convert(arguments[1], v, _join(place, key)) for key, v in items.items()}
    if kind is float and type(value) is int:
        return float(value)
    return _typed(kind, value, place)


def _record(kind: Any, value: dict[str, Any], place: str) -> Any:
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in value.keys() - fields.keys():
        raise ValueError(f"{_join(place, name)}: there is no such field")
    for name, field in fields.items():
        has_default = field.default_factory is not dataclasses.MISSING
        if name not in value and field.default is dataclasses.MISSING and not has_default:
            raise ValueError(f"{_join(place, name)}: this field is missing")
    return kind(**{n: _convert(hints[n], v, _join(place, n)) for n, v in value.items()})


def _typed(kind: type, value: Any, place: str) -> Any:
    # Not isinstance: true is no integer.
    if type(value) is not kind:
        shown = repr(value)[:40]
        raise ValueError(f"{place or 'the document'}: must be {kind.__name__}, got {shown}")
    return value


def _join(place: str, name: str) -> str:
    return f"{place}.{name[:80]}" if place else name[:80]


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} is there twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
