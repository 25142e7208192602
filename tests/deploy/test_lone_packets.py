"""Single packets over a link that is first in, first out."""

from __future__ import annotations

from math import inf

import pytest

from splitimpera.deploy.lone_packets import LonePackets


def made():
    return LonePackets(1.0, lambda *_: False)


def test_without_a_ping_nothing_is_known():
    lone = made()
    assert lone.came(1000, 0.0, 0.05, 0.05) is None
    assert lone.way_quantile(0.5, 0.05) is None


def test_goodput_is_the_time_after_the_quickest_ping():
    lone = made()
    lone.pong(0, 0.0, 0.030)
    goodput, at_least = lone.came(1000, 1.0, 1.050, 1.050)
    assert (goodput, at_least) == (pytest.approx(8000 / 0.020), False)


def test_behind_another_frame_only_its_own_time_counts():
    lone = made()
    lone.pong(0, 0.0, 0.030)
    lone.through(1, 1.100)
    goodput, _ = lone.came(1000, 1.0, 1.120, 1.120)
    assert goodput == pytest.approx(8000 / 0.020)


def test_what_is_quick_or_small_is_a_bound():
    lone = made()
    lone.pong(0, 0.0, 0.030)
    assert lone.came(1000, 1.0, 1.031, 1.031)[1]
    assert lone.came(50, 1.0, 1.080, 1.080)[1]


def test_a_ping_behind_a_frame_waits_for_its_answer():
    lone = made()
    lone.pong(0, 0.0, 0.030)
    lone.pong(1, 1.0, 1.200)  # the frame at place 1 is in front
    assert lone.way_quantile(0.9, 1.2) == pytest.approx(0.030)
    lone.through(1, 1.195)
    assert lone.way_quantile(0.9, 1.2) == pytest.approx(0.035)


def test_where_the_frame_in_front_is_lost_the_next_one_lets_the_ping_count():
    lone = made()
    lone.pong(0, 0.0, 0.030)
    lone.pong(1, 1.0, 1.050)
    lone.through(2, 1.100)
    assert lone.way_quantile(0.9, 1.1) == pytest.approx(0.050)


def test_what_small_packets_wait_as_well_is_no_low_rate():
    lone = made()
    for step in range(10):
        lone.pong(0, step / 10, step / 10 + (0.030 if step < 5 else 0.060))
    found = lone.came(1000, 1.0, 1.070, 1.070)[0]
    assert lone.net(found, 0.1, 1.07) == pytest.approx(8000 / 0.010)
    assert lone.net(found, 0.9, 1.07) == pytest.approx(8000 / 0.040)
    assert lone.net(inf, 0.9, 1.07) == inf


def test_an_outage_tells_nothing():
    lone = LonePackets(1.0, lambda sent_s, _: sent_s == 1.0)
    lone.pong(0, 0.0, 0.030)
    lone.pong(0, 1.0, 3.030)
    assert lone.came(1000, 1.0, 3.0, 3.0) is None
    assert lone.way_quantile(0.9, 1.0) == pytest.approx(0.030)
