"""Artefacts of every format that was ever released stay readable."""

import subprocess
import sys

import pytest
import torch
from hostile import GOLDEN

from hoyer_search import load_artifact
from hoyer_search.compression.artifact import FORMAT, read_artifact
from hoyer_search.models import load_masked

FORMATS = sorted(folder.name for folder in GOLDEN.iterdir())
IMAGE = torch.linspace(-1, 1, 784).reshape(1, 1, 28, 28)

# Only torch, safetensors and what torch itself imports.
ALONE = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ImportError(f"{{name}} is not installed here")

sys.meta_path.insert(0, Refuse())
import torch
import hoyer_search as hs
model = hs.load_artifact({folder!r})
print(model(torch.linspace(-1, 1, 784).reshape(1, 1, 28, 28))[0].tolist())
"""
ABSENT = (
    "ray", "mlflow", "optuna", "pydantic", "click", "rich", "ruamel", "pandas", "pyarrow",
    "matplotlib", "plotly", "scipy", "torchvision", "onnx",
)  # fmt: skip


def test_the_present_format_has_a_golden_artefact():
    assert f"format-{FORMAT}" in FORMATS


@pytest.mark.parametrize("version", FORMATS)
def test_old_artefacts_give_the_outputs_they_gave(version):
    folder = GOLDEN / version
    expected = torch.tensor([read_artifact(folder).metrics["outputs"]])
    with torch.no_grad():
        assert torch.allclose(load_artifact(folder)(IMAGE), expected, rtol=1e-5, atol=1e-7)
        assert torch.allclose(load_masked(folder)(IMAGE), expected, rtol=1e-5, atol=1e-7)


def test_loading_needs_only_torch_and_safetensors():
    folder = GOLDEN / FORMATS[-1]
    code = ALONE.format(names=ABSENT, folder=str(folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outputs = torch.tensor([float(x) for x in done.stdout.strip()[1:-1].split(",")])
    assert torch.allclose(outputs, torch.tensor(read_artifact(folder).metrics["outputs"]))
