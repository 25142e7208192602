"""Turns over connections that are given up, and over some that once were for no reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from splitimpera.net import kernels
from splitimpera.net.tcp import LINUX_CUBIC
from splitimpera.net.turns import Turns, take_turns
from splitimpera.records.link import Link

SEED = 2549


def requests_of(users, requests, rng):
    """Prompts of some 64 tokens and answers of some 24, as a language model's users send them."""
    rows = []
    for user in range(users):
        arrivals_s = np.cumsum(rng.exponential(25.0, requests))
        for arrival_s in arrivals_s:
            tokens = min(rng.geometric(1 / 24), 100)
            prompt = int(np.clip(rng.lognormal(np.log(64) - 0.125, 0.5), 1, 150))
            rows.append((user, arrival_s, 0.002 * prompt, prompt * 128 + 24))
            rows += [(user, np.nan, 0.03, 152)] * (tokens - 1)
    user, arrival_s, device_s, up_bytes = (np.array(column) for column in zip(*rows, strict=True))
    same = np.zeros(len(user))
    return Turns(user, arrival_s, device_s, up_bytes, same + 0.01, same + 1, same, np.full(len(user), 36))


def test_no_connection_is_given_up_at_half_a_percent_of_loss():
    """A timeout met a packet that an undo had left as retransmitted; counted twice, it never counted as arrived."""
    link = Link(rate_bps=1e5, delay_s=0.02, loss=0.005)
    turns = requests_of(4, 100, np.random.default_rng(SEED))
    times = take_turns(link, np.random.default_rng(SEED), turns, (1.0, 1.2, 1.4, 1.6))
    assert np.isfinite(times.back_s).all()


def test_what_comes_to_a_connection_that_was_given_up_is_not_waited_for(monkeypatch):
    """Each connection that lives on is served to its end, though others leave packets under way when they die."""
    worlds = []
    run_tcp = kernels.run_tcp

    def kept(world, *rest):
        worlds.append(world)
        run_tcp(world, *rest)

    monkeypatch.setattr(kernels, "run_tcp", kept)
    users, each = 6, 20
    user, zeros = np.repeat(np.arange(users), each), np.zeros(users * each)
    arrival_s = np.tile([0.0, *[np.nan] * (each - 1)], users)
    sizes = np.full(users * each, 3000)
    turns = Turns(user, arrival_s, zeros + 0.01, sizes, zeros + 0.02, zeros + 1, zeros, sizes)
    link = Link(rate_bps=1e6, delay_s=0.2, jitter_s=3.0, downlink_loss=0.05)
    given_up = 0
    for seed in range(20):
        times = take_turns(link, np.random.default_rng(seed), turns, parameters=replace(LINUX_CUBIC, retries=0))
        dead = worlds.pop().socks["dead"].reshape(users, 2).any(1)
        served = np.isfinite(times.back_s).reshape(users, each).all(1)
        assert (served | dead).all()
        given_up += dead.sum()
    assert 0 < given_up < 20 * users
