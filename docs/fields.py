"""Writes docs/search-space.md: every field of a search space, from hoyer_search/config.py.

python docs/fields.py
"""

import ast
import inspect
from pathlib import Path
from typing import Any

from hoyer_search import config

PAGE = Path(__file__).parent / "search-space.md"
INTRODUCTION = """\
# Search spaces

Every field of a search space's YAML, with its default; written by `docs/fields.py` from
[`hoyer_search/config.py`](../hoyer_search/config.py). A field is changed for one sweep by
`--set PATH=VALUE`, e.g. `--set pipeline.regularize.epochs=20`. Unknown fields are refused.
`hoyer-search plan FILE` checks a file, and tells what its sweep costs.

Any field of `regularizer`, `pruning`, `pipeline.regularize`, `pipeline.curve` and
`pipeline.finetune` can be searched, by its path:
`search: {pipeline.finetune.lr: {low: 1e-4, high: 1e-2, log: true}}`, or `{choices: [...]}`.
"""
FORMS = {
    "Range": "{low, high, log: false}",
    "Choices": "{choices: [...]}",
    "Floor": "{floor: number}",
}
BOUNDS = {
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "to {}",
    "exclusiveMaximum": "below {}",
}


def meanings() -> dict[str, dict[str, str]]:
    """Returns the text under each field, by class and field."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(config)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field, text in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                meaning = ast.literal_eval(text.value) if isinstance(text, ast.Expr) else ""
                found.setdefault(node.name, {})[field.target.id] = plain(meaning)
    return found


def plain(text: str) -> str:
    """Returns a docstring as one line of Markdown."""
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def kind(schema: dict[str, Any]) -> str:
    """Returns a type of JSON Schema in words."""
    if "$ref" in schema:
        return f"`{FORMS[schema['$ref'].rpartition('/')[2]]}`"
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(map(kind, schema[union])))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'])}"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"mapping to {kind(values)}" if isinstance(values, dict) else "mapping"
    words = {"null": "nothing", "string": "text", "boolean": "`true` or `false`"}
    name = schema.get("type", "any value")
    bounds = [text.format(f"{schema[key]:,}") for key, text in BOUNDS.items() if key in schema]
    return " ".join([words.get(name, name), *bounds])


def table(path: str, schema: dict[str, Any], classes: dict[str, Any]) -> list[str]:
    """Returns the lines of a section and of those inside it."""
    texts = {field: text for name in bases(schema["title"]) for field, text in TEXTS[name].items()}
    rows, inside = [], []
    for field, of in schema["properties"].items():
        reference = of.get("$ref", "").rpartition("/")[2]
        if reference and reference not in FORMS:
            inside += table(f"{path}.{field}" if path else field, classes[reference], classes)
            continue
        default = "required" if field in schema.get("required", ()) else of.get("default")
        shown = default if default == "required" else f"`{yaml(default)}`"
        rows.append(f"| `{field}` | {kind(of)} | {shown} | {texts.get(field, '')} |")
    if not rows:
        return inside
    title = f"## {path}" if path else "## Top level"
    return [f"\n{title}\n", "| field | takes | default | |", "|---|---|---|---|", *rows, *inside]


def bases(name: str) -> list[str]:
    """Returns a class and those it inherits fields from, the most general first."""
    mro = getattr(config, name).__mro__
    return [each.__name__ for each in reversed(mro) if each.__name__ in TEXTS]


def yaml(value: Any) -> str:
    """Returns a default as YAML writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {yaml(one)}" for key, one in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


TEXTS = meanings()


def page() -> str:
    """Returns the page."""
    schema = config.SweepConfig.model_json_schema()
    return INTRODUCTION + "\n".join(table("", schema, schema["$defs"])) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
