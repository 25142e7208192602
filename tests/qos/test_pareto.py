from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from splitimpera.qos.pareto import pareto_front


def test_a_front_by_hand():
    """(2, 2) beats (1, 2) and (2, 1); (3, 0) is best in the first place, (0, 3) in the second."""
    assert pareto_front([(2, 2), (1, 2), (3, 0), (2, 1), (0, 3)]) == [True, False, True, False, True]


def test_equal_vectors_do_not_dominate_one_another():
    assert pareto_front([(1, 1), (1, 1), (0, 1)]) == [True, True, False]


def test_infinite_entries_compare_as_they_should():
    assert pareto_front([(1, -math.inf), (1, 0), (2, -math.inf)]) == [False, True, True]


def test_nothing_and_one():
    assert pareto_front([]) == []
    assert pareto_front([(-math.inf,)]) == [True]


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=15))
def test_each_vector_outside_the_front_is_dominated_by_one_inside(vectors):
    inside = [vector for vector, best in zip(vectors, pareto_front(vectors), strict=True) if best]
    for vector in vectors:
        beaten = any(all(a >= b for a, b in zip(other, vector, strict=True)) and other != vector for other in inside)
        assert beaten == (vector not in inside)
