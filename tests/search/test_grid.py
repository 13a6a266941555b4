import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hoyer_search.search.grid import grid
from hoyer_search.search.parameters import suggest
from hoyer_search.search.samplers import make_sampler

DECAY = FloatDistribution(1e-4, 1.0, log=True)


def test_a_range_is_cut_into_cells_by_its_own_scale():
    middles = [setting["decay"] for setting in grid({"decay": DECAY}, 4)]
    assert middles == pytest.approx([10**-3.5, 10**-2.5, 10**-1.5, 10**-0.5])
    assert [s["x"] for s in grid({"x": FloatDistribution(0.0, 1.0)}, 2)] == [0.25, 0.75]


@pytest.mark.parametrize(("size", "levels"), [(1, [1, 1]), (4, [2, 2]), (5, [3, 2]), (20, [5, 4])])
def test_parameters_share_the_budget(size, levels):
    laid = grid({"decay": DECAY, "weight": FloatDistribution(0.0, 1.0)}, size)
    assert [len({s[name] for s in laid}) for name in ("decay", "weight")] == levels
    assert len(laid) == math.prod(levels) >= size


def test_choices_are_all_there_and_numbers_take_what_is_left():
    space = {"name": CategoricalDistribution(["a", "b", "c"]), "decay": DECAY}
    laid = grid(space, 10)
    assert len(laid) == 12
    assert {s["name"] for s in laid} == {"a", "b", "c"}


def test_a_small_space_is_listed_completely():
    space = {
        "epochs": IntDistribution(1, 40, log=True),
        "name": CategoricalDistribution(["a", "b"]),
    }
    assert len(grid(space, 1000)) == 80


def test_the_whole_grid_is_covered_around_what_was_enqueued():
    space = {"decay": DECAY, "epochs": IntDistribution(1, 3)}
    laid = grid(space, 9)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=make_sampler("grid", space=space, seed=0, num_trials=9))
    study.enqueue_trial(laid[4])
    study.enqueue_trial({"decay": 0.5, "epochs": 2})
    for _ in range(12):
        trial = study.ask()
        suggest(trial, space)
        study.tell(trial, 0.0)
    settings = [t.params for t in study.trials]
    assert len({tuple(s.values()) for s in settings}) == 12
    assert all(setting in settings[:10] for setting in laid)
    assert not any(setting in laid for setting in settings[10:])
