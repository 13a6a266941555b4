"""How many trials a cluster has room for."""

import pytest

from hoyer_search.config import Resources
from hoyer_search.search.cluster import room


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, 4),
        ({"cpus": 3.0}, 1),
        ({"cpus": 0.4}, 10),
        ({"gpus": 0.5}, 2),
        ({"gpus": 2.0}, 0),
        ({"custom": {"fast_disk": 1.0}}, 2),
        ({"custom": {"tape": 1.0}}, 0),
    ],
)
def test_a_node_has_room_for_whole_trials(resources, expected):
    node = {"CPU": 4.0, "GPU": 1.0, "fast_disk": 2.0}
    assert room(node, Resources(**resources)) == expected
