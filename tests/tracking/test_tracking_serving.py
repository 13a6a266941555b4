from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Builder

from hoyer_search import models
from hoyer_search.compression.artifact import Architecture, save_artifact
from hoyer_search.tracking import sync


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # on import
def test_mlflow_serves_a_registered_network_without_pickle(
    stored: Builder, mlflow_api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    stored.pretrain()
    spec = stored.start(0)
    network = models.build("lenet_300_100", {}).eval()
    for index in range(3):  # the builder leaves folders alone that are there
        save_artifact(
            stored.folder.point(f"{spec.uid}-{index}"),
            network,
            architecture=Architecture(factory="lenet_300_100", input_shape=[1, 28, 28]),
            metrics={},
        )
    stored.end(spec)
    stored.finish()
    sync(stored.folder, running=False)
    version = mlflow_api.get_model_version_by_alias("hoyer-mnist-lenet_300_100", "best")
    path = Path(version.source.removeprefix("file://"))
    served = mlflow.pyfunc.load_model(str(path))
    images = np.random.default_rng(0).random((4, 1, 28, 28), dtype=np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(served.predict(images), expected, rtol=1e-6)
