"""Times of prompts and tokens on this machine: what is timed, not how fast it is."""

from __future__ import annotations

import pytest
import torch
from small_decoders import BLOCKS, small

from splitimpera.core.errors import ModelError
from splitimpera.cost import token_timer
from splitimpera.cost.token_timer import time_tokens
from splitimpera.language.block_runs import BlockRun, runs_between
from splitimpera.language.decoder import decoder_of


@pytest.fixture(scope="module")
def decoder():
    return decoder_of(small("own"))


@pytest.fixture
def shapes(monkeypatch):
    """What is called: (tokens, past, users, threads)."""
    called = []
    forward = BlockRun.forward

    def seen(self, x, positions, keys, values):
        assert len(positions) == x.shape[1]
        assert int(positions[0]) == keys.shape[3]
        called.append((x.shape[1], keys.shape[3], x.shape[0], torch.get_num_threads()))
        return forward(self, x, positions, keys, values)

    monkeypatch.setattr(BlockRun, "forward", seen)
    monkeypatch.setattr(token_timer, "MOST", 7)
    return called


def test_what_is_timed(decoder, shapes):
    times = time_tokens(BlockRun(decoder, 0, 2), window=16, context=40, together=5)
    assert [count for count, _ in times.prefill] == [1, 4, 8, 16, 40]
    assert [count for count, _ in times.decode] == [0, 20, 39]
    assert [count for count, _ in times.together] == [1, 2, 4, 5]
    expected = [(tokens, 0, 1, 1) for tokens in (1, 4, 8, 16, 40)]
    expected += [(1, past, 1, 1) for past in (0, 20, 39)] + [(1, 20, users, 1) for users in (2, 4, 5)]
    assert set(shapes) == set(expected)
    assert min(shapes.count(each) for each in expected) >= 7
    assert times.how == "measured"
    assert len(times.spread) == 7
    assert sorted(times.spread)[3] == 1.0


def test_every_run_can_be_timed(decoder, shapes):
    for run in (*runs_between(decoder, 1, 2), BlockRun(decoder, BLOCKS, BLOCKS), BlockRun(decoder, 0, 3, head=False)):
        times = time_tokens(run, window=4, context=8, budget_s=0.0)
        assert all(seconds > 0 for _, seconds in times.prefill + times.decode)
        assert times.together == ((1, 1.0),)


def test_a_window_as_long_as_the_context_is_timed_once(decoder, shapes):
    assert [count for count, _ in time_tokens(BlockRun(decoder, 0, 1), window=2, context=2).prefill] == [1, 2]
    assert [count for count, _ in time_tokens(BlockRun(decoder, 0, 1), window=64, context=16).prefill] == [1, 16]


def test_threads_are_as_before(decoder, shapes):
    before = torch.get_num_threads()
    time_tokens(BlockRun(decoder, 0, 1), window=2, context=4, budget_s=0.0)
    assert torch.get_num_threads() == before


def test_a_context_that_the_network_does_not_have(decoder):
    with pytest.raises(ModelError, match="context: a context of 65 tokens is longer than the network's, 64"):
        time_tokens(BlockRun(decoder, 0, 1), window=16, context=65)


@pytest.mark.slow
@pytest.mark.alone
def test_a_long_prompt_takes_longer_and_a_half_about_half():
    decoder = decoder_of(small("own", width=192, heads=6, context=512))
    whole, half = (time_tokens(BlockRun(decoder, 0, stop, head=False), 256, 512) for stop in (2, 1))
    assert whole.prefill_s(512) > 1.5 * whole.prefill_s(128)
    assert 1.5 < whole.prefill_s(512) / half.prefill_s(512) < 2.7
    assert 1.2 < whole.decode_s(256) / half.decode_s(256) < 2.7
