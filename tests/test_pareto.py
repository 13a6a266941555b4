"""Fronts against brute force, hypervolume against a grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoyer_search import pareto

points = st.lists(
    st.tuples(st.integers(0, 6).map(lambda a: a / 6), st.integers(1, 8)), min_size=0, max_size=12
)


def dominated(a, s, i):
    return any(
        (a[j] >= a[i] and s[j] <= s[i] and (a[j] > a[i] or s[j] < s[i]))
        or (a[j] == a[i] and s[j] == s[i] and j < i)
        for j in range(len(a))
        if j != i
    )


@given(points)
def test_front_equals_brute_force(values):
    a = [v[0] for v in values]
    s = [v[1] for v in values]
    expected = [not dominated(a, s, i) for i in range(len(a))]
    assert pareto.non_dominated(a, s).tolist() == expected


def test_nan_is_never_on_the_front():
    nan = float("nan")
    assert pareto.non_dominated([0.5, nan, 0.9], [3, 1, nan]).tolist() == [True, False, False]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="alike"):
        pareto.non_dominated([0.1, 0.2], [1])


@given(points)
def test_hypervolume_equals_a_counted_grid(values):
    a = np.array([v[0] for v in values])
    c = np.array([v[1] for v in values], dtype=float)
    # Cells of width 1/6 and height 1, counted by their middles.
    middles_a = (np.arange(1, 6) + 0.5) / 6
    middles_c = np.arange(8) + 0.5
    cells = sum(bool(((a > x) & (c > y)).any()) for x in middles_a for y in middles_c)
    area = pareto.hypervolume(a, c, floor=1 / 6)
    assert area == pytest.approx(cells / 6)


@given(points, st.tuples(st.integers(0, 6).map(lambda a: a / 6), st.integers(1, 8)))
def test_a_further_point_never_lowers_hypervolume(values, extra):
    def area(v):
        return pareto.hypervolume([x[0] for x in v], [x[1] for x in v], floor=0.1)

    assert area([*values, extra]) >= area(values) - 1e-12


def test_knee_is_the_point_farthest_from_the_chord():
    assert pareto.knee([0.99, 0.985, 0.97, 0.90], [1.0, 4.0, 4.5, 5.0]) == 1
    assert pareto.knee([0.9], [3.0]) == 0
    with pytest.raises(ValueError, match="no knee"):
        pareto.knee([], [])
