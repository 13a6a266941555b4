"""From a configuration's ``data`` section to splits."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from hoyer_search import plugins
from hoyer_search.config import Data as DataSettings
from hoyer_search.datasets.mnist import fashion_mnist, mnist
from hoyer_search.datasets.splits import (
    Data,
    Examples,
    Splits,
    first_input,
    split,
    to_source,
)
from hoyer_search.errors import DataError, HoyerSearchError

DATASETS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"mnist": mnist, "fashion_mnist": fashion_mnist}
)


def load(settings: DataSettings, *, seed: int, protocol: str = "honest") -> Splits:
    """Returns the data of a sweep, split by its seed.

    Args:
        settings: The ``data`` section of a configuration.
        seed: The sweep's seed.
        protocol: With ``paper`` the test examples serve as validation too, and all training
            examples train.

    Raises:
        PluginError: The data function cannot be imported.
        DataError: It raised, or what it returned cannot be used.
    """
    data = _call(settings.source, settings.arguments)
    train, test = to_source(data.train, name="train"), to_source(data.test, name="test")
    if protocol == "paper":
        validation = test
    elif data.validation is not None:
        validation = to_source(data.validation, name="validation")
    else:
        train, validation = split(train, validation=settings.validation, seed=seed)
    shape = tuple(first_input(train, name="train").shape)
    for name, source in (("validation", validation), ("test", test)):
        first_input(source, name=name)
    return Splits(
        train=train,
        validation=validation,
        test=test,
        input_shape=shape,
        classes=_class_names(data, train),
        mean=None if data.mean is None else tuple(data.mean),
        std=None if data.std is None else tuple(data.std),
    )


def resolve_source(source: str) -> Callable[..., Any]:
    """Returns a data function by its alias or import path.

    Raises:
        PluginError: It cannot be found.
    """
    return plugins.resolve(source, kind="data source", builtin=DATASETS)


def _call(source: str, arguments: Mapping[str, Any]) -> Data:
    function = resolve_source(source)
    try:
        returned = function(**arguments)
    except HoyerSearchError:
        raise
    except Exception as error:
        raise DataError(f"data source {source!r} raised {type(error).__name__}: {error}") from error
    return _as_data(returned, source)


def _as_data(returned: Any, source: str) -> Data:
    if isinstance(returned, Data):
        return returned
    if isinstance(returned, tuple) and len(returned) in (2, 3):
        validation = returned[1] if len(returned) == 3 else None
        return Data(train=returned[0], validation=validation, test=returned[-1])
    raise DataError(
        f"data source {source!r} must return hoyer_search.datasets.Data, (train, test) or "
        f"(train, validation, test); it returned {type(returned).__name__}"
    )


def _class_names(data: Data, train: Any) -> tuple[str, ...]:
    if data.classes is not None:
        return tuple(str(name) for name in data.classes)
    if isinstance(train, Examples):
        return tuple(str(label) for label in range(int(train.labels.max()) + 1))
    return ()
