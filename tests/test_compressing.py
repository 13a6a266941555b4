import json

import pytest
import safetensors.torch
import torch
import toys
from test_sweep import call

from hoyer_search import load_artifact
from hoyer_search.compressing import compress
from hoyer_search.compression.artifact import read_artifact
from hoyer_search.errors import ArtifactError, InputError, StorageError
from hoyer_search.evaluation import evaluate_artifact
from hoyer_search.models import build


@pytest.fixture
def trained(tmp_path):
    """A network with channels that a user's own training made small, and its weights' file."""
    torch.manual_seed(0)
    model = toys.cnn()
    with torch.no_grad():
        model[0].weight[:4] *= 1e-6
        model[4].weight[::2] *= 1e-6
        for layer in (model[0], model[4]):
            layer.bias.zero_()
        model[1].bias.zero_()
    path = tmp_path / "trained.pt"
    torch.save(model.state_dict(), path)
    return model.eval(), str(path)


def squeeze(folder, path, **changes):
    options = {"weights": path, "threshold": 1e-4, "input_shape": (1, 6, 6)} | changes
    return compress("toys:cnn", folder, **options)


def test_what_is_under_the_threshold_is_gone_and_the_rest_unchanged(trained, tmp_path):
    model, weights = trained
    metrics = squeeze(tmp_path / "small", weights)
    small = load_artifact(tmp_path / "small", factory=toys.cnn)
    assert small[0].weight.shape == (2, 1, 3, 3)
    assert small[4].weight.shape == (4, 2, 3, 3)
    images = torch.rand(5, 1, 6, 6)
    assert torch.allclose(small(images), model(images), atol=1e-4)
    assert metrics["parameters"] == sum(p.numel() for p in small.parameters())
    assert metrics["dense"]["parameters"] == sum(p.numel() for p in model.parameters())
    assert metrics["macs"] == metrics["physical_macs"] == 2 * 9 * 36 + 4 * 2 * 9 + 4 * 4
    assert metrics["exactness"] <= 1e-9
    assert set(metrics["latency_ms"]) == set(metrics["examples_per_second"]) == {"dense", "shrunk"}
    assert read_artifact(tmp_path / "small").metrics["structure"] == metrics["structure"] == "2-4"


def test_widths_can_suit_hardware(trained, tmp_path):
    squeeze(tmp_path / "small", trained[1], round_to=3)
    small = load_artifact(tmp_path / "small", factory=toys.cnn)
    assert (small[0].out_channels, small[4].out_channels) == (3, 6)


def test_a_gathering_network_is_written_and_measured_again(tmp_path):
    torch.manual_seed(0)
    model = toys.mlp()
    with torch.no_grad():
        model[1].weight[:, ::3] = 0  # of its 36 inputs, which stay
    torch.save(model.state_dict(), tmp_path / "mlp.pt")
    options = {"weights": str(tmp_path / "mlp.pt"), "threshold": 0.0, "input_shape": (1, 6, 6)}
    metrics = compress("toys:mlp", tmp_path / "small", gather=True, **options)
    assert metrics["physical_macs"] == metrics["macs"] == 24 * 16 + 16 * 8 + 8 * 4
    small = load_artifact(tmp_path / "small", factory=toys.mlp)
    images = torch.rand(5, 1, 6, 6)
    assert torch.allclose(small(images), model(images), atol=1e-6)
    again = evaluate_artifact(tmp_path / "small", factory="toys:mlp")
    assert (again["macs"], again["nonzeros"]) == (metrics["macs"], metrics["nonzeros"])
    assert again["exactness"] <= 1e-12


def test_zero_threshold_removes_what_is_zero_already(trained, tmp_path):
    model, _ = trained
    with torch.no_grad():
        model[0].weight[:4] = 0
    torch.save(model.state_dict(), tmp_path / "zeros.pt")
    metrics = squeeze(tmp_path / "small", str(tmp_path / "zeros.pt"), threshold=0.0)
    assert metrics["structure"] == "2-8"


