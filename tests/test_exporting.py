import json

import pytest
import torch
import toys
from hostile import GOLDEN
from test_sweep import call

from hoyer_search import exporting
from hoyer_search.compressing import compress
from hoyer_search.compression.artifact import FORMAT
from hoyer_search.compression.weights import apply_weights, load_weights
from hoyer_search.errors import InputError, ShrinkError, StorageError
from hoyer_search.exporting import SUFFIXES, export_artifact
from hoyer_search.models import build, load_artifact

FOLDER = GOLDEN / f"format-{FORMAT}"
IMAGES = torch.linspace(-1, 1, 5 * 784).reshape(5, 1, 28, 28)


@pytest.fixture(scope="module")
def outputs():
    with torch.no_grad():
        return load_artifact(FOLDER)(IMAGES)


def test_torch_export_runs_without_this_package_for_any_batch(tmp_path, outputs):
    made = export_artifact(FOLDER, tmp_path / "best.pt2", kind="torch-export")
    assert made["difference"] <= 1e-6
    assert made["bytes"] == (tmp_path / "best.pt2").stat().st_size
    program = torch.export.load(tmp_path / "best.pt2").module()
    with torch.no_grad():
        assert torch.allclose(program(IMAGES), outputs, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:onnxscript")
def test_onnx_runs_in_onnxruntime_for_any_batch(tmp_path, outputs):
    onnxruntime = pytest.importorskip("onnxruntime")
    made = export_artifact(FOLDER, tmp_path / "best.onnx", kind="onnx")
    assert made["difference"] <= 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "best.onnx")
    (found,) = session.run(None, {"input": IMAGES.numpy()})
    assert torch.allclose(torch.from_numpy(found), outputs, atol=1e-6)
    assert [file.name for file in tmp_path.iterdir()] == ["best.onnx"]


def test_masked_weights_load_into_the_full_size_class(tmp_path, outputs):
    made = export_artifact(FOLDER, tmp_path / "full.safetensors", kind="masked")
    assert made["difference"] <= 1e-9
    model = build("lenet_5", {})
    apply_weights(model, load_weights(tmp_path / "full.safetensors"))
    assert torch.allclose(model(IMAGES), outputs, atol=1e-6)
    assert int((model.conv1.weight != 0).sum()) == 2 * 25


def test_the_command_says_what_it_wrote(monkeypatch, capsys, tmp_path):
    command = ["export", FOLDER, "--format", "masked", "-o", tmp_path / "a.safetensors", "--json"]
    code, out, _ = call(monkeypatch, capsys, *command)
    assert code == 0
    assert json.loads(out)["format"] == "masked"
    code, _, error = call(monkeypatch, capsys, *command)
    assert code == 2
    assert "give a new file" in error


@pytest.mark.parametrize("kind", SUFFIXES)
def test_the_suffix_says_what_a_file_is(kind, tmp_path):
    with pytest.raises(StorageError, match=rf"must end in \{SUFFIXES[kind]}"):
        export_artifact(FOLDER, tmp_path / "model.bin", kind=kind)


def test_a_place_that_cannot_be_written_is_refused_before_the_artefact_is_read(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "is.pt2").mkdir()
    for output, wrong in (("file/x.pt2", r"x\.pt2 cannot be written"), ("is.pt2", "exists")):
        with pytest.raises(StorageError, match=wrong):
            export_artifact(tmp_path / "none", tmp_path / output, kind="torch-export")
    made = export_artifact(FOLDER, tmp_path / "new" / "x.safetensors", kind="masked")
    assert (tmp_path / "new" / "x.safetensors").stat().st_size == made["bytes"]


def test_a_file_that_gives_nan_is_refused(tmp_path, monkeypatch):
    def spoilt(model, shape, path):
        path.write_bytes(b"")
        return lambda inputs: model(inputs) * torch.nan

    monkeypatch.setattr(exporting, "_write_program", spoilt)
    with pytest.raises(ShrinkError, match="differ by nan"):
        export_artifact(FOLDER, tmp_path / "x.pt2", kind="torch-export")
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'hoyer-search\[export\]'"):
        export_artifact(FOLDER, tmp_path / "model.onnx", kind="onnx")


def test_a_network_that_cannot_be_exported_says_so(tmp_path):
    model = toys.branching()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    compress(
        "toys:branching",
        tmp_path / "small",
        weights=str(tmp_path / "w.pt"),
        threshold=0.0,
        input_shape=(1, 6, 6),
    )
    output = tmp_path / "model.pt2"
    with pytest.raises(InputError, match=r"exportable for any batch size.*Export it as masked"):
        export_artifact(tmp_path / "small", output, kind="torch-export", factory="toys:branching")
    assert not output.exists()
