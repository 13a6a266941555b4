"""Points of a sweep by name."""

from dataclasses import replace

import pytest
from test_front import make_front, make_point
from typing_extensions import override

from hoyer_search.errors import InputError
from hoyer_search.reading import Sweep


class InMemory(Sweep):
    """A sweep of a front alone."""

    name, state = "toy", "finished"

    def __init__(self, front):
        self._given = front

    @override
    def _front(self):
        return self._given

    @override
    def _confirmed(self):
        return {}

    @override
    def _artifact(self, point):
        raise NotImplementedError

    @override
    def _factory(self):
        return None


ACCURATE, MIDDLE, SPARSE = (
    make_point(0, 0.981, 400),
    make_point(1, 0.972, 100),
    make_point(2, 0.955, 20),
)
FRONT = make_front(ACCURATE, MIDDLE, SPARSE)


def test_points_by_name():
    sweep = InMemory(FRONT)
    found = {name: sweep.point(name).record for name in ("A", "B", "D", "best", "knee")}
    assert found == {"A": ACCURATE, "B": MIDDLE, "D": SPARSE, "best": ACCURATE, "knee": MIDDLE}
    assert sweep.point(SPARSE.name).record is SPARSE
    with pytest.raises(InputError, match="unknown point of sweep toy 'C'"):
        sweep.point("C")


def test_an_operating_point_has_its_own_name_first():
    named = replace(FRONT, floors={"A": 0.98, "best": 0.97, "knee": 0.95})
    sweep = InMemory(named)
    assert sweep.point("best").record is MIDDLE
    assert sweep.point("knee").record is SPARSE


def test_a_point_that_nothing_keeps_says_what_the_best_network_has():
    sweep = InMemory(replace(FRONT, floors={"A": 0.99}))
    with pytest.raises(InputError, match=r"its floor is 0.9900, the best network has 0.9810"):
        sweep.point("A")
    with pytest.raises(InputError, match=r"of point best yet: its floor is 0.9900"):
        sweep.point("best")