def test_it_is_measured_again_with_and_without_data(trained, tmp_path, monkeypatch):
    squeeze(tmp_path / "small", trained[1])
    alone = evaluate_artifact(tmp_path / "small", factory="toys:cnn")
    assert alone["test_accuracy"] is None
    assert alone["exactness"] <= 1e-9
    with_data = evaluate_artifact(tmp_path / "small", factory="toys:cnn", source="toys:blobs")
    assert 0 <= with_data["test_accuracy"] <= 1
    assert with_data["val_accuracy"] is None
    assert with_data["nonzeros"] == alone["nonzeros"]
    with pytest.raises(InputError, match=r"shape \[1, 6, 6\], those of 'mnist' have"):
        evaluate_artifact(tmp_path / "small", factory="toys:cnn", source="mnist")
    monkeypatch.setattr("toys.blobs", lambda blobs=toys.blobs: blobs(classes=6))
    with pytest.raises(InputError, match="test: the model has 4 outputs, but an example has"):
        evaluate_artifact(tmp_path / "small", factory="toys:cnn", source="toys:blobs")


def test_a_built_in_network_knows_its_input(monkeypatch, capsys, tmp_path):
    weights = tmp_path / "lenet.safetensors"
    safetensors.torch.save_file(build("lenet_300_100", {}).state_dict(), weights)
    command = ["compress", "lenet_300_100", "--weights", weights, "--threshold", "0.01"]
    code, out, _ = call(monkeypatch, capsys, *command, "-o", tmp_path / "a")
    assert code == 0
    for expected in ("fc1", "266,200 ->", "largest difference", f"evaluate {tmp_path / 'a'}"):
        assert expected in out
    code, out, _ = call(monkeypatch, capsys, *command, "-o", tmp_path / "b", "--json")
    assert code == 0
    assert json.loads(out)["nonzeros"] < 266_200
    code, out, _ = call(monkeypatch, capsys, "evaluate", tmp_path / "b")
    assert code == 0
    assert "test accuracy" not in out


def test_arguments_reach_the_factory(monkeypatch, capsys, tmp_path):
    weights = tmp_path / "mlp.safetensors"
    safetensors.torch.save_file(toys.mlp(width=12).state_dict(), weights)
    command = ["compress", "toys:mlp", "--weights", weights, "--threshold", "0", "--argument",
               "width=12", "--input-shape", "1,6,6", "-o", tmp_path / "a", "--json"]  # fmt: skip
    code, out, _ = call(monkeypatch, capsys, *command)
    assert code == 0
    assert json.loads(out)["structure"] == "36-12-8"
    assert load_artifact(tmp_path / "a", factory="toys:mlp")[1].out_features == 12


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"threshold": -1.0}, InputError, "threshold must be a number from 0"),
        ({"threshold": float("nan")}, InputError, "threshold must be a number from 0"),
        ({"threshold": 50.0}, InputError, "50 is too high: .* nothing gets through layer '.'"),
        ({"round_to": 0}, InputError, "round_to must be at least 1, got 0"),
        ({"input_shape": None}, InputError, "--input-shape 3,32,32"),
        ({"input_shape": (1, 0, 6)}, InputError, "must be positive numbers"),
        ({"input_shape": (3, 6, 6)}, InputError, r"must accept a batch of shape \(1, 3, 6, 6\)"),
        ({"weights": "DEFAULT"}, ArtifactError, "toys:cnn is none of torchvision's"),
        ({"weights": "gone.pt"}, ArtifactError, "gone.pt cannot be read"),
    ],
)
def test_bad_input_writes_nothing(trained, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        squeeze(tmp_path / "small", trained[1], **changes)
    assert not (tmp_path / "small").exists()


def test_a_folder_that_exists_is_kept(trained, tmp_path):
    with pytest.raises(StorageError, match="exists: give a new folder"):
        squeeze(tmp_path, trained[1])
