"""The Pareto record: operating points, the best under a floor, the knee."""

import pytest

from hoyer_search.front import Front, size
from hoyer_search.results import Dense, Point

DENSE = Dense(
    val_accuracy=0.98,
    test_accuracy=0.981,
    nonzeros=1000,
    macs=4000,
    parameters=1100,
    structure="10-10",
    latency_ms=2.0,
)


def make_point(index: int, accuracy: float, nonzeros: int, **changes) -> Point:
    values = {
        "trial": index,
        "uid": f"{index:03d}-abcdef",
        "index": 0,
        "params": {"decay": 1e-4},
        "threshold": 0.1,
        "raw_val_accuracy": 0.5,
        "val_accuracy": accuracy,
        "test_accuracy": accuracy - 0.001,
        "nonzeros": nonzeros,
        "macs": 4 * nonzeros,
        "physical_macs": 3 * nonzeros,
        "parameters": nonzeros + 10,
        "structure": "5-5",
        "exactness": 0.0,
        "latency_ms": {"dense": 2.0, "shrunk": 1.0},
        "layers": [],
    }
    return Point(**(values | changes))


def make_front(*points: Point, sparsity="nonzeros") -> Front:
    floors = {"D": 0.95, "A": 0.98, "B": 0.97}
    return Front.of(points, dense=DENSE, sparsity=sparsity, floors=floors)


def test_operating_points_take_the_smallest_network_that_keeps_the_floor():
    a, b, worse, d = (
        make_point(0, 0.981, 400),
        make_point(1, 0.972, 100),
        make_point(2, 0.971, 120),
        make_point(3, 0.955, 20),
    )
    front = make_front(a, b, worse, d)
    assert front.points == [a, b, d]
    assert front.operating_points == {"A": a, "B": b, "D": d}
    assert list(front.floors) == ["A", "B", "D"], "strictest first"
    assert front.compression(b) == 10


def test_a_network_of_which_nothing_is_left_is_smaller_than_any_number_says():
    front = make_front(empty := make_point(0, 0.1, 0), one := make_point(1, 0.2, 1))
    assert (front.times(one), front.times(empty)) == ("1000.0x", ">1000.0x")


def test_a_floor_nobody_keeps_is_none():
    front = make_front(make_point(0, 0.975, 50))
    assert front.operating_points["A"] is None
    assert front.operating_points["B"].trial == 0
    assert front.best(min_accuracy=0.99) is None


def test_test_accuracy_never_chooses():
    honest = make_point(0, 0.98, 50, test_accuracy=0.90)
    lucky = make_point(1, 0.97, 50, test_accuracy=0.99)
    assert make_front(lucky, honest).points == [honest]


@pytest.mark.parametrize(
    ("sparsity", "expected"),
    [
        ("nonzeros", 100),
        ("macs", 400),
        ("physical_macs", 300),
        ("parameters", 110),
        ("latency_ms", 1),
    ],
)
def test_size_of_every_objective(sparsity, expected):
    assert size(make_point(0, 0.98, 100), sparsity) == expected
    assert size(DENSE, sparsity) > expected


def test_hypervolume_counts_above_the_loosest_floor_only():
    assert make_front(make_point(0, 0.95, 10)).hypervolume == 0
    assert make_front(make_point(0, 0.96, 500)).hypervolume == pytest.approx(0.01)
    assert make_front().knee is None
