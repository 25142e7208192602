"""Where in its trace a replication starts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from splitimpera.cli.app import app
from splitimpera.core.errors import ScenarioError, SimulationError
from splitimpera.net.links import build_link
from splitimpera.net.replication import replicate
from splitimpera.records.link import Link, Trace
from splitimpera.records.traffic import Workload
from splitimpera.scenario import LinkSection

RIDE = Trace("ride", (0.0, 1.0, 3.0), 4.0, rate_bps=(1e6, 4e6, 2e6), delay_s=(0.01, 0.02, 0.05))
CELL = Trace("cell", (0.0, 0.003, 0.004, 0.02), 0.04, opportunity_bytes=1502)
FRAMES = Workload(10.0, 100, frame_bytes=10_000)
KINDS = pytest.mark.parametrize("trace", [RIDE, CELL], ids=["steps", "opportunities"])
TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp"])


def test_intervals_say_what_random_starts_do_and_never_fall_below_zero():
    still = Trace("still", (0.0, 30.0), 60.0, rate_bps=(1e7, 1e5))
    fixed, anywhere = (
        replicate(Link(trace=still, trace_start_s=start_s), FRAMES, "udp", 5).estimates[1] for start_s in (0.0, None)
    )
    assert fixed.low == fixed.value == fixed.high
    assert 0 <= anywhere.low < anywhere.value < anywhere.high


@KINDS
@TRANSPORTS
def test_each_replication_starts_elsewhere_and_the_same_seed_at_the_same_places(trace, transport):
    first, again = (replicate(Link(trace=trace), FRAMES, transport, 4, seed=3).latency_s for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len({run.tobytes() for run in first}) == 4


@TRANSPORTS
def test_a_fixed_start_makes_replications_agree(transport):
    runs = replicate(Link(trace=RIDE, trace_start_s=0.5), FRAMES, transport, 3).latency_s
    np.testing.assert_array_equal(runs[0], runs[1])


@pytest.mark.parametrize("start_s", [0.25, 1.0, 3.5])
@TRANSPORTS
def test_a_start_is_the_trace_turned_round(start_s, transport):
    """The trace from there on, and then what lies before."""
    edges = np.array([*RIDE.time_s, RIDE.period_s])
    turned = np.unique(np.append((edges[:-1] - start_s) % 4.0, 0.0))
    place = np.searchsorted(edges, (turned + start_s) % 4.0, side="right") - 1
    columns = {name: tuple(np.array(getattr(RIDE, name))[place]) for name in ("rate_bps", "delay_s")}
    other = Trace("turned", tuple(turned), 4.0, **columns)
    expected = replicate(Link(trace=other, trace_start_s=0.0), FRAMES, transport, 1).latency_s
    for lap in (0, 2):
        found = replicate(Link(trace=RIDE, trace_start_s=start_s + 4.0 * lap), FRAMES, transport, 1).latency_s
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_starts_are_spread_over_the_trace():
    """The delay of a single datagram tells the step in which it was sent: 1, 2 and 1 s of 4."""
    one = Workload(1.0, 1, frame_bytes=100)
    runs = replicate(Link(trace=replace(RIDE, rate_bps=(1e9,) * 3)), one, "udp", 2000).latency_s[:, 0]
    _, counts = np.unique(np.round(runs, 3), return_counts=True)
    expected = np.array([500, 1000, 500])
    assert ((counts - expected) ** 2 / expected).sum() < 13.8  # chi-squared, 2 degrees of freedom, 0.1 %


def test_losses_do_not_depend_on_where_a_trace_starts():
    link = Link(rate_bps=1e9, loss=0.2, trace=Trace("late", (0.0, 1.0), 2.0, delay_s=(0.01, 0.02)))
    lost = [
        [run.lost_packets.tolist() for run in replicate(each, FRAMES, "udp", 2).deliveries]
        for each in (link, replace(link, trace_start_s=0.0))
    ]
    assert lost[0] == lost[1]


def test_a_start_needs_a_trace_and_bounds(tmp_path):
    (tmp_path / "ride.csv").write_text("time_s,rate_bps\n0,1e6\n1,2e6\n")
    section = LinkSection(trace="ride.csv", delay="1 ms", trace_start="250 ms")
    assert build_link(section, tmp_path).trace_start_s == 0.25
    section = LinkSection(rate="1 Mbit/s", delay="1 ms", trace_start="0 s")
    with pytest.raises(ScenarioError, match=r"^links\[0\].trace_start: there is no trace to start; add 'trace'$"):
        build_link(section, tmp_path)
    with pytest.raises(SimulationError, match="trace_start_s"):
        Link(trace=RIDE, trace_start_s=-1.0)
    called = CliRunner().invoke(app, "simulate --bytes 100 --fps 1 --rate 1Mbit/s --trace-start 0s".split())
    assert str(called.exception).startswith("--trace-start: there is no trace to start")
