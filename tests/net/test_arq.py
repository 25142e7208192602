"""Acknowledged UDP: what is lost comes again while there is time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import splitimpera as sei
from splitimpera.core.errors import SimulationError
from splitimpera.records.link import Link, Trace
from splitimpera.records.traffic import Workload

INSTANT = Link(rate_bps=8e15, delay_s=0.01)
ONE = 1472


def send(link, packets, deadline_s=0.5, frames=1, seed=0, **options):
    workload = Workload(1.0, frames, deadline_s, packets * ONE, **options)
    return sei.simulate(link, workload, "udp-arq", np.random.default_rng(seed))


@pytest.mark.slow
def test_without_loss_it_is_udp():
    link, workload = Link(rate_bps=1e7, delay_s=0.01), Workload(10.0, 50, frame_bytes=9000)
    plain, repeating = (sei.simulate(link, workload, name, np.random.default_rng(0)) for name in ("udp", "udp-arq"))
    np.testing.assert_array_equal(plain.complete_s, repeating.complete_s)
    assert not repeating.retransmissions.any()


@pytest.mark.slow
def test_a_lost_datagram_is_sent_again_when_a_later_one_is_acknowledged():
    sent = send(replace(INSTANT, drops=(1,)), 3)
    # the third arrives after 10 ms, its acknowledgement after 20 ms, the repetition after 30 ms
    assert sent.complete_s[0] == pytest.approx(0.03, abs=1e-8)
    assert (sent.packets[0], sent.lost_packets[0], sent.retransmissions[0]) == (4, 1, 1)
    assert sent.erased[0] == ()


def test_acknowledgements_have_the_application_header_too():
    slow_back = replace(INSTANT, drops=(1,), downlink_rate_bps=8e5)
    workload = Workload(1.0, 1, 0.5, 3000)
    done = [
        sei.simulate(replace(slow_back, app_header_bytes=header), workload, "udp-arq", np.random.default_rng(0))
        for header in (0, 20)
    ]
    # the acknowledgements of the first and the third datagram queue for the downlink
    assert done[1].complete_s[0] - done[0].complete_s[0] == pytest.approx(20 * 8 / 8e5, rel=0.01)


def test_a_lost_tail_is_sent_again_after_three_halves_of_the_round_trip():
    sent = send(replace(INSTANT, drops=(2,)), 3)
    assert sent.complete_s[0] == pytest.approx(0.03 + 0.01, abs=1e-8)


def test_a_repetition_may_be_lost_and_is_repeated():
    sent = send(replace(INSTANT, drops=(2, 3)), 3)
    assert sent.complete_s[0] == pytest.approx(2 * 0.03 + 0.01, abs=1e-8)
    assert sent.retransmissions[0] == 2


def test_what_could_not_come_in_time_is_not_sent_again():
    sent = send(replace(INSTANT, drops=(1,)), 3, deadline_s=0.025)
    assert sent.complete_s[0] == pytest.approx(0.025)
    assert sent.erased[0] == ((ONE, 2 * ONE),)
    assert sent.retransmissions[0] == 0
    assert sent.arrived[0]


def test_frames_of_which_nothing_comes_have_not_arrived():
    sent = send(replace(INSTANT, drops=tuple(range(100))), 2, deadline_s=0.1)
    assert not sent.arrived[0]
    assert sent.complete_s[0] == pytest.approx(0.1)


@pytest.mark.parametrize("downlink_loss", [0.0, 0.3])
def test_with_time_enough_everything_comes(downlink_loss):
    link = Link(rate_bps=1e8, delay_s=0.002, loss=0.3, downlink_loss=downlink_loss)
    sent = send(link, 10, deadline_s=0.9, frames=300)
    assert sent.arrived.all()
    assert not any(sent.erased)
    assert (sent.retransmissions >= sent.lost_packets).all()
    if not downlink_loss:
        np.testing.assert_array_equal(sent.retransmissions, sent.lost_packets)


def test_it_lies_between_udp_and_tcp():
    link, workload = Link(rate_bps=1e7, delay_s=0.01, loss=0.05), Workload(10.0, 400, 0.06, 10_000)
    runs = {name: sei.simulate(link, workload, name, np.random.default_rng(1)) for name in ("udp", "udp-arq", "tcp")}
    gaps = {name: sum(bool(erased) for erased in run.erased) for name, run in runs.items()}
    assert gaps["tcp"] == 0 < gaps["udp-arq"] < gaps["udp"] / 4
    latest = {name: (run.complete_s - workload.due_s()).max() for name, run in runs.items()}
    # the receiver counts the time left from the first datagram, which may be the third that was sent
    assert latest["udp-arq"] <= 0.06 + 3 * 1502 * 8 / 1e7 < latest["tcp"]


def test_the_same_seed_gives_the_same_deliveries():
    link = Link(rate_bps=1e6, delay_s=0.01, loss=0.2, loss_burst=3.0)
    first, second = (send(link, 5, frames=50, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.complete_s, second.complete_s)
    assert first.erased == second.erased


@pytest.mark.parametrize(
    ("field", "options"), [("reorder", {"reorder": True}), ("trace", {"trace": Trace("t", (0.0,), 1.0)})]
)
def test_links_that_it_does_not_know_are_refused(field, options):
    with pytest.raises(SimulationError, match=field):
        send(Link(**options), 1)
    with pytest.raises(SimulationError, match="response_bytes"):
        send(Link(), 1, response_bytes=10)
