"""Networks by name: the built-in aliases, and factories of the user."""

from collections.abc import Callable
from typing import Any

from torch import nn

from hoyer_search import plugins
from hoyer_search.compression.layers import (
    PRUNABLE_NAMES,
    kinds,
    lazy_layers,
    prunable_layers,
)
from hoyer_search.errors import PluginError
from hoyer_search.models.alexnet import alexnet
from hoyer_search.models.lenet import lenet_5, lenet_300_100
from hoyer_search.models.resnet_small import resnet20, resnet32, resnet56
from hoyer_search.models.vision import VISION_MODELS, vision_factory

MODELS: dict[str, Callable[..., nn.Module]] = {
    "alexnet": alexnet,
    "lenet_300_100": lenet_300_100,
    "lenet_5": lenet_5,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet56": resnet56,
    **{name: vision_factory(name) for name in VISION_MODELS},
}
"""Built-in model factories by alias."""


def input_shape(alias: str) -> tuple[int, int, int]:
    """Returns the shape of one example that a built-in network is made for."""
    if alias.startswith("lenet"):
        return (1, 28, 28)
    return (3, 32, 32) if alias in ("resnet20", "resnet32", "resnet56") else (3, 224, 224)


def build(factory: str, arguments: dict[str, Any]) -> nn.Module:
    """Returns a new network.

    Args:
        factory: Alias of ``MODELS``, or ``package.module:function``.
        arguments: Keyword arguments of the factory.

    Raises:
        PluginError: The factory cannot be found, raises, returns something else than a module, or
            its network has lazy layers, or no prunable one (the types of its layers are listed).
    """
    return call(resolve_factory(factory), arguments, name=factory)


def resolve_factory(factory: str) -> Callable[..., nn.Module]:
    """Returns a model factory by its alias or import path.

    Raises:
        PluginError: It cannot be found.
    """
    return plugins.resolve(factory, kind="model factory", builtin=MODELS)


def call(factory: Callable[..., Any], arguments: dict[str, Any], *, name: str) -> nn.Module:
    """Calls a factory and checks what it returns; ``name`` is for messages.

    Raises:
        PluginError: As in ``build``.
    """
    try:
        model = factory(**arguments)
    except Exception as error:
        raise PluginError(
            f"model factory {name!r} must return a network, but with arguments {arguments} it "
            f"raised {type(error).__name__}: {error}. Mend the function or model.arguments"
        ) from error
    if not isinstance(model, nn.Module):
        raise PluginError(
            f"model factory {name!r} must return a torch.nn.Module, "
            f"but it returned {type(model).__name__}"
        )
    if lazy_layers(model):
        raise PluginError(
            f"model factory {name!r} must return a network whose layers know their sizes, but it "
            "has lazy ones: call it once on an example inside the function"
        )
    if not prunable_layers(model):
        raise PluginError(
            f"model factory {name!r} must return a network with a prunable layer "
            f"({PRUNABLE_NAMES}), but its layers are: {kinds(model)}"
        )
    return model
