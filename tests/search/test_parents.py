from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hoyer_search.search.parents import by_distance

DECAY = {"decay": FloatDistribution(1e-5, 1e-3, log=True)}


def test_a_log_range_is_compared_by_its_logarithm():
    others = [{"decay": 1e-5}, {"decay": 1e-4}, {"decay": 1e-3}]
    assert by_distance(DECAY, {"decay": 4e-5}, others) == [1, 0, 2]


def test_of_equally_near_settings_the_last_comes_first():
    others = [{"decay": 1e-4}, {"decay": 1e-3}, {"decay": 1e-4}]
    assert by_distance(DECAY, {"decay": 1e-4}, others) == [2, 0, 1]


def test_a_different_choice_is_as_far_as_a_whole_range():
    space = {"name": CategoricalDistribution(["a", "b", "c"]), "width": IntDistribution(0, 100)}
    at = {"name": "a", "width": 0}
    others = [{"name": "c", "width": 0}, {"name": "a", "width": 90}, {"name": "b", "width": 20}]
    assert by_distance(space, at, others) == [1, 0, 2]


def test_a_searched_threshold_does_not_count():
    space = DECAY | {"threshold": FloatDistribution(0.01, 1.0)}
    others = [{"decay": 1e-4, "threshold": 1.0}, {"decay": 1e-3, "threshold": 0.5}]
    assert by_distance(space, {"decay": 1e-4, "threshold": 0.5}, others) == [0, 1]
    only = {"threshold": FloatDistribution(0.01, 1.0)}
    assert by_distance(only, {"threshold": 0.5}, [{"threshold": 0.5}, {"threshold": 0.9}]) == [1, 0]


def test_without_earlier_trials_there_is_none():
    assert by_distance(DECAY, {"decay": 1e-4}, []) == []
