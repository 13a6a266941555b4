"""Search spaces: from a YAML file, a built-in name and ``--set`` to a checked SweepConfig."""

import importlib.resources
import itertools
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from hoyer_search import strict_yaml
from hoyer_search.config import FORMS, Choices, Range, SweepConfig
from hoyer_search.errors import ConfigError, unknown_name
from hoyer_search.results import Value

ALIASES = {"decay": "regularizer.decay"}
MOST_COMBINATIONS = 1000
LAYER_WEIGHTS = "regularizer.layer_weights"
SEARCHABLE = (
    "regularizer",
    "pruning",
    "pipeline.regularize",
    "pipeline.curve",
    "pipeline.finetune",
)
"""Sections whose fields may be searched: what comes after the dense network that trials share."""


def builtin() -> dict[str, Traversable]:
    """Returns the built-in search spaces' files by name."""
    installed = importlib.resources.files("hoyer_search") / "search_spaces"
    root: Traversable = installed
    if not installed.is_dir():  # an editable install: the folder beside the package
        root = Path(__file__).parent.parent / "search_spaces"
    return {
        f.name.removesuffix(".yaml"): f
        for f in sorted(root.iterdir(), key=lambda f: f.name)
        if f.name.endswith(".yaml")
    }


def load(space: str | Path, *, overrides: Mapping[str, Any] | None = None) -> SweepConfig:
    """Returns the checked configuration of a built-in space or of a YAML file.

    Args:
        space: Name of a built-in space, or path of a file (one that exists, or any name with a
            ``/`` or a ``.yaml`` ending).
        overrides: Values by dotted path, e.g. ``{"budget.trials": 6}``.

    Raises:
        ConfigError: The space is unknown or breaks a rule; the message names file, line and field.
    """
    document = _read(space)
    data = document.data
    if not isinstance(data, dict):
        raise ConfigError(
            f"{document.source}: a search space must be a mapping with a name, a model ..."
        )
    for path, value in (overrides or {}).items():
        _set(data, path, value)
        line_path = tuple(path.split("."))
        for known in [p for p in document.lines if p[: len(line_path)] == line_path]:
            del document.lines[known]
    return _validated(data, document, set(overrides or ()))


def check(config: SweepConfig) -> SweepConfig:
    """Returns a configuration that was made in Python, checked as one of a file is.

    Raises:
        ConfigError: It breaks a rule.
    """
    data = config.model_dump(warnings=False)
    return _validated(data, strict_yaml.Document(data, {}, _source(config)), set())


def parse_override(
    text: str, *, option: str = "--set", form: str = "PATH=VALUE, e.g. budget.trials=6"
) -> tuple[str, Any]:
    """Returns path and value of ``a.b=c``, the value read as YAML.

    Args:
        text: The assignment.
        option: What it was given by, for messages.
        form: What that option takes, likewise.

    Raises:
        ConfigError: There is no ``=`` or no path, or the value is not valid YAML.
    """
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")):
        raise ConfigError(f"{option} takes {form}; got {text!r}")
    return path, strict_yaml.parse(value, source=f"{option} {path}").data


def apply_params(config: SweepConfig, params: Mapping[str, Value]) -> SweepConfig:
    """Returns the configuration of one trial: the sweep's with searched parameters filled in.

    ``threshold`` is left out: it belongs to pruning, not to training.

    Raises:
        ConfigError: A parameter names no field, or its value is not allowed there.
    """
    data = config.model_dump()
    for name, value in params.items():
        if name != "threshold":
            _set(data, ALIASES.get(name, name), value)
    source = strict_yaml.Document(data=data, lines={}, source=_source(config))
    return _validated(data, source, set(), check_search=False)


def _source(config: SweepConfig) -> str:
    return f"search space {config.name}"


