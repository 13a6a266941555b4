import pytest

from hoyer_search.errors import PluginError
from hoyer_search.models import build
from hoyer_search.models.lenet import LeNet5


def test_a_user_factory_gets_its_arguments():
    model = build("torch.nn:Linear", {"in_features": 3, "out_features": 2, "bias": False})
    assert model.weight.shape == (2, 3)


def test_an_unknown_alias_names_the_nearest():
    with pytest.raises(PluginError, match=r"did you mean 'lenet_5'\?"):
        build("lenet5", {})


def test_wrong_arguments_are_named():
    with pytest.raises(PluginError, match=r"'width': 3.*TypeError"):
        build("lenet_5", {"width": 3})


def test_a_factory_must_return_a_module():
    with pytest.raises(PluginError, match="it returned dict"):
        build("builtins:dict", {})


def test_a_network_without_prunable_layers_lists_its_types():
    with pytest.raises(PluginError, match=r"prunable layer \(Linear.*its layers are: ReLU"):
        build("torch.nn:ReLU", {})


def test_the_alias_and_the_import_path_give_the_same_class():
    assert isinstance(build("hoyer_search.models.lenet:lenet_5", {}), LeNet5)
