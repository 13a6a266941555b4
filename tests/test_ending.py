"""What a search says that ended."""

import pytest

from hoyer_search import spaces
from hoyer_search.ending import more_budget
from hoyer_search.results import Finished, Usage


@pytest.mark.parametrize(
    ("budget", "stopped_by", "more"),
    [
        ({"trials": 20}, "trials", "budget.trials=40"),
        ({"trials": 60_000}, "trials", "budget.trials=100000"),
        ({"trials": 100_000}, "trials", None),
        ({"trials": 20}, "settings", None),
        ({"hours": 0.75}, "hours", "budget.hours=1.5"),
        ({"flat_trials": 1_000_000}, "flat_trials", "budget.flat_trials=2000000"),
        ({"trials": 20}, None, "budget.trials=40"),
    ],
)
def test_twice_the_limit_lets_a_search_go_on(toy_file, budget, stopped_by, more):
    config = spaces.load(toy_file, overrides={"budget": budget})
    finished = Finished(trials=3, budget=config.budget.trials, stopped_by=stopped_by)
    assert more_budget(config, finished, Usage()) == more
    if more is not None:
        name, value = more.split("=")
        spaces.load(
            toy_file, overrides={name: float(value) if name == "budget.hours" else int(value)}
        )


def test_a_budget_that_was_made_smaller_is_doubled_from_what_ended(toy_file):
    config = spaces.load(toy_file, overrides={"budget.trials": 2})
    assert more_budget(config, Finished(trials=8, budget=2), Usage()) == "budget.trials=16"


def test_hours_that_ran_over_their_limit_are_doubled_from_what_was_used(toy_file):
    limits = {"trials": 20, "hours": 1.0, "accelerator_hours": 2.0}
    config = spaces.load(toy_file, overrides={"budget": limits})
    usage = Usage(wall_seconds=3 * 3600.0, core_seconds=5 * 3600.0)
    for name, more in (("hours", "6"), ("accelerator_hours", "10")):
        finished = Finished(trials=3, budget=20, stopped_by=name)
        assert more_budget(config, finished, usage) == f"budget.{name}={more}"
