import numpy as np
import pytest

from hoyer_search.trial.levels import levels, strictness, weights


def test_levels_are_floors_and_what_lies_halfway_between():
    found = levels(np.array([0.95, 0.98, 0.97, 0.98]))
    assert found == pytest.approx([0.98, 0.975, 0.97, 0.96, 0.95])


@pytest.mark.parametrize(
    ("count", "within_a_trial", "to_a_sampler"),
    [(1, [3], [1]), (3, [3, 1, 2], [2, 1, 1]), (7, [3, 1, 2, 1, 2, 1, 2], [4, 1, 3, 1, 2, 1, 1])],
)
def test_floors_count_more_than_what_lies_between(count, within_a_trial, to_a_sampler):
    assert weights(count).tolist() == within_a_trial
    assert strictness(count).tolist() == to_a_sampler
