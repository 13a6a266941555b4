"""Winners trained again: which, how, and over a killed driver."""

import os
import signal
import subprocess
import sys
from collections import Counter

import pytest
import toy_pipeline as toy
from processes import wait_for
from test_tuner import HERE, ended, search

from hoyer_search import results
from hoyer_search.confirmation import confirmations
from hoyer_search.search.retraining import Retrainings
from hoyer_search.search.study import Study

POINTS = {"A": 0.005, "B": 0.01, "C": 0.05}


@pytest.fixture(autouse=True)
def workers_find_the_toys(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)


@pytest.fixture
def config(toy_config):
    return toy_config(
        sampler="random",
        confirm=2,
        budget__trials=3,
        objective__points=POINTS,
        presets=[{"decay": 1e-4}, {"decay": 1e-3}, {"decay": 1e-2}],
        search__decay={"low": 1e-5, "high": 1e-1, "log": True},
    )


@pytest.fixture
def folder(config, make_sweep):
    """A sweep whose search is over: trial 0 wins at A, trial 1 at B and C."""
    folder = make_sweep(config)
    target = folder.pretrained("toy")
    target.mkdir()
    results.save(target / "dense.json", toy.DENSE)
    study = Study.open(folder, config)
    for _ in range(3):
        finish(folder, spec := study.ask())
        study.tell(folder.result(spec.uid))
    return folder


def finish(folder, spec):
    results.save(folder.trial(spec.uid) / "result.json", toy.result(spec))


def asked(retrainings):
    return list(iter(retrainings.ask, None))


def test_each_winning_trial_is_retrained_at_all_its_winning_thresholds(folder, config):
    winners = folder.front().operating_points.values()
    thresholds = {p.uid: {q.threshold for q in winners if q.uid == p.uid} for p in winners}
    specs = asked(Retrainings(folder, config))
    assert Counter(s.retrains.uid for s in specs) == dict.fromkeys(thresholds, 2)
    assert [len(found) for found in thresholds.values()] == [1, 2]
    for spec in specs:
        winner = folder.spec(spec.retrains.uid)
        assert spec.retrains.thresholds == sorted(thresholds[winner.uid])
        assert (spec.params, spec.config, spec.number) == (
            winner.params, winner.config, winner.number,
        )  # fmt: skip
    assert len({s.retrains.seed for s in specs}) == len({s.uid for s in specs}) == len(specs)
    assert folder.retraining_specs() == sorted(specs, key=lambda s: (s.number, s.uid))


def test_search_and_front_know_nothing_of_retrainings(folder, config):
    before = folder.specs(), folder.results(), folder.front()
    for spec in asked(Retrainings(folder, config)):
        finish(folder, spec)
    assert (folder.specs(), folder.results(), folder.front()) == before
    study = Study.open(folder, config)
    assert (study.num_left, study.num_ended) == (0, 3)
    assert Retrainings(folder, config).num_left == 0


def test_what_did_not_end_is_asked_for_again_and_nothing_else(folder, config):
    first, *others = asked(Retrainings(folder, config))
    finish(folder, first)
    again = Retrainings(folder, config)
    assert again.num_left == len(others)
    assert asked(again) == others
    assert again.ask() is None
    again.recover()
    assert asked(again) == others


def test_nothing_is_retrained_unless_it_is_asked_for(folder, config):
    assert Retrainings(folder, config.model_copy(update={"confirm": 0})).num_left == 0


@pytest.mark.slow
@pytest.mark.chaos
def test_a_killed_driver_goes_on_with_the_retrainings(config, make_sweep):
    config = config.model_copy(update={"confirm": 3})
    folder = make_sweep(config)
    driver = subprocess.Popen(
        [sys.executable, str(HERE / "toy_driver.py"), str(folder.path)],
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    wait_for(lambda: len(folder.retrainings()) >= 2, driver)
    assert folder.finished() is None
    driver.send_signal(signal.SIGKILL)
    driver.wait()

    events = search(folder)
    front = folder.front()
    winners = {p.uid for p in front.operating_points.values()}
    specs = folder.retraining_specs()
    assert Counter(s.retrains.uid for s in specs) == dict.fromkeys(winners, 3)
    assert sorted(ended(folder)) == sorted(s.uid for s in [*folder.specs(), *specs])
    assert all(e.spec.retrains is not None for e in events), "the search was over"
    assert folder.finished().stopped_by == "trials"
    assert folder.finished().trials == 3
    verdicts = confirmations(front, folder.retrainings(), wanted=3)
    assert set(verdicts) == set(POINTS)
    assert all(len(one.points) == 3 and one.failed == 0 for one in verdicts.values())
    assert all(one.confirmed for one in verdicts.values())
    assert search(folder) == []
