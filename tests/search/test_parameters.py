import math

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hoyer_search.search.parameters import coordinates, num_settings, search_space, settings


@pytest.fixture
def mixed(toy_config):
    return toy_config(
        search__threshold={"low": 0.0, "high": 0.2},
        **{
            "search__pipeline.regularize.epochs": {"low": 2, "high": 5},
            "search__regularizer.name": {"choices": ["hoyer_square", "l1"]},
        },
    )


def test_ranges_and_choices_become_distributions(mixed):
    assert search_space(mixed) == {
        "decay": FloatDistribution(1e-4, 1e-1, log=True),
        "threshold": FloatDistribution(0.0, 0.2),
        "pipeline.regularize.epochs": IntDistribution(2, 5),
        "regularizer.name": CategoricalDistribution(["hoyer_square", "l1"]),
    }


def test_coordinates_scale_floats_and_keep_the_rest_apart(mixed):
    params = {
        "decay": 1e-3,
        "threshold": 0.05,
        "pipeline.regularize.epochs": 4,
        "regularizer.name": "l1",
    }
    assert coordinates(search_space(mixed), params) == pytest.approx([1 / 3, 0.25, 4, 1])


def test_a_float_makes_infinitely_many_settings(toy_config, mixed):
    assert num_settings(search_space(mixed)) == math.inf
    with pytest.raises(ValueError, match="float"):
        next(settings(search_space(mixed)))


def test_settings_of_a_finite_space_are_all_listed():
    space = {"a": IntDistribution(1, 3), "b": CategoricalDistribution(["x", "y"])}
    listed = list(settings(space))
    assert len(listed) == num_settings(space) == 6
    assert {(s["a"], s["b"]) for s in listed} == {(a, b) for a in (1, 2, 3) for b in "xy"}
