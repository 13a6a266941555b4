"""When a trial counts as hanging, on a clock that the test turns."""

import pytest

from hoyer_search.results import Progress, TrialSpec
from hoyer_search.search.watchdog import Watchdog
from hoyer_search.trial.journal import Journal


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def watch(minutes=None):
    clock = Clock()
    return Watchdog(minutes, clock=clock), clock


def pass_time(dog, clock, seconds, running=("a",)):
    """Lets time pass, with a look each second; returns the trials that hung and when."""
    found = {}
    for second in range(1, seconds + 1):
        clock.now += 1
        for uid, _ in dog.look(running):
            found.setdefault(uid, second)
    return found


def epoch(seconds, number=1):
    return Progress(
        stage="regularize",
        epoch=number,
        epochs=4,
        metrics={},
        time=0.0,
        wall_seconds=seconds * number,
    )


def test_a_trial_hangs_when_it_makes_no_step_for_as_long_as_was_set():
    dog, clock = watch(minutes=1.0)
    dog.stepped("a")
    assert pass_time(dog, clock, 50) == {}
    dog.stepped("a")
    assert pass_time(dog, clock, 60) == {}
    assert pass_time(dog, clock, 5) == {"a": 1}


def test_only_trials_that_run_hang_and_each_by_itself():
    dog, clock = watch(minutes=1.0)
    dog.stepped("waits")
    dog.stepped("a")
    assert pass_time(dog, clock, 40) == {}
    dog.stepped("b")
    assert pass_time(dog, clock, 40, running=("a", "b")) == {"a": 21}
    dog.left("a")  # its process was killed; another one runs it now
    dog.stepped("a")
    assert pass_time(dog, clock, 30, running=("a", "b")) == {"b": 21}


@pytest.mark.parametrize(("seconds", "limit"), [(0.1, 600.0), (59.0, 600.0), (90.0, 900.0)])
def test_by_default_the_limit_follows_the_slowest_epoch_and_is_ten_minutes_at_least(seconds, limit):
    dog, _ = watch()
    assert dog.limit is None, "nothing tells how long a first epoch may take"
    for number in (1, 2, 3):
        dog.learn(epoch(seconds, number))
    dog.learn(epoch(seconds / 10))
    assert dog.limit == pytest.approx(limit)
    assert watch(minutes=3.0)[0].limit == 180.0


def test_before_the_first_epoch_nothing_hangs():
    dog, clock = watch()
    dog.stepped("a")
    clock.now += 1
    assert list(dog.look(["a"])) == []
    assert pass_time(dog, clock, 700) == {}


def test_time_in_which_the_driver_stood_still_does_not_count():
    dog, clock = watch(minutes=1.0)
    dog.stepped("a")
    assert pass_time(dog, clock, 10) == {}
    clock.now += 3600  # Ctrl-Z, and fg an hour later: the trial's steps wait to be read
    assert list(dog.look(["a"])) == []
    assert pass_time(dog, clock, 60) == {"a": 46}


def test_what_an_earlier_driver_saw_counts(toy_config, make_sweep):
    folder = make_sweep(toy_config())
    folder.add_trial(TrialSpec(number=0, uid="000-a", params={}, config={}))
    Journal(folder.trial("000-a") / "metrics.jsonl").add(epoch(120.0))
    dog, _ = watch()
    dog.learn_all(folder)
    assert dog.limit == 1200.0


def test_what_passed_before_a_step_does_not_count():
    dog, clock = watch(minutes=0.05)
    clock.now += 100
    dog.stepped("a")
    assert [*dog.look(("a",))] == []
    assert pass_time(dog, clock, 10) == {"a": 4}
