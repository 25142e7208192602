"""A `Link` as the kernels take it: its two ways, its trace, the packets it drops, the places in its queue."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.net import kernels
from splitimpera.records.link import Link

NS = 1e9
JITTERS = {"uniform": kernels.UNIFORM, "exponential": kernels.EXPONENTIAL, "normal": kernels.NORMAL}


class Ways(NamedTuple):
    """What the kernels know of a link; for one run, since they write into it."""

    ways: np.ndarray[Any, Any]
    steps: np.ndarray[Any, Any]
    drops: IntArray
    waiting: np.ndarray[Any, Any]


def nanoseconds(seconds: float | FloatArray) -> Any:
    return np.rint(np.asarray(seconds) * NS).astype(np.int64)[()]


def build_ways(link: Link, rng: np.random.Generator, origin: int = 0) -> Ways:
    """The uplink and the downlink, idle; `origin` is time 0, in ns."""
    ways = np.zeros(2, kernels.WAY)
    there, back = ways[0], ways[1]
    ways["queue_bytes"] = ways["queue_packets"] = -1
    ways["loss_kind"] = kernels.INDEPENDENT
    there["ns_per_byte"], back["ns_per_byte"] = (
        8 * NS / rate for rate in (link.rate_bps, link.downlink_rate_bps or link.rate_bps)
    )
    there["delay"] = nanoseconds(link.delay_s)
    back["delay"] = nanoseconds(link.delay_s if link.downlink_delay_s is None else link.downlink_delay_s)
    there["loss"], back["loss"] = link.loss, link.downlink_loss
    if link.loss_burst is not None and link.loss > 0:
        there["loss_kind"] = kernels.BURSTS
        there["to_good"] = 1 / link.loss_burst
        there["bad"] = rng.random() < link.loss
        there["to_bad"] = link.loss / (link.loss_burst * (1 - link.loss))
    if link.drops is not None:
        there["loss_kind"] = kernels.REPLAY
    there["jitter"] = link.jitter_s * NS
    there["jitter_kind"] = JITTERS[link.jitter]
    there["reorder"] = link.reorder
    waiting = 0
    if link.queue_bytes is not None:
        there["queue_bytes"] = link.queue_bytes
        waiting = link.queue_bytes // (link.link_header_bytes + 28) + 2
    if link.queue_packets is not None:
        there["queue_packets"] = link.queue_packets
        waiting = link.queue_packets + 2 if link.queue_bytes is None else min(waiting, link.queue_packets + 2)
    places = 1 << (waiting - 1).bit_length() if waiting else 0
    drops = np.unique(np.array(link.drops or (), dtype=np.int64))
    return Ways(ways, _trace(link, there, origin - _start(link, rng)), drops, np.zeros(places, kernels.WAITING))


def _start(link: Link, rng: np.random.Generator) -> int:
    """Nanoseconds of the trace that lie before time 0."""
    if link.trace is None:
        return 0
    period_s = link.trace.period_s
    if link.trace_start_s is not None:
        return int(nanoseconds(link.trace_start_s % period_s))
    # of a child, so that losses are the same wherever the trace starts
    return int(nanoseconds(rng.spawn(1)[0].random() * period_s))


def _trace(link: Link, there: Any, origin: int) -> np.ndarray[Any, Any]:
    trace = link.trace
    if trace is None:
        return np.zeros(0, kernels.STEP)
    steps = np.zeros(len(trace.time_s), kernels.STEP)
    steps["time"] = nanoseconds(np.array(trace.time_s))
    there["origin"] = origin
    there["period"] = nanoseconds(trace.period_s)
    there["trace"] = kernels.OPPORTUNITIES if trace.opportunity_bytes else kernels.STEPS
    there["opportunity_bytes"] = trace.opportunity_bytes
    there["opportunity_time"] = -1
    with np.errstate(divide="ignore"):
        steps["ns_per_byte"] = 8 * NS / np.array(trace.rate_bps) if trace.rate_bps else there["ns_per_byte"]
    steps["delay"] = nanoseconds(np.array(trace.delay_s)) if trace.delay_s else there["delay"]
    steps["loss"] = np.array(trace.loss) if trace.loss else there["loss"]
    if not trace.opportunity_bytes:
        ends = np.append(steps["time"][1:], there["period"])
        carried = np.cumsum((ends - steps["time"]) / steps["ns_per_byte"])
        steps["carried"][1:] = carried[:-1]
        there["lap_bytes"] = carried[-1]
    return steps


def least_round_trip_s(link: Link, there_bytes: int, back_bytes: int) -> float:
    """The shortest that a packet of so many bytes, link header included, and the one that answers it take."""
    trace = link.trace
    there_s = link.delay_s + 8 * there_bytes / link.rate_bps
    if trace is not None:
        rates_bps = np.array(trace.rate_bps or (np.inf if trace.opportunity_bytes else link.rate_bps))
        delays_s = np.array(trace.delay_s or link.delay_s)
        with np.errstate(divide="ignore"):
            there_s = float((delays_s + 8 * there_bytes / rates_bps).min())
    back_s = link.delay_s if link.downlink_delay_s is None else link.downlink_delay_s
    return there_s + back_s + 8 * back_bytes / (link.downlink_rate_bps or link.rate_bps)


def mean_rate_bps(link: Link) -> float:
    """What the uplink carries in the long run."""
    trace = link.trace
    if trace is None:
        return link.rate_bps
    if trace.opportunity_bytes:
        return len(trace.time_s) * trace.opportunity_bytes * 8 / trace.period_s
    if not trace.rate_bps:
        return link.rate_bps
    return float(np.diff([*trace.time_s, trace.period_s]) @ np.array(trace.rate_bps)) / trace.period_s
