"""Lengths and arrivals of requests to language models."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.core.errors import SimulationError
from splitimpera.records.token_workload import Lengths, TokenWorkload, draw_requests

COUNT = 20_000


def within_chance(values, mean, deviation):
    """Whether the mean of independent draws is within four standard errors."""
    return abs(np.mean(values) - mean) < 4 * deviation / len(values) ** 0.5


def test_fixed_lengths_are_rounded(rng):
    assert Lengths(31.6).drawn(rng, 3).tolist() == [32, 32, 32]


def test_geometric_lengths(rng):
    drawn = Lengths(20, "geometric").drawn(rng, COUNT)
    assert drawn.min() == 1
    assert within_chance(drawn, 20, (20 * 19) ** 0.5)
    rest = drawn[drawn > 10] - 10  # without memory: what is left is as long again
    assert within_chance(rest, 20, (20 * 19) ** 0.5)


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_lognormal_lengths(rng, sigma):
    drawn = Lengths(200, "lognormal", sigma).drawn(rng, COUNT)
    assert within_chance(drawn, 200, 200 * np.expm1(sigma**2) ** 0.5)
    logarithms = np.log(drawn)
    assert abs(logarithms.std() - sigma) < 4 * sigma / (2 * COUNT) ** 0.5 + 0.01


@pytest.mark.parametrize("shape", ["fixed", "geometric", "lognormal"])
def test_the_shortest_lengths_are_one(rng, shape):
    drawn = Lengths(1, shape).drawn(rng, 1000)
    assert drawn.min() == 1
    assert drawn.dtype == np.int64


def workload(**more):
    fields = {"prompt": Lengths(64, "lognormal"), "output": Lengths(32, "geometric"), "context": 256}
    return TokenWorkload(**fields | more)


@pytest.mark.parametrize("shape", ["fixed", "geometric", "lognormal"])
def test_prompt_and_output_never_go_beyond_the_context(rng, shape):
    asked = workload(prompt=Lengths(90, shape, 1.5), output=Lengths(90, shape, 1.5), context=100)
    requests = draw_requests(asked, 1.0, 5000, 1, rng)
    assert (requests.prompt + requests.output).max() == 100
    assert requests.prompt.max() <= 99
    assert min(requests.prompt.min(), requests.output.min()) >= 1


def test_regular_arrivals_of_several_users(rng):
    requests = draw_requests(workload(), 2.0, 3, 4, rng)
    assert requests.arrival_s == pytest.approx(np.arange(12) / 8)
    assert requests.user.tolist() == [0, 1, 2, 3] * 3


def test_poisson_arrivals(rng):
    requests = draw_requests(workload(arrivals="poisson"), 0.5, 5000, 4, rng)
    assert (np.diff(requests.arrival_s) >= 0).all()
    assert len(requests.arrival_s) == 20_000
    for user in range(4):
        own = requests.arrival_s[requests.user == user]
        gaps = np.diff(own, prepend=0.0)
        assert len(own) == 5000
        assert within_chance(gaps, 2.0, 2.0)
        assert abs(gaps.std() / gaps.mean() - 1) < 0.1


def test_lengths_of_requests_are_those_asked_for(rng):
    asked = workload(prompt=Lengths(16), output=Lengths(32, "geometric"), context=4096)
    requests = draw_requests(asked, 1.0, COUNT // 4, 4, rng)
    assert set(requests.prompt) == {16}
    assert within_chance(requests.output, 32, (32 * 31) ** 0.5)


def test_one_seed_one_list_of_requests():
    first, second = (draw_requests(workload(), 1.0, 50, 3, np.random.default_rng(7)) for _ in range(2))
    for name in ("arrival_s", "user", "prompt", "output"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize(("mean", "sigma"), [(0.5, 0.5), (float("nan"), 0.5), (1e9, 0.5), (10, 0), (10, 4)])
def test_lengths_that_are_none(mean, sigma):
    with pytest.raises(SimulationError, match="out of range"):
        Lengths(mean, "lognormal", sigma)


@pytest.mark.parametrize(
    ("name", "value"),
    [("context", 1), ("context", 1 << 21), ("together", 0), ("together", 2000), ("prompt", Lengths(256))],
)
def test_workloads_that_are_none(name, value):
    with pytest.raises(SimulationError, match=name):
        workload(**{name: value})
