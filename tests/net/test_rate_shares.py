"""How often recordings have which rate."""

from __future__ import annotations

import numpy as np
import pytest

from splitimpera.core.errors import SimulationError
from splitimpera.net.rate_shares import rate_shares, windows_bps
from splitimpera.net.traces import load_trace
from splitimpera.records.link import Trace

PACKET_BITS = 1504 * 8


def schedule(tmp_path, packets):
    """A recording in which each second has so many opportunities, evenly spaced."""
    lines = [1000 * second + place * 1000 // count for second, count in enumerate(packets) for place in range(count)]
    path = tmp_path / "phone.up"
    path.write_text("\n".join(map(str, [*lines, 1000 * len(packets)])))
    return load_trace(path)


def test_windows_count_opportunities(tmp_path):
    found = windows_bps(schedule(tmp_path, [10, 0, 50, 3]))
    # the last opportunity stands at the end, where the recording begins again
    assert found == pytest.approx(np.array([10, 0, 50, 4]) * PACKET_BITS)


def test_windows_of_steps_are_means():
    trace = Trace("steps", (0.0, 0.5, 2.25), 3.7, rate_bps=(1e6, 3e6, 0.0))
    assert windows_bps(trace) == pytest.approx([2e6, 3e6, 0.75e6])  # the last 0.7 s are no whole window
    assert windows_bps(Trace("short", (0.0, 0.2), 0.4, rate_bps=(1e6, 3e6))) == pytest.approx([2e6])


def test_windows_fall_into_the_cells_of_rates(tmp_path):
    packets = [1, 10, 10, 30, 100, 0, 0, 100]
    found = rate_shares([schedule(tmp_path, packets)], [10 * PACKET_BITS, 40 * PACKET_BITS, 100 * PACKET_BITS])
    # one below the grid, the last window has 101; 30 packets lie beyond the border at 20
    assert found.shares == pytest.approx(np.array([3, 1, 2]) / 6)
    assert found.outage == pytest.approx(2 / 8)
    assert found.outside == pytest.approx(2 / 6)
    assert found.windows == 8


def test_several_recordings_count_by_their_windows():
    one, other = (
        Trace(name, (0.0,), length, rate_bps=(rate,)) for name, length, rate in [("a", 1, 1e6), ("b", 3, 4e6)]
    )
    assert rate_shares([one, other], [1e6, 4e6]).shares == pytest.approx([0.25, 0.75])


def test_recordings_that_say_nothing_of_the_grid_are_refused():
    trace = Trace("phone", (0.0,), 2.0, rate_bps=(1e6,))
    with pytest.raises(
        SimulationError, match=r"phone: rates of 5 Mbit/s to 50 Mbit/s are looked at, the trace has 1 M"
    ):
        rate_shares([trace], [5e6, 5e7])
    with pytest.raises(SimulationError, match="says nothing of rates"):
        rate_shares([Trace("lossy", (0.0,), 2.0, loss=(0.1,))], [5e6, 5e7])
    with pytest.raises(SimulationError, match="the grid has no rates"):
        rate_shares([trace], [])
