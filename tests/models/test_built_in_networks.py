import pytest
import torch
from torch import nn

from hoyer_search.compression.measure import num_parameters
from hoyer_search.errors import PluginError
from hoyer_search.models import MODELS, build, input_shape

TABLE_8 = [34_848, 307_200, 884_736, 663_552, 442_368, 37_748_736, 16_777_216, 4_096_000]


def weights(model: nn.Module) -> list[int]:
    return [p.numel() for name, p in model.named_parameters() if p.ndim > 1]


def test_alexnet_has_the_weights_of_table_8():
    with torch.device("meta"):
        model = build("alexnet", {})
    assert weights(model) == TABLE_8
    assert sum(TABLE_8) == 60_954_656  # the paper's 60.9M


@pytest.mark.parametrize("size", [63, 224, 256])
def test_alexnet_takes_images_of_several_sizes(size):
    with torch.device("meta"):
        assert build("alexnet", {"num_classes": 7})(torch.rand(2, 3, size, size)).shape == (2, 7)


@pytest.mark.parametrize(
    ("alias", "parameters", "layers"),
    [("resnet20", 272_474, 20), ("resnet32", 466_906, 32), ("resnet56", 855_770, 56)],
)
def test_small_resnets_have_the_size_of_the_paper(alias, parameters, layers):
    model = build(alias, {})
    assert num_parameters(model) == parameters
    shortcuts = [n for n, _ in model.named_modules() if n.endswith("shortcut.0")]
    assert len(weights(model)) == layers + len(shortcuts)
    assert len(shortcuts) == 2
    assert model.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_resnet50_is_torchvisions():
    model = build("resnet50", {})
    assert num_parameters(model) == 25_557_032
    assert "torchvision" in type(model).__module__


@pytest.mark.parametrize("alias", MODELS)
def test_every_alias_takes_its_input_shape(alias):
    with torch.device("meta"):
        model = build(alias, {}).eval()
        assert model(torch.zeros(1, *input_shape(alias))).shape[0] == 1


@pytest.mark.parametrize("alias", [a for a in MODELS if not a.startswith("lenet")])
def test_the_number_of_classes_can_be_chosen_within_reason(alias):
    with torch.device("meta"):
        last = list(build(alias, {"num_classes": 3}).parameters())[-1]
    assert last.shape == (3,)
    for wrong in (0, 10**12, 2.5, True, "10"):
        with pytest.raises(PluginError, match="num_classes must be an integer from 1 to 100,000"):
            build(alias, {"num_classes": wrong})


def test_a_built_in_network_downloads_nothing_by_its_arguments():
    with pytest.raises(PluginError, match="unexpected keyword argument 'weights'"):
        build("resnet18", {"weights": "DEFAULT"})


def test_the_error_of_an_unknown_alias_lists_all():
    with pytest.raises(PluginError, match="did you mean 'resnet50'") as caught:
        build("resnet_50", {})
    assert all(alias in str(caught.value) for alias in MODELS)
