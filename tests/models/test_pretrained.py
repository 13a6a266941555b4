import urllib.request
from urllib.error import URLError

import pytest
import safetensors.torch
import torch
from torchvision.models import ResNet18_Weights

from hoyer_search.compression.weights import apply_weights
from hoyer_search.errors import ArtifactError
from hoyer_search.models import build, load_trained, trained_id


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A torch hub folder of its own, where downloads end; the network is out of reach."""

    def refuse(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def save(folder, url, state):
    torch.save(state, folder / url.rpartition("/")[2])


@pytest.mark.parametrize("factory", ["resnet18", "torchvision.models:resnet18"])
@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "DEFAULT"])
def test_named_weights_are_torchvisions(factory, name, hub):
    trained = build("resnet18", {})
    save(hub, ResNet18_Weights.IMAGENET1K_V1.url, trained.state_dict())
    model = build("resnet18", {})
    apply_weights(model, load_trained(factory, name))
    assert torch.equal(model.fc.weight, trained.fc.weight)
    assert "resnet18" in trained_id(factory, name)


def test_densenets_old_names_fit_the_network(hub):
    model = build("densenet121", {})
    old = {
        name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): tensor
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    from torchvision.models import DenseNet121_Weights

    save(hub, DenseNet121_Weights.DEFAULT.url, old)
    apply_weights(build("densenet121", {}), load_trained("densenet121", "DEFAULT"))


def test_a_download_that_fails_says_where_from(hub):
    with pytest.raises(ArtifactError, match=r"cannot be downloaded from https://.*resnet50.*Downl"):
        load_trained("resnet50", "IMAGENET1K_V2")


def test_unknown_weights_list_the_known():
    with pytest.raises(ArtifactError, match=r"of resnet50: IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT"):
        load_trained("resnet50", "IMAGENET21K")
    with pytest.raises(ArtifactError, match="resnet20 is none of torchvision's networks"):
        load_trained("resnet20", "DEFAULT")


def test_a_file_is_read_and_known_by_its_content(tmp_path):
    model = build("resnet20", {})
    path = tmp_path / "trained.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    apply_weights(build("resnet20", {}), load_trained("resnet20", str(path)))
    before = trained_id("resnet20", str(path))
    with torch.no_grad():
        model.fc.bias += 1
    safetensors.torch.save_file(model.state_dict(), path)
    assert trained_id("resnet20", str(path)) != before
    with pytest.raises(ArtifactError, match=r"gone\.pt cannot be read"):
        trained_id("resnet20", str(tmp_path / "gone.pt"))
