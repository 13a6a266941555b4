import pytest
import torch

from hoyer_search.models import lenet_5, lenet_300_100


@pytest.mark.parametrize(
    ("factory", "weights", "names"),
    [
        (lenet_300_100, 266_200, ["fc1", "fc2", "fc3"]),
        (lenet_5, 430_500, ["conv1", "conv2", "fc1", "fc2"]),
    ],
)
def test_lenets_have_the_weights_of_the_paper(factory, weights, names):
    model = factory()
    assert sum(p.numel() for p in model.parameters() if p.ndim > 1) == weights
    assert [name for name, _ in model.named_children()] == names
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_logits_are_not_normalised():
    images = torch.rand(4, 1, 28, 28)
    for model in (lenet_300_100(), lenet_5()):
        assert not torch.allclose(model(images).exp().sum(1), torch.ones(4), atol=1e-3)
