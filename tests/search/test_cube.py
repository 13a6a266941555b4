import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hoyer_search.search.cube import Cube

SPACE = {
    "decay": FloatDistribution(1e-5, 1e-3, log=True),
    "ratio": FloatDistribution(-1.0, 1.0, step=0.5),
    "epochs": IntDistribution(1, 64, log=True),
    "name": CategoricalDistribution(["hoyer", "l1", "group_hs"]),
}


def test_settings_survive_the_way_there_and_back():
    cube = Cube(SPACE)
    rng = np.random.default_rng(0)
    for point in cube.snap(rng.random((50, 4))):
        setting = cube.setting(point)
        assert cube.points([setting])[0] == pytest.approx(point)
        assert type(setting["epochs"]) is int
        assert setting["ratio"] in (-1.0, -0.5, 0.0, 0.5, 1.0)
        assert all(d._contains(d.to_internal_repr(setting[n])) for n, d in SPACE.items())


def test_log_ranges_are_scaled_by_their_logarithm_and_choices_by_index():
    setting = {"decay": 1e-4, "ratio": 0.0, "epochs": 64, "name": "l1"}
    decay, ratio, epochs, name = Cube(SPACE).points([setting])[0]
    assert (decay, ratio, name) == pytest.approx((0.5, 0.5, 1.0))
    assert 0.99 < epochs < 1.0
    assert Cube(SPACE).categorical.tolist() == [False, False, False, True]


def test_snapping_reaches_every_step_and_choice_about_equally_often():
    space = {"n": IntDistribution(1, 4), "c": CategoricalDistribution("abcd")}
    cube = Cube(space)
    points = cube.snap(np.random.default_rng(0).random((4000, 2)))
    for column in points.T:
        _, counts = np.unique(column.round(9), return_counts=True)
        assert len(counts) == 4
        assert counts.min() > 900


def test_uniform_coordinates_snap_to_the_same_points():
    cube = Cube(SPACE)
    points = cube.snap(np.random.default_rng(1).random((50, 4)))
    assert cube.snap(cube.uniform(points)) == pytest.approx(points)
