"""How often a link has which rate, by recordings of such links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.errors import SimulationError, listed
from splitimpera.core.units import format_rate
from splitimpera.records.link import Trace
from splitimpera.records.policy import borders_of

WINDOW_S = 1.0


@dataclass(frozen=True)
class RateShares:
    """The shares of a recording's windows.

    Attributes:
        shares: In the cell of each rate, shape (rates,); they add up to 1. Windows beyond the grid count in the cell at
            its end, those in which nothing could be sent in none.
        outside: Of the windows that count, those beyond the grid.
        outage: Of all windows, those in which nothing could be sent.
        windows: How many there are.
    """

    shares: FloatArray
    outside: float
    outage: float
    windows: int


def windows_bps(trace: Trace, window_s: float = WINDOW_S) -> FloatArray:
    """The mean rate in each whole window of a trace, bit/s; of a shorter trace its own mean.

    Raises:
        SimulationError: the trace says nothing of rates.

    Example:
        >>> windows_bps(Trace("steps", (0.0, 1.5), 3.0, rate_bps=(1e6, 3e6)))
        array([1000000., 2000000., 3000000.])
    """
    count = max(1, int(trace.period_s / window_s + 1e-9))
    edges = np.arange(count + 1) * min(window_s, trace.period_s)
    if trace.opportunity_bytes:
        sent, _ = np.histogram(np.array(trace.time_s), [*edges[:-1], edges[-1] + 1e-9])
        rates: FloatArray = 8.0 * trace.opportunity_bytes * sent / edges[1]
        return rates
    if not trace.rate_bps:
        raise SimulationError("it says nothing of rates", where=trace.name, hint="add a column 'rate_bps'")
    times = np.array([*trace.time_s, trace.period_s])
    bits = np.concatenate([[0.0], np.cumsum(np.diff(times) * np.array(trace.rate_bps))])
    means: FloatArray = np.diff(np.interp(edges, times, bits)) / edges[1]
    return means


def rate_shares(traces: Sequence[Trace], rates_bps: Sequence[float]) -> RateShares:
    """The share of the one-second windows of some traces in the cell of each rate.

    Args:
        rates_bps: Of the grid, ascending; a cell ends half way to the next, by factors.

    Raises:
        SimulationError: a trace says nothing of rates, or none of its windows lies within the grid.
    """
    if not rates_bps:
        raise SimulationError("the grid has no rates to weigh by traces", where="--over", hint="add 'rate=from..to'")
    found = np.concatenate([windows_bps(trace) for trace in traces])
    sending = found[found > 0]
    inside = (sending >= rates_bps[0] * (1 - 1e-9)) & (sending <= rates_bps[-1] * (1 + 1e-9))
    if not inside.any():
        seen = f"{format_rate(found.min())} to {format_rate(found.max())}"
        wanted = f"{format_rate(rates_bps[0])} to {format_rate(rates_bps[-1])}"
        names = listed(trace.name for trace in traces)
        raise SimulationError(f"rates of {wanted} are looked at, the trace has {seen}", where=names)
    cells = np.searchsorted(borders_of(rates_bps), sending, side="right")
    shares = np.bincount(cells, minlength=len(rates_bps)) / len(sending)
    return RateShares(shares, float(1 - inside.mean()), float((found == 0).mean()), len(found))
