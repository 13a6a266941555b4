"""Trained weights of a network: from a file, or by the names of torchvision's weights API."""

import re
from pathlib import Path
from typing import Any
from urllib.error import URLError

from torch import Tensor

from hoyer_search import files
from hoyer_search.compression.weights import load_weights
from hoyer_search.errors import ArtifactError
from hoyer_search.models.vision import VISION_MODELS

_DENSENET_OLD = re.compile(r"\b(norm|conv)\.([12])\.")


def load_trained(factory: str, weights: str) -> dict[str, Tensor]:
    """Returns trained weights by parameter name, on the CPU.

    Args:
        factory: The model factory that they are for, as ``build`` takes it.
        weights: A file (see ``load_weights``), or the name of torchvision's pretrained weights of
            this factory, e.g. ``IMAGENET1K_V2`` or ``DEFAULT``. torchvision downloads those once,
            to ``$TORCH_HOME/hub/checkpoints``, and checks their hash.

    Raises:
        ArtifactError: The file cannot be used, the network has no such weights, or they cannot be
            downloaded. Nothing is unpickled but tensors.
    """
    named = _pretrained(factory, weights)
    if named is None:
        return load_weights(weights)
    try:
        loaded = named.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, OSError) as error:
        raise ArtifactError(
            f"weights {weights} of {factory} cannot be downloaded from {named.url}: {error}. "
            "Download that file elsewhere and give it as model.weights"
        ) from error
    # torchvision's DenseNet files have the names of an older version of the network.
    return {_DENSENET_OLD.sub(r"\1\2.", name): tensor for name, tensor in loaded.items()}


def trained_id(factory: str, weights: str) -> str:
    """Returns what identifies trained weights: the hash of their file, or their address.

    Raises:
        ArtifactError: There is no such file, and the network has no such pretrained weights.
    """
    named = _pretrained(factory, weights)
    if named is not None:
        return str(named.url)
    try:
        return files.sha256_file(Path(weights))
    except OSError as error:
        raise ArtifactError(
            f"{weights} cannot be read: {error}. Correct model.weights, or --weights"
        ) from error


def _pretrained(factory: str, weights: str) -> Any:
    """Returns torchvision's entry for named weights, or None where a file is meant."""
    if Path(weights).exists() or not re.fullmatch(r"[A-Z][A-Z0-9_]*", weights):
        return None
    name = factory.removeprefix("torchvision.models:")
    if name == factory and factory not in VISION_MODELS:
        raise ArtifactError(
            f"weights {weights} must be a file: {factory} is none of torchvision's networks, which "
            f"have pretrained weights ({', '.join(VISION_MODELS)}). Correct model.weights, or "
            "--weights"
        )
    import torchvision

    try:
        known = torchvision.models.get_model_weights(name).__members__
    except ValueError as error:
        raise ArtifactError(f"torchvision has no weights of {factory}: {error}") from error
    if weights not in known:
        raise ArtifactError(
            f"weights {weights} must be a file or pretrained weights of {factory}: "
            f"{', '.join(known)}. Correct model.weights, or --weights"
        )
    return known[weights]
