from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.core import units
from splitimpera.core.errors import UnitError


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("20 ms", units.TIME, 0.02),
        ("100us", units.TIME, 1e-4),
        ("1.5 s", units.TIME, 1.5),
        (0, units.TIME, 0.0),
        ("100 Mbit/s", units.BIT_RATE, 1e8),
        ("1 MB/s", units.BIT_RATE, 8e6),
        ("1 Gbps", units.BIT_RATE, 1e9),
        ("3 %", units.FRACTION, 0.03),
        (0.03, units.FRACTION, 0.03),
        ("20 fps", units.FREQUENCY, 20.0),
        (20, units.FREQUENCY, 20.0),
        ("100 kB", units.SIZE, 1e5),
        ("1 KiB", units.SIZE, 1024.0),
        ("1e3", units.SIZE, 1000.0),
    ],
)
def test_quantities(text, dimension, value):
    assert units.parse(text, dimension) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "dimension", "message"),
    [
        ("100 Mbit", units.BIT_RATE, "write '100 Mbit/s'"),
        ("100 mbit/s", units.BIT_RATE, "write '100 Mbit/s'"),
        ("5 parsec", units.TIME, "'5 parsec' is not a time; write one of s, ms"),
        ("5", units.TIME, "the unit is missing"),
        (5, units.TIME, "the unit is missing"),
        ("fast", units.BIT_RATE, "write for example '100 Mbit/s'"),
        (True, units.FRACTION, "True is not a fraction"),
        (None, units.TIME, "None is not a time"),
        ([1], units.TIME, "is not a time"),
        ("1e999 s", units.TIME, "too large"),
        ("nan", units.FRACTION, "is not a fraction"),
    ],
)
def test_what_is_no_quantity_says_what_to_write(text, dimension, message):
    with pytest.raises(UnitError) as caught:
        units.parse(text, dimension)
    assert message in str(caught.value)


LARGE = ["1" * 400_000, "1 " * 200_000, f"1e{'9' * 400_000}", 10**5000, -(10**400), "1e308 h"]


@pytest.mark.parametrize("value", LARGE, ids=["digits", "pairs", "exponent", "number", "negative", "product"])
def test_long_and_large_values_are_refused_at_once_and_not_quoted(value):
    begun_s = time.process_time()
    with pytest.raises(UnitError, match=r"is not a time|is too large for a time") as caught:
        units.parse(value, units.TIME)
    assert time.process_time() - begun_s < 0.5
    assert len(str(caught.value)) < 200


@given(st.floats(1e-9, 1e4))
def test_written_times_read_back(value):
    assert units.parse(units.format_time(value), units.TIME) == pytest.approx(value, rel=2e-3)


@given(st.floats(1, 1e12))
def test_written_rates_read_back(value):
    assert units.parse(units.format_rate(value), units.BIT_RATE) == pytest.approx(value, rel=2e-3)


def test_small_numbers_of_bytes_and_counts():
    assert units.format_bytes(64) == "64 B"
    assert units.format_bytes(0) == "0 B"
    assert units.format_count(15_300_000) == "15.3 M"
    assert units.format_count(7) == "7"
    assert units.format_fraction(0.0312) == "3.12 %"
