"""A trial that starts from the regularized network of another."""

import logging
import shutil

import pytest
from safetensors.torch import load

from hoyer_search import datasets, results, spaces
from hoyer_search.results import TrialResult, TrialSpec
from hoyer_search.trial.pipeline import run_trial
from hoyer_search.trial.pretraining import pretrain


@pytest.fixture
def sweep(toy_config, make_sweep):
    """A sweep with one finished trial, and how to add a trial that starts from it."""
    config = toy_config(warm_start="path")
    folder = make_sweep(config)
    data = datasets.load(config.data, seed=config.seed, protocol=config.protocol)
    list(pretrain(folder, config, data))

    def add(number, decay, parent=None):
        params = {"decay": decay}
        trial = spaces.apply_params(config, params).model_dump(mode="json")
        uid = f"{number:03d}-aaaaaa"
        spec = TrialSpec(number=number, uid=uid, params=params, config=trial, parent=parent)
        folder.add_trial(spec)
        return spec

    first = add(0, 0.002)
    list(run_trial(folder, first, data))
    return folder, data, add, first


def epochs(steps):
    return [(s.epoch, s.epochs) for s in steps if s.stage == "regularize"]


def weights(folder, uid):
    key = folder.result(uid).regularized
    return load((folder.trial(uid) / f"regularize-{key}" / "weights.safetensors").read_bytes())


def same(one, other):
    return all(one[name].equal(other[name]) for name in one)


def outcome(result):
    points = [(p.nonzeros, p.val_accuracy, p.threshold, p.layers) for p in result.points]
    return result.curve, points, result.parent, result.regularized


def test_it_regularizes_for_half_the_epochs_and_says_where_it_began(sweep):
    folder, data, add, first = sweep
    child, alone = add(1, 0.002, first.uid), add(2, 0.002)
    assert epochs(run_trial(folder, child, data)) == [(1, 2), (2, 2)]
    assert epochs(run_trial(folder, alone, data)) == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert folder.result(child.uid).parent == first.uid
    assert folder.result(alone.uid).parent is None
    assert same(weights(folder, alone.uid), weights(folder, first.uid)), "the same training"
    assert not same(weights(folder, child.uid), weights(folder, first.uid))
    assert folder.result(child.uid).dense == folder.result(first.uid).dense


def test_no_epochs_leave_the_parents_network(sweep):
    folder, data, add, first = sweep
    child = add(1, 0.05, first.uid)
    child.config["pipeline"]["regularize"]["warm_epochs"] = 0
    assert epochs(run_trial(folder, child, data)) == []
    assert same(weights(folder, child.uid), weights(folder, first.uid))
    assert folder.result(child.uid).curve == folder.result(first.uid).curve


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_killed_one_goes_on_and_gives_the_same_bytes(sweep, killed_after):
    folder, data, add, first = sweep
    whole, killed = add(1, 0.002, first.uid), add(2, 0.002, first.uid)
    list(run_trial(folder, whole, data))
    steps = run_trial(folder, killed, data)
    for _ in range(killed_after):
        next(steps)
    steps.close()
    list(run_trial(folder, killed, data))
    assert outcome(folder.result(killed.uid)) == outcome(folder.result(whole.uid))
    assert same(weights(folder, killed.uid), weights(folder, whole.uid))


def test_a_path_goes_on_from_trial_to_trial(sweep):
    folder, data, add, first = sweep
    second = add(1, 0.002, first.uid)
    list(run_trial(folder, second, data))
    third = add(2, 0.002, second.uid)
    list(run_trial(folder, third, data))
    keys = {folder.result(s.uid).regularized for s in (first, second, third)}
    assert len(keys) == 3, "one setting, three different starts"


def lose_trial(folder, uid):
    shutil.rmtree(folder.trial(uid))


def damage_weights(folder, uid):
    path = next(folder.trial(uid).glob("regularize-*")) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-8] + b"\xff" * 8)


def lose_weights(folder, uid):
    shutil.rmtree(next(folder.trial(uid).glob("regularize-*")))


def forget_key(folder, uid):
    result = results.to_json(folder.result(uid)) | {"regularized": None}
    results.save(folder.trial(uid) / "result.json", TrialResult(**result))


@pytest.mark.parametrize("lose", [lose_trial, lose_weights, damage_weights, forget_key])
def test_without_its_parent_it_starts_from_the_dense_network_and_says_so(sweep, caplog, lose):
    folder, data, add, first = sweep
    expected = weights(folder, first.uid)
    lose(folder, first.uid)
    left = sorted(p.name for p in folder.trial(first.uid).glob("*"))
    child = add(1, 0.002, first.uid)
    with caplog.at_level(logging.WARNING):
        assert len(epochs(run_trial(folder, child, data))) == 4
    assert f"trial 1 starts from the dense network, not from trial {first.uid}: " in caplog.text
    assert folder.result(child.uid).parent is None
    assert same(weights(folder, child.uid), expected)
    assert sorted(p.name for p in folder.trial(first.uid).glob("*")) == left, "left as it was"
