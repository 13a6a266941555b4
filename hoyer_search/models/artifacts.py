"""Networks from artefacts, built by code that is here or that the caller gives."""

import os
from collections.abc import Callable
from typing import Any

from torch import nn

from hoyer_search.compression.artifact import Artifact, read_artifact
from hoyer_search.compression.cutting import cut, scatter
from hoyer_search.compression.weights import apply_weights
from hoyer_search.errors import ArtifactError
from hoyer_search.models.registry import MODELS, call, resolve_factory

Factory = Callable[..., nn.Module] | str


def load_artifact(folder: str | os.PathLike[str], *, factory: Factory | None = None) -> nn.Module:
    """Returns the shrunk network of an artefact, in evaluation mode on the CPU.

    Every byte is checked first, and no code of the file is run: a built-in factory is called by its
    alias, and one of your own only if you give it here.

    Args:
        folder: The artefact.
        factory: The model factory that the network was made with, or its import path. Needed for a
            network that is not built in.

    Raises:
        ArtifactError: The artefact is damaged, does not fit the factory, or needs one.
        PluginError: The factory cannot be imported, raises, or returns no network.
    """
    artifact = read_artifact(folder)
    model = _full_size(artifact, factory)
    _cut(model, artifact)
    apply_weights(model, artifact.weights)
    return model.eval()


def load_masked(folder: str | os.PathLike[str], *, factory: Factory | None = None) -> nn.Module:
    """Returns the full-size network of an artefact: its weights, and zeros for what was removed.

    It has the nonzeros and logical MACs of the masked network that the artefact was made from, so
    that both and the exactness can be measured again.

    Args:
        folder: The artefact.
        factory: As in ``load_artifact``.

    Raises:
        ArtifactError: As in ``load_artifact``.
        PluginError: As in ``load_artifact``.
    """
    artifact = read_artifact(folder)
    small, full = _full_size(artifact, factory), _full_size(artifact, factory)
    _cut(small, artifact)
    apply_weights(small, artifact.weights)
    scatter(small.state_dict(), full, artifact.architecture.kept)
    return full.eval()


def _full_size(artifact: Artifact, factory: Factory | None) -> nn.Module:
    function = _trusted(artifact, factory)
    return call(function, artifact.architecture.arguments, name=artifact.architecture.factory)


def _trusted(artifact: Artifact, factory: Factory | None) -> Callable[..., Any]:
    """Returns the factory to call: the caller's, or a built-in one; never one of the file's."""
    named = artifact.architecture.factory
    if callable(factory):
        return factory
    if factory is None and named in MODELS:
        return MODELS[named]
    if factory is None:
        raise ArtifactError(
            f"{artifact.folder} was made by the model factory {named!r}, which is not built in. A "
            "file may not say what code to run: if you trust it, give it yourself, "
            f"--factory {named} or load_artifact(..., factory={named!r})"
        )
    if factory != named:
        raise ArtifactError(
            f"{artifact.folder} was made by the model factory {named!r}, got {factory!r}. "
            "Give that one"
        )
    return resolve_factory(factory)


def _cut(model: nn.Module, artifact: Artifact) -> None:
    try:
        cut(model, artifact.architecture.kept)
    except ValueError as error:
        raise ArtifactError(
            f"{artifact.folder / 'architecture.json'} does not fit the network of "
            f"{artifact.architecture.factory!r}: {error}. Give the factory it was made with"
        ) from error