def _read(space: str | Path) -> strict_yaml.Document:
    path, spaces = Path(space), builtin()
    if isinstance(space, str) and space in spaces and not path.is_file():
        return strict_yaml.parse(spaces[space].read_text(encoding="utf-8"), source=f"{space}.yaml")
    if path.is_file():
        try:
            return strict_yaml.parse(path.read_text(encoding="utf-8"), source=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise ConfigError(f"{path}: no such file; `hoyer-search spaces` lists the built-in spaces")
    raise ConfigError(unknown_name("search space", space, spaces) + ", or the path of a YAML file")


def _set(data: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    # A searched parameter's own name has dots: search.pipeline.regularize.lr
    if parents and parents[0] == "search" and len(parents) > 1:
        parents, last = ["search"], ".".join([*parents[1:], last])
        if last.rpartition(".")[0] in ("decay", "threshold"):
            parents, last = ["search", last.split(".")[0]], last.split(".")[1]
    elif path.startswith(f"{LAYER_WEIGHTS}."):  # so do names of layers
        parents, last = LAYER_WEIGHTS.split("."), path.removeprefix(f"{LAYER_WEIGHTS}.")
    node = data
    for part in parents:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise ConfigError(f"{path}: {part!r} is a value, not a section")
        node = child
    node[last] = value


def _validated(
    data: dict[str, Any],
    document: strict_yaml.Document,
    overridden: set[str],
    *,
    check_search: bool = True,
) -> SweepConfig:
    try:
        config = SweepConfig.model_validate(data)
    except ValidationError as error:
        lines = [_describe(dict(e), data, document, overridden) for e in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from error
    if check_search:
        _check_search(config, document)
    return config


def ends(dimension: Choices | Range) -> Sequence[Value]:
    """Returns the values by which a dimension is checked: its choices, or its range's ends."""
    if isinstance(dimension, Choices):
        return dimension.choices
    return [dimension.low, dimension.high]


def _check_search(config: SweepConfig, document: strict_yaml.Document) -> None:
    """Checks that every searched path exists and takes every value of its range."""
    if not config.search.dimensions:
        raise ConfigError(
            f"{document.where(('search',))}: search: nothing is searched; add decay: {{low, high}}"
        )
    if config.search.dimensions.keys() >= {"decay", ALIASES["decay"]}:
        raise ConfigError(
            f"{document.where(('search', 'decay'))}: search.decay is short for "
            f"search.{ALIASES['decay']}: search one of them"
        )
    for name, dimension in config.search.dimensions.items():
        values = ends(dimension)
        if isinstance(dimension, Choices) and len(set(values)) < len(values):
            raise ConfigError(
                f"{document.where(('search', name))}: search.{name}: choices must differ, got "
                f"{values}: name each once"
            )
        for value in values:
            try:
                apply_params(config, {name: _as_searched(config, name, value)})
            except ConfigError as error:
                reason = str(error).removeprefix(f"{_source(config)}: ")
                raise ConfigError(
                    f"{document.where(('search', name))}: search.{name} = {value!r}: {reason}"
                ) from error
        path = ALIASES.get(name, name)
        if name != "threshold" and not any(path.startswith(f"{s}.") for s in SEARCHABLE):
            raise ConfigError(
                f"{document.where(('search', name))}: search.{name}: what is searched must be a "
                f"field of {', '.join(SEARCHABLE)}, since the trials of a sweep share one dense "
                "network, its data and all else; run a sweep for each value, and `hoyer-search "
                "compare` them"
            )
        if name in integer_parameters(config) and any(value != int(value) for value in values):
            raise ConfigError(
                f"{document.where(('search', name))}: search.{name}: low and high must be whole "
                f"numbers, as the field takes, got {values[0]:g} and {values[1]:g}"
            )
        if isinstance(dimension, Range) and name == "threshold" and dimension.low < 0:
            raise ConfigError(
                f"{document.where(('search', name))}: search.threshold: low must not be negative"
            )
    _check_combinations(config, document)
    for preset in config.presets:
        try:
            apply_params(config, preset)
        except ConfigError as error:
            reason = str(error).removeprefix(f"{_source(config)}: ")
            raise ConfigError(
                f"{document.where(('presets',))}: preset {preset}: {reason}"
            ) from error


def _check_combinations(config: SweepConfig, document: strict_yaml.Document) -> None:
    """Checks that any choices of names go together, as those of regularizer and granularity."""
    names = {
        name: [value for value in dimension.choices if isinstance(value, str)]
        for name, dimension in config.search.dimensions.items()
        if isinstance(dimension, Choices) and any(isinstance(v, str) for v in dimension.choices)
    }
    for values in itertools.islice(itertools.product(*names.values()), MOST_COMBINATIONS):
        params = dict(zip(names, values, strict=True))
        try:
            apply_params(config, params)
        except ConfigError as error:
            together = ", ".join(f"{name} = {value!r}" for name, value in params.items())
            reason = str(error).removeprefix(f"{_source(config)}: ")
            raise ConfigError(
                f"{document.where(('search',))}: search: a trial may get any choices together, but "
                f"with {together}: {reason}. Run a sweep for each"
            ) from error


def _as_searched(config: SweepConfig, name: str, value: Value) -> Value:
    """Returns a range's end as the type its field takes: an int where the field is one."""
    return int(value) if name in integer_parameters(config) else value


def num_trials(config: SweepConfig, tried: Iterable[Mapping[str, Value]] = ()) -> int:
    """Returns how many trials a sweep has at most: its budget, or what is left of a finite space.

    Args:
        config: The sweep.
        tried: Settings that an earlier sweep tried, which are not tried again.
    """
    return int(min(config.budget.trials, num_untried(config, tried)))


def num_untried(config: SweepConfig, tried: Iterable[Mapping[str, Value]] = ()) -> float:
    """Returns how many settings are left to try: infinity when a range takes fractions.

    Args:
        config: The sweep.
        tried: As for ``num_trials``.
    """
    integers, settings = integer_parameters(config), 1.0
    for name, dimension in config.search.dimensions.items():
        if isinstance(dimension, Choices):
            settings *= len(dimension.choices)
        else:
            settings *= dimension.high - dimension.low + 1 if name in integers else math.inf
    return settings - len({tuple(params[n] for n in config.search.dimensions) for params in tried})


def integer_parameters(config: SweepConfig) -> set[str]:
    """Returns the names of searched ranges whose fields take whole numbers."""
    return {
        name
        for name, dimension in config.search.dimensions.items()
        if isinstance(dimension, Range)
        and name != "threshold"
        and _takes_integers(ALIASES.get(name, name))
    }


def _takes_integers(path: str) -> bool:
    *parents, last = path.split(".")
    info = _section(parents).model_fields.get(last)
    return info is not None and int in (info.annotation, *typing.get_args(info.annotation))


def _describe(
    error: dict[str, Any],
    data: dict[str, Any],
    document: strict_yaml.Document,
    overridden: set[str],
) -> str:
    # Pydantic adds the names of union members to the path; the file has only keys and items.
    location = _known_part(error["loc"], data)
    field = ".".join(str(part) for part in location)
    blamed = next((path for path in sorted(overridden) if _related(path, field)), None)
    where = document.where(location) if blamed is None else f"--set {blamed}"
    if error["type"] == "extra_forbidden":
        section = _section(error["loc"][:-1]).model_fields
        return f"{where}: {unknown_name('key', location[-1], section)}" + (
            f" (in {'.'.join(str(p) for p in location[:-1])})" if location[:-1] else ""
        )
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "model_type":
        message = f"must be a mapping with {', '.join(_section(error['loc']).model_fields)}"
    got = "" if error["type"] in ("missing", "value_error") else f", got {error['input']!r}"
    named = "" if field in ("", blamed) else f"{field}: "
    return f"{where}: {named}{message}{got}"


def _related(path: str, field: str) -> bool:
    """Returns whether one of two dotted paths leads to the other."""
    return path == field or field.startswith(f"{path}.") or path.startswith(f"{field}.")


def _known_part(location: Sequence[str | int], data: Any) -> tuple[str | int, ...]:
    """Returns the part of a location that the file has, and a missing last key."""
    path: list[str | int] = []
    for part in location:
        if isinstance(data, dict) and part in data:
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif isinstance(data, dict) and str(part).isidentifier() and part == location[-1]:
            data = None
        else:
            continue  # a member of a union, which pydantic names and the file does not
        path.append(part)
    return tuple(path)


def _section(location: Sequence[str | int]) -> type[BaseModel]:
    """Returns the section of the configuration at a path of pydantic's."""
    section: type[BaseModel] = SweepConfig
    for part in location:
        info = section.model_fields.get(str(part))
        kinds = [] if info is None else [info.annotation, *typing.get_args(info.annotation)]
        found = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        section = FORMS.get(str(part), found[0] if found else section)
    return section
