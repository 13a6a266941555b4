"""Built-in networks, the user's own by import path, and networks from artefacts."""

from hoyer_search.compression.weights import apply_weights, load_weights
from hoyer_search.models.artifacts import load_artifact, load_masked
from hoyer_search.models.lenet import lenet_5, lenet_300_100
from hoyer_search.models.pretrained import load_trained, trained_id
from hoyer_search.models.registry import MODELS, build, input_shape, resolve_factory

__all__ = [
    "MODELS",
    "apply_weights",
    "build",
    "input_shape",
    "lenet_5",
    "lenet_300_100",
    "load_artifact",
    "load_masked",
    "load_trained",
    "load_weights",
    "resolve_factory",
    "trained_id",
]
