"""A network link and how it changes with time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from splitimpera.core.bounds import BOUNDS, SHORTEST_STEP_S, Bound
from splitimpera.records.checks import all_bounded, bounded, require

LARGEST_RECORD_BYTES = 1 << 14
"""Of data in one record of TLS (RFC 8446, 5.1) or DTLS (RFC 6347, 4.1)."""


@dataclass(frozen=True)
class Trace:
    """How a link changes with time; after `period_s` it starts again.

    Either steps: from `time_s[i]` on, the link has `rate_bps[i]`, `delay_s[i]` and `loss[i]`; an empty tuple leaves the
    link's own value. Or delivery opportunities: at each `time_s[i]` up to `opportunity_bytes` may leave, and what no
    packet uses is gone.

    Attributes:
        time_s: ascending, from 0 on, before `period_s`; steps begin at 0.
        opportunity_bytes: 0 for steps.
    """

    name: str
    time_s: tuple[float, ...]
    period_s: float
    rate_bps: tuple[float, ...] = ()
    delay_s: tuple[float, ...] = ()
    loss: tuple[float, ...] = ()
    opportunity_bytes: int = 0

    def __post_init__(self) -> None:
        bounded(self, "period_s", "opportunity_bytes")
        times = all_bounded(self.time_s, "time_s", BOUNDS["time_s"])
        require(len(times) > 0, "time_s", "an empty trace", "at least one entry")
        require((np.diff(times) >= 0).all(), "time_s", "a time before the one in front of it", "ascending")
        require(times[-1] <= self.period_s, "period_s", self.period_s, "no less than the last time")
        if self.opportunity_bytes:
            mean_bps = 8 * self.opportunity_bytes * len(times) / self.period_s
            require(BOUNDS["rate_bps"].holds(mean_bps), "opportunity_bytes", f"{mean_bps:g} bit/s", _MEAN_RATE)
            return
        require(times[0] == 0, "time_s", times[0], "0 at the first step")
        steps_s = np.diff([*times, self.period_s])
        # a difference of two times is a little less than what was written
        apart = (steps_s >= SHORTEST_STEP_S * (1 - 1e-3)).all()
        require(apart, "time_s", "a step that is too short", f"ascending, steps of {SHORTEST_STEP_S:g} s or more")
        rate = BOUNDS["rate_bps"]
        for name, bound in (("delay_s", BOUNDS["delay_s"]), ("loss", Bound(0.0, 1.0)), ("rate_bps", rate)):
            # a link may stand still for a while
            values = all_bounded(getattr(self, name), name, bound, zero=True)
            require(len(values) in (0, len(times)), name, f"{len(values)} values", f"{len(times)} values, or none")
        if self.rate_bps:
            mean_bps = float(steps_s @ np.array(self.rate_bps)) / self.period_s
            require(BOUNDS["rate_bps"].holds(mean_bps), "rate_bps", f"{mean_bps:g} bit/s", _MEAN_RATE)


_MEAN_RATE = f"{BOUNDS['rate_bps']} bit/s in the mean"


Jitter = Literal["uniform", "exponential", "normal"]


@dataclass(frozen=True)
class Link:
    """A network link between two hosts, with an uplink (data) and a downlink (acknowledgements, responses).

    Attributes:
        rate_bps: Bit rate on the wire, headers included.
        delay_s: One-way propagation delay.
        loss: Probability that a packet on the uplink is lost.
        mtu_bytes: Size of the largest IP packet.
        link_header_bytes: Bytes of the link layer that go with every IP packet.
        app_header_bytes: Bytes of the application's header, and of a DTLS record: in every UDP datagram; over TCP once
            a frame.
        stream_record_bytes: Bytes that TLS adds to every 16 KiB of a frame over TCP.
        loss_burst: Mean number of packets that are lost in a row (Gilbert-Elliott: nothing is lost in the good state,
            everything in the bad one); None: each packet is lost or not independently of all others.
        downlink_loss: Probability that a packet on the downlink is lost, independently of all others.
        downlink_rate_bps: Bit rate of the downlink; None: that of the uplink.
        downlink_delay_s: Delay of the downlink; None: that of the uplink.
        jitter_s: Mean of a random delay of each packet on the uplink, on top of `delay_s`.
        jitter: Distribution of this delay: "uniform" from 0 to twice the mean, "exponential", "normal" (its positive
            half).
        reorder: True: packets overtake each other as their delays fall; False: a packet never overtakes the one before.
        queue_bytes: Most bytes (link headers included) that wait for the uplink while a packet is being sent; a packet
            that finds no room is dropped; None: no limit.
        queue_packets: Most packets that wait for the uplink; None: no limit.
        drops: Ordinals of the packets on the uplink that the link drops (the first is 0), retransmissions counted too;
            they take the place of `loss`.
        trace: Rate, delay and loss of the uplink over time; None: they stay the same.
        trace_start_s: Where in the trace time 0 lies; None: at a random place, each run at another one.

    Example:
        >>> link = Link("radio", rate_bps=1e6, delay_s=0.005, loss=0.01)
        >>> link.rate_bps, link.downlink_rate_bps
        (1000000.0, None)
    """

    name: str = "link"
    rate_bps: float = 1e9
    delay_s: float = 1e-4
    loss: float = 0.0
    mtu_bytes: int = 1500
    link_header_bytes: int = 2
    app_header_bytes: int = 0
    stream_record_bytes: int = 0
    loss_burst: float | None = None
    downlink_loss: float = 0.0
    downlink_rate_bps: float | None = None
    downlink_delay_s: float | None = None
    jitter_s: float = 0.0
    jitter: Jitter = "uniform"
    reorder: bool = False
    queue_bytes: int | None = None
    queue_packets: int | None = None
    drops: tuple[int, ...] | None = None
    trace: Trace | None = None
    trace_start_s: float | None = None

    def __post_init__(self) -> None:
        bounded(
            self, "rate_bps", "delay_s", "loss", "downlink_rate_bps", "downlink_delay_s", "downlink_loss", "jitter_s"
        )
        bounded(self, "trace_start_s")
        bounded(self, "mtu_bytes", "link_header_bytes", "app_header_bytes", "stream_record_bytes")
        bounded(self, "queue_bytes", "queue_packets", "loss_burst")
        if self.loss_burst is not None:
            # the good state's mean stay is burst (1 - loss) / loss packets, and cannot be shorter than one
            least = max(1.0, self.loss / (1 - self.loss))
            require(self.loss_burst >= least, "loss_burst", self.loss_burst, f"{least:g} or more at this loss")
        require(self.jitter in get_args(Jitter), "jitter", repr(self.jitter), "uniform, exponential or normal")
        largest = self.mtu_bytes + self.link_header_bytes
        require(
            self.queue_bytes is None or self.queue_bytes >= largest,
            "queue_bytes",
            self.queue_bytes,
            f"{largest} or more, room for one packet",
        )
        if self.drops is not None:
            whole = all(BOUNDS["drops"].holds(drop) for drop in self.drops)
            require(whole, "drops", "an entry", "a whole number, 0 or more")
