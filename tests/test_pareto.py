"""The Pareto front against its definition, tried on every pair of points."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.errors import UsageError
from lsr.pareto import cheapest_within, front

# Few distinct numbers, so that ties in cost, in value and in both are common.
POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25)


def dominates(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[0] and one[1] >= other[1] and one != other


@given(POINTS)
def test_the_front_is_what_nothing_dominates_each_pair_once(points: list[tuple[int, int]]) -> None:
    wanted = {p for p in points if not any(dominates(q, p) for q in points)}
    got = front([c for c, _ in points], [v for _, v in points])
    assert {points[i] for i in got} == wanted
    assert [points[i] for i in got] == sorted(wanted)
    assert all(points.index(points[i]) == i for i in got)


@given(POINTS, st.sampled_from([0.0, 0.01, 0.2, 0.5]))
def test_the_cheapest_within_a_share_of_the_best(points: list[tuple[int, int]], share: float):
    got = cheapest_within([c for c, _ in points], [v for _, v in points], share=share)
    best = max((v for _, v in points), default=0)
    if not best:
        assert got is None
        return
    good = [p for p in points if p[1] >= (1 - share) * best]
    assert got is not None
    assert points[got] == min(good, key=lambda p: (p[0], -p[1]))


def test_points_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(UsageError, match="2 costs for 1 values"):
        front([1.0, 2.0], [1.0])
    with pytest.raises(UsageError, match="not a finite number"):
        front([math.nan], [1.0])
    with pytest.raises(UsageError, match="wanted at least 0 and below 1"):
        cheapest_within([1.0], [1.0], share=1.0)
