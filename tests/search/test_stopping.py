"""The limits of a budget, on their own and over interrupted sweeps."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import toy_pipeline as toy
from processes import wait_for
from test_tuner import HERE, search

from hoyer_search.config import Budget, Resources
from hoyer_search.results import TrialSpec, Usage
from hoyer_search.search.stopping import Meter, Plateau, Stopping
from hoyer_search.search.study import Study
from hoyer_search.store import SweepFolder


@pytest.fixture(autouse=True)
def workers_find_the_toys(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)


def ended(number: int, *, nonzeros: int, accuracy: float = 0.98):
    spec = TrialSpec(number=number, uid=f"{number:03d}-x", params={"decay": 1e-3}, config={})
    point = toy.point(spec, index=0, val_accuracy=accuracy, nonzeros=nonzeros)
    return replace(toy.result(spec), points=[point])


class TestPlateau:
    @pytest.fixture
    def plateau(self, toy_config):
        return Plateau(toy_config(objective__points={"A": 0.0, "B": 0.1}))

    def test_counts_the_trials_since_the_last_growth(self, plateau):
        for number, nonzeros in enumerate([10_000, 10_000, 20_000]):
            plateau.add(ended(number, nonzeros=nonzeros))
        assert plateau.flat(2)
        assert not plateau.flat(3), "three trials ago there was nothing"
        plateau.add(ended(3, nonzeros=5_000))
        assert not plateau.flat(1)

    def test_growth_of_less_than_a_thousandth_is_none(self, plateau):
        plateau.add(ended(0, nonzeros=10_000))
        plateau.add(ended(1, nonzeros=9_995))
        assert plateau.flat(1)
        plateau.add(ended(2, nonzeros=9_900))
        assert not plateau.flat(1)

    def test_a_search_that_has_found_nothing_yet_is_not_flat(self, plateau):
        for number in range(5):
            plateau.add(ended(number, nonzeros=10_000, accuracy=0.5))
        assert not plateau.flat(3)

    def test_a_trial_counts_once(self, plateau):
        for _ in range(3):
            plateau.add(ended(0, nonzeros=10_000))
        assert not plateau.flat(1)


def test_time_is_kept_over_restarts_and_by_kind(toy_config, make_sweep):
    folder = make_sweep(toy_config())
    folder.save_usage(Usage(wall_seconds=100.0, core_seconds=10.0, gpu_seconds=1.0))
    began = time.monotonic()
    meter = Meter(folder, Resources(cpus=4.0, gpus=0.5))
    time.sleep(0.05)
    meter.tick(running=3)
    meter.save()
    used = folder.usage()
    elapsed = used.wall_seconds - 100.0
    assert 0.05 <= elapsed <= time.monotonic() - began
    # Trials are counted up to the tick, and the wall up to the save.
    trial_seconds = (used.core_seconds - 10.0) / 12
    assert 0.05 <= trial_seconds <= elapsed
    assert used.gpu_seconds == pytest.approx(1.0 + 1.5 * trial_seconds)


@pytest.mark.parametrize(
    ("limits", "gpus", "usage", "reason"),
    [
        ({"hours": 2.0}, 0.0, Usage(wall_seconds=7201.0), "hours"),
        ({"hours": 2.0}, 0.0, Usage(wall_seconds=7000.0), None),
        ({"accelerator_hours": 1.0}, 0.0, Usage(core_seconds=3600.0), "accelerator_hours"),
        ({"accelerator_hours": 1.0}, 0.0, Usage(gpu_seconds=3600.0), None),
        ({"accelerator_hours": 1.0}, 1.0, Usage(core_seconds=9e9), None),
        ({"accelerator_hours": 1.0}, 1.0, Usage(gpu_seconds=3600.0), "accelerator_hours"),
        ({}, 1.0, Usage(wall_seconds=9e9, core_seconds=9e9, gpu_seconds=9e9), None),
    ],
)
def test_limits_of_time(toy_config, make_sweep, limits, gpus, usage, reason):
    overrides = {f"budget__{name}": value for name, value in limits.items()}
    config = toy_config(resources__gpus=gpus, **overrides)
    folder = make_sweep(config)
    folder.save_usage(usage)
    assert Stopping.of(folder, config, []).reason() == reason


def test_the_study_lists_trials_in_the_order_of_their_ends(toy_config, make_sweep):
    config = toy_config(sampler="random")
    folder = make_sweep(config)
    study = Study.open(folder, config)
    first, second = study.ask(), study.ask()
    study.tell(toy.result(second))
    study.tell(toy.result(first))
    assert study.ended() == [1, 0]


@pytest.mark.slow
def test_a_sweep_stops_when_it_is_flat_and_goes_on_with_more_budget(toy_config, make_sweep):
    """Every trial of the toy finds the same points, but for the decay's influence."""
    config = toy_config(
        sampler="random",
        budget__trials=8,
        budget__flat_trials=2,
        resources__workers=1,
        presets=[{"decay": 0.01}, {"decay": 0.0101}, {"decay": 0.0102}],
    )
    folder = make_sweep(config)
    search(folder)
    assert folder.finished().stopped_by == "flat_trials"
    assert len(folder.results()) < 8
    before = folder.results()
    assert search(folder) == [], "a finished sweep does not go on by itself"
    budget = Budget(trials=len(before) + 1)
    folder.set_config(config.model_copy(update={"budget": budget}))
    search(folder)
    assert len(folder.results()) == len(before) + 1
    assert folder.finished().stopped_by == "trials"


@pytest.mark.slow
@pytest.mark.chaos
def test_accelerator_hours_count_what_a_killed_driver_spent(toy_config, make_sweep):
    """One worker and trials of 0.8 s, so core-seconds are about the trials' wall seconds."""
    config = toy_config(
        sampler="random",
        budget__trials=50,
        budget__accelerator_hours=6.0 / 3600,
        resources__workers=1,
    )
    folder = make_sweep(config)
    driver = start(folder)
    wait_for(lambda: len(folder.results()) >= 3, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    spent = folder.usage()
    assert 1.6 <= spent.core_seconds <= spent.wall_seconds

    assert start(folder).wait(timeout=120) == 0
    used = folder.usage()
    assert folder.finished().stopped_by == "accelerator_hours"
    assert used.core_seconds >= 6.0
    *before, _ = toy.durations(folder.path)
    assert sum(before) < 9.0, "a trial was started although the budget was spent"
    assert used.gpu_seconds == 0.0
    assert used.wall_seconds > used.core_seconds
    assert [r.state for r in folder.results()] == ["complete"] * len(folder.specs())
    assert len(folder.results()) <= 10
    again = folder.usage()
    assert search(folder) == []
    assert folder.usage() == again


def start(folder: SweepFolder) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(HERE / "toy_driver.py"), str(folder.path)],
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
