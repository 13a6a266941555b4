"""A loaded network is a plain module: its owner can do with it what one does with a module."""

import copy
import pickle

import pytest
import torch
from hostile import GOLDEN
from torch import nn

from hoyer_search import load_artifact
from hoyer_search.compression.artifact import FORMAT

IMAGES = torch.linspace(-1, 1, 4 * 784).reshape(4, 1, 28, 28)


@pytest.fixture
def model() -> nn.Module:
    return load_artifact(GOLDEN / f"format-{FORMAT}")


def test_it_trains_further(model):
    labels = torch.tensor([3, 1, 4, 1])
    optimizer = torch.optim.Adam(model.train().parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(IMAGES), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())
    assert losses[-1] < losses[0]


def test_it_moves_and_changes_type(model):
    before = model(IMAGES)
    assert model.to("meta")(IMAGES.to("meta")).device.type == "meta"
    double = load_artifact(GOLDEN / f"format-{FORMAT}").double()
    assert torch.allclose(double(IMAGES.double()).float(), before, atol=1e-6)
    last = load_artifact(GOLDEN / f"format-{FORMAT}").to(memory_format=torch.channels_last)
    assert torch.allclose(last(IMAGES), before, atol=1e-6)


def test_it_pickles_and_copies(model):
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(other(IMAGES), model(IMAGES))


def test_its_state_goes_into_another(model):
    other = load_artifact(GOLDEN / f"format-{FORMAT}")
    with torch.no_grad():
        model.fc2.bias += 1
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(IMAGES), model(IMAGES))


def test_it_compiles(model):
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(IMAGES), model(IMAGES), atol=1e-6)
    torch.compiler.reset()
