"""What is certain of the metrics of language models: by a bootstrap over replications and requests."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.evaluation.chance import Chance, Draws
from splitimpera.records.device import Device
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Plan
from splitimpera.records.requirement import METRICS, parse_requirement
from splitimpera.records.token_outcome import TokenOutcome

NAN = np.nan


def outcome(slower=1.0, seed=0, replications=5, requests=200):
    rng = np.random.default_rng(seed)
    tpot_s = 0.02 * slower * rng.lognormal(0, 0.2, (replications, requests))
    tpot_s[:, ::7] = NAN
    return TokenOutcome(
        ttft_s=0.1 * slower * rng.lognormal(0, 0.3, (replications, requests)),
        tpot_s=tpot_s,
        gaps_s=0.02 * slower * rng.lognormal(0, 0.5, (replications, 10 * requests)),
        tokens_per_s=rng.normal(40, 1, replications),
        energy_j=0.003,
    )


def evaluation(tokens):
    return Evaluation(Plan("p", (Device("phone"),)), NAN, (NAN, NAN), np.ones((5, 3)), tokens=tokens)


def test_metrics_are_those_of_requests_and_gaps():
    tokens = TokenOutcome(
        ttft_s=np.array([[0.1, 0.3]]),
        tpot_s=np.array([[0.02, NAN]]),
        gaps_s=np.array([[0.01, 0.02, 0.03, NAN]]),
        tokens_per_s=np.array([7.0]),
    )
    known = evaluation(tokens).metrics()
    assert {name: known[name] for name in ("ttft", "tpot", "tokens_per_s")} == {
        "ttft": 0.2,
        "tpot": 0.02,
        "tokens_per_s": 7.0,
    }
    assert known["ttft_p95"] == pytest.approx(0.29)
    assert known["tpot_p95"] == pytest.approx(0.029)
    assert "token_energy" not in known
    assert set(outcome().metrics()) <= set(METRICS)
    assert "ttft" not in evaluation(None).metrics()


def test_what_is_never_written_takes_infinitely_long():
    tokens = TokenOutcome(np.array([[0.1, np.inf]]), np.array([[0.1, np.inf]]), np.array([[np.inf, 1]]), np.ones(1))
    assert [tokens.metrics()[name] for name in ("ttft", "ttft_p95", "tpot", "tpot_p95")] == [np.inf] * 4


def test_intervals_hold_their_values():
    draws = Draws(evaluation(outcome()))
    found = draws.intervals()
    assert {"ttft", "ttft_p95", "tpot", "tpot_p95", "tokens_per_s"} <= set(found)
    for name, (low, high) in found.items():
        if not name.startswith("latency"):
            assert low < draws.values[name] < high
            assert high - low < 0.2 * draws.values[name]
    # replications and blocks within them are drawn, so that the variance of requests counts up to twice
    errors = (found["ttft"][1] - found["ttft"][0]) / (2 * 1.96 * outcome().ttft_s.std() / np.sqrt(1000))
    assert 0.8 < errors < 1.7


@pytest.mark.parametrize("metric", ["ttft_p95", "tpot_p95"])
def test_a_limit_is_judged_as_the_interval_says(metric):
    low, high = Draws(evaluation(outcome())).interval(metric)
    for limit, wanted in ((0.99 * low, (False, False)), (1.01 * high, (True, True)), ((low + high) / 2, (True, False))):
        met = Draws(evaluation(outcome())).ends_met(parse_requirement(f"{metric} <= {limit * 1e3:.6f} ms"))
        assert met == wanted


def test_a_tie_is_told_from_a_difference():
    one, same, slower = (evaluation(outcome(*how)) for how in ((1.0, 0), (1.0, 1), (1.3, 2)))
    chance = Chance([one, same, slower])
    for metric in ("ttft", "tpot", "tpot_p95"):
        assert chance.tied(metric, 0, 1)
        assert not chance.tied(metric, 0, 2)


def test_what_no_replication_changes_is_certain():
    steady = TokenOutcome(*(np.tile(values, (3, 1)) for values in ([0.1, 0.2], [0.01, NAN], [0.01, 0.02])), np.ones(3))
    assert Draws(evaluation(steady)).intervals()["ttft"] == pytest.approx((0.15, 0.15))
