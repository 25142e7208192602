"""Seconds between and beyond the counts of tokens that were timed."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.core.errors import SimulationError
from splitimpera.records.token_times import TokenTimes

TIMES = TokenTimes(
    prefill=((1, 0.002), (11, 0.012), (21, 0.052)),
    decode=((0, 0.001), (100, 0.002)),
    how="measured",
    together=((1, 1.0), (2, 1.2), (4, 1.8)),
    spread=(0.9, 1.0, 1.3),
)


@pytest.mark.parametrize(
    ("tokens", "seconds"), [(0, 0.002), (1, 0.002), (6, 0.007), (11, 0.012), (16, 0.032), (21, 0.052), (31, 0.092)]
)
def test_prompts(tokens, seconds):
    assert TIMES.prefill_s(tokens) == pytest.approx(seconds)


@pytest.mark.parametrize(("past", "seconds"), [(0, 0.001), (25, 0.00125), (100, 0.002), (300, 0.004)])
def test_tokens(past, seconds):
    assert TIMES.decode_s(past) == pytest.approx(seconds)


@pytest.mark.parametrize(("users", "ratio"), [(1, 1.0), (2, 1.2), (3, 1.5), (4, 1.8), (6, 2.4)])
def test_tokens_of_several_users(users, ratio):
    assert TIMES.decode_s(50, users) == pytest.approx(0.0015 * ratio)


def test_arrays_keep_their_shape():
    assert TIMES.prefill_s(np.array([[1, 11], [21, 31]])) == pytest.approx(np.array([[0.002, 0.012], [0.052, 0.092]]))
    assert TIMES.decode_s(np.array([0, 100]), np.array([[1], [4]])).shape == (2, 2)


def test_one_point_holds_everywhere():
    times = TokenTimes(((8, 0.5),), ((0, 0.25),), "estimated")
    assert times.prefill_s([1, 8, 100]).tolist() == [0.5] * 3
    assert times.decode_s(7, 5) == 0.25


def test_what_falls_at_the_end_is_not_continued_downwards():
    times = TokenTimes(((1, 0.3), (2, 0.1)), ((0, 0.1),), "measured")
    assert times.prefill_s(100) == pytest.approx(0.1)


def test_a_slower_device():
    slow = TIMES.scaled(4.0)
    assert slow.prefill_s(6) == pytest.approx(0.028)
    assert slow.decode_s(25, 2) == pytest.approx(0.005 * 1.2)
    assert (slow.how, slow.together, slow.spread) == ("scaled", TIMES.together, TIMES.spread)
    assert TIMES.scaled(1) is TIMES
    assert TokenTimes(((1, 0.1),), ((0, 0.1),), "estimated").scaled(2.0).how == "estimated"


@pytest.mark.parametrize(
    ("name", "points", "words"),
    [
        ("prefill", ((2, 0.1), (2, 0.2)), "counts in ascending order"),
        ("prefill", ((-1, 0.1),), "counts in ascending order"),
        ("decode", ((0, -0.1),), "finite and not below 0"),
        ("decode", ((0, float("nan")),), "finite and not below 0"),
        ("prefill", ((1, float("inf")),), "finite and not below 0"),
        ("together", ((2, 1.0),), "first"),
        ("together", ((1, 1.5),), "first"),
    ],
)
def test_points_that_are_none(name, points, words):
    fields = {"prefill": ((1, 0.1),), "decode": ((0, 0.1),)} | {name: points}
    with pytest.raises(SimulationError, match=f"{name}: .*{words}"):
        TokenTimes(how="measured", **fields)
