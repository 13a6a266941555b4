"""What a search says that ended."""

import pytest

from hoyer_search import spaces
from hoyer_search.ending import more_budget
from hoyer_search.results import Finished


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
    assert more_budget(config, finished) == more
    if more is not None:
        name, value = more.split("=")
        spaces.load(
            toy_file, overrides={name: float(value) if name == "budget.hours" else int(value)}
        )


def test_a_budget_that_was_made_smaller_is_doubled_from_what_ended(toy_file):
    config = spaces.load(toy_file, overrides={"budget.trials": 2})
    assert more_budget(config, Finished(trials=8, budget=2)) == "budget.trials=16"
