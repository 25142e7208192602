"""Quantities as users and files write them, from one character to a megabyte."""

from __future__ import annotations

from harness import attack, refused_or_taken
from hypothesis import strategies as st

from splitimpera.core import units

DIMENSIONS = [value for value in vars(units).values() if isinstance(value, units.Dimension)]

pieces = st.sampled_from(["1", "0", ".", "-", "+", "e", "E9", "e-999", " ", "ms", "Mbit/s", "%", "x", "٣", "\0", "nan"])
texts = st.one_of(
    st.text(max_size=40),
    st.lists(pieces, max_size=12).map("".join),
    st.tuples(pieces, st.integers(1, 200_000), pieces).map(lambda parts: parts[0] + parts[0] * parts[1] + parts[2]),
)
values = st.one_of(texts, st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.integers()), st.binary())


def check(value: object, dimension: units.Dimension) -> None:
    found = refused_or_taken(lambda: units.parse(value, dimension))
    assert found is None or found == found  # no NaN


test_quantities, test_quantities_long = attack(check, values, st.sampled_from(DIMENSIONS))
