import os
import pickle

import pytest
import safetensors.torch
import torch
from small_networks import seeded

from hoyer_search.compression.weights import apply_weights, load_weights
from hoyer_search.errors import ArtifactError


@pytest.mark.parametrize("form", ["safetensors", "state_dict", "checkpoint"])
def test_weights_come_back_from_every_form(form, tmp_path):
    model, example = seeded("batch_norm", 1)
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    state = model.state_dict()
    if form == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state if form == "state_dict" else {"state_dict": state, "epoch": 3}, path)
    other, _ = seeded("batch_norm", 2)
    apply_weights(other, load_weights(path))
    assert torch.equal(other.eval()(example), model.eval()(example))


class Exploit:
    def __reduce__(self):
        return (os.system, ("touch exploited",))


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_pickle_that_needs_code_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    if name == "w.pth":
        torch.save({"fc.weight": Exploit()}, path)
    else:
        path.write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(ArtifactError, match=r"must be a safetensors file"):
        load_weights(path)
    assert not (tmp_path / "exploited").exists()


def test_a_whole_saved_module_is_refused(tmp_path):
    torch.save(seeded("shifting")[0], tmp_path / "model.pt")
    with pytest.raises(ArtifactError, match="without running code"):
        load_weights(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_missing_or_empty_file_is_named(name, tmp_path):
    with pytest.raises(ArtifactError, match=rf"{name} cannot be read.*Correct model\.weights"):
        load_weights(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ArtifactError, match=f"{name} must be a safetensors file"):
        load_weights(tmp_path / name)


@pytest.mark.parametrize("value", [torch.zeros(3), {"a": 1}, {}, [torch.zeros(3)]])
def test_only_tensors_by_name_are_weights(value, tmp_path):
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(ArtifactError, match="must hold tensors by parameter name"):
        load_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_weights_that_are_not_finite_are_refused(name, tmp_path):
    weights = {"fc.weight": torch.tensor([1.0, float("nan")])}
    if name == "w.pth":
        torch.save(weights, tmp_path / name)
    else:
        safetensors.torch.save_file(weights, tmp_path / name)
    with pytest.raises(ArtifactError, match=r"'fc\.weight' has a NaN"):
        load_weights(tmp_path / name)


def test_weights_of_another_network_change_nothing():
    model, _ = seeded("shifting")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = dict(seeded("shifting", 1)[0].state_dict())
    weights["fc1.weight"] = torch.zeros(8, 7)
    weights["other"] = weights.pop("fc3.bias")
    with pytest.raises(ArtifactError) as caught:
        apply_weights(model, weights)
    for part in (
        "fc3.bias is missing", "other is not in the network",
        "fc1.weight has shape (8, 7) where the network has (8, 6)",
    ):  # fmt: skip
        assert part in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
