"""Whose weights layers have: those of the last bottleneck that frames have passed."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from splitimpera.records.spans import NETWORK, Span, origins, spans_between

LAST = 9
PLACES = st.lists(st.tuples(st.integers(0, LAST), st.sampled_from([0.0, 4.0])), max_size=5).map(
    lambda places: sorted((cut, ratio if 0 < cut < LAST else 0.0) for cut, ratio in places)
)


@given(PLACES)
def test_layers_are_those_of_the_tail_of_the_last_bottleneck(places):
    spans = spans_between(places, LAST)
    assert len(spans) == len(places) + 1
    assert [(span.end, span.leaving) for span in spans] == [*places, (LAST, 0.0)]
    for place, span in enumerate(spans):
        passed = [each for each in places[:place] if each[1]]
        assert span.weights == (passed[-1] if passed else NETWORK)
        assert not (span.arriving and span.behind[1])
    for one, other in pairwise(spans):
        assert (one.end, one.leaving) == (other.start, other.arriving)


@given(PLACES)
def test_what_crosses_was_made_by_the_last_device_that_computed(places):
    spans, found = spans_between(places, LAST), origins(places)
    for place, span in enumerate(spans[:-1]):
        if not span.empty:
            assert found[place] == span.weights
        elif place:
            assert found[place] == found[place - 1]


def test_a_plan_without_bottlenecks_runs_the_network():
    assert spans_between([(2, 0.0), (5, 0.0)], LAST) == [Span(0, 2), Span(2, 5), Span(5, LAST)]
    assert spans_between([], LAST) == [Span(0, LAST)]
    assert spans_between([(2, 8.0)], LAST) == [Span(0, 2, 0.0, 8.0), Span(2, LAST, 8.0)]
