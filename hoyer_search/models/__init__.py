"""Built-in networks, the user's own by import path, and networks from artefacts."""

from hoyer_search.models.lenet import lenet_5 as lenet_5
from hoyer_search.models.lenet import lenet_300_100 as lenet_300_100
from hoyer_search.models.registry import MODELS as MODELS
from hoyer_search.models.registry import build as build
