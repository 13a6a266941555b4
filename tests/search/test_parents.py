from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hoyer_search import datasets
from hoyer_search.search.parents import by_distance
from hoyer_search.search.study import Study
from hoyer_search.trial.pipeline import run_trial
from hoyer_search.trial.pretraining import pretrain

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


def test_a_sweep_follows_a_path_also_after_a_restart(toy_config, make_sweep):
    config = toy_config(warm_start="path", sampler="random")
    folder = make_sweep(config)
    data = datasets.load(config.data, seed=config.seed, protocol=config.protocol)
    list(pretrain(folder, config, data))
    epochs = []
    for _ in range(3):
        study = Study.open(folder, config)
        spec = study.ask()
        steps = list(run_trial(folder, spec, data))
        epochs.append(sum(step.stage == "regularize" for step in steps))
        study.tell(folder.result(spec.uid))
    assert epochs == [4, 2, 2]
    first, second, third = folder.results()
    assert (first.parent, second.parent) == (None, first.uid)
    assert third.parent in (first.uid, second.uid)
