"""The order of plans, step by step, on values and ties that are given outright."""

from __future__ import annotations

from splitimpera.qos.ordering import Criterion, order


def criterion(values, *ties, **more):
    pairs = {frozenset(pair) for pair in ties}
    return Criterion(values, lambda one, other: frozenset((one, other)) in pairs, **more)


def ordered(*criteria, certain=True, last=None):
    count = len(criteria[0].values)
    return order(criteria, [certain] * count, last or [(place,) for place in range(count)])


def test_whoever_ties_with_any_of_the_best_takes_their_margin():
    """0 and 1 have the best margin alike, 2 ties with 1 alone: then its other margin, the larger one, decides."""
    other = criterion([2.5, 2.5, 2.6])
    assert ordered(criterion([3.0, 3.0, 2.0], (1, 2)), other)[0] == 2
    assert ordered(criterion([3.0, 3.0, 2.0]), other)[0] == 0


def test_what_is_preferred_goes_before_the_objective():
    preferred = criterion([-0.1, 0.1], weight=1.0)
    objective = criterion([9.0, 1.0], objective=True)
    assert ordered(preferred, objective) == [1, 0]
    assert ordered(criterion([0.05, 0.1], weight=1.0), objective) == [0, 1]  # no penalty for either


def test_the_rest_is_put_in_order_as_if_the_first_had_never_been():
    """2 ties with 1, but not with 0, which is best: behind 0 the two are alike, and 2 is the simpler one."""
    values = criterion([3.0, 2.0, 1.9], (1, 2))
    assert ordered(values, last=[(0,), (2,), (1,)]) == [0, 2, 1]
    assert ordered(criterion([3.0, 2.0, 1.9]), last=[(0,), (2,), (1,)]) == [0, 1, 2]
