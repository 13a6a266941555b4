"""Loads a registered network for ``mlflow.pyfunc``, without unpickling anything."""

import os
import platform
from typing import Any

import numpy as np
import numpy.typing as npt

DATA = "artifact"
FLAVOR = {
    "loader_module": "hoyer_search.tracking.serving",
    "data": DATA,
    "python_version": platform.python_version(),
}
"""What MLflow is told of a network: this module loads the folder ``artifact`` beside it."""


class Predictor:
    """A shrunk network that MLflow can call.

    Args:
        model: The network, in evaluation mode.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, model_input: Any, params: Any = None) -> npt.NDArray[np.float32]:
        """Returns the network's outputs for a batch of inputs.

        Args:
            model_input: Array-like of the network's input shape, with a batch dimension first.
            params: Ignored; part of MLflow's interface.
        """
        import torch

        batch = torch.as_tensor(np.asarray(model_input, dtype=np.float32))
        with torch.inference_mode():
            output: npt.NDArray[np.float32] = self._model(batch).numpy()
        return output


def _load_pyfunc(path: str) -> Predictor:
    """Returns the network of an artefact folder; MLflow calls this by its name.

    The model factory of a network that is not built in is taken from ``$HOYER_SEARCH_FACTORY``:
    whoever serves it says what code to run, not what is stored.

    Raises:
        ArtifactError: The artefact is damaged, or needs a model factory that is not built in.
    """
    from hoyer_search.models import load_artifact

    return Predictor(load_artifact(path, factory=os.environ.get("HOYER_SEARCH_FACTORY") or None))
