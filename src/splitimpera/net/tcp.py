"""Frames over persistent TCP connections, as the Linux kernel (6.x) sends them: nothing is lost, loss costs time.

Without loss and backlog, and with the window open, a frame of N bytes takes (N + h * ceil(N / mss)) * 8 / rate + delay,
with mss = mtu - 52 and h = link header + 20 (IPv4) + 32 (TCP with time stamps).

What is modelled, each mechanism by its name in the kernel: the retransmission timeout with its floor and back-off,
RACK and tail loss probes, proportional rate reduction, undo by time stamps, D-SACK and F-RTO, SACK with four blocks
kept and three sent, delayed, quick and compressed acknowledgements, cwnd validation, restart after idle, bursts of
segments (TSO) and their deferral, CUBIC with HyStart, Reno, and the timer wheel. What is not: pacing, ECN, TCP Fast
Open, the handshake (done before the first frame), receive windows and socket buffers (without limit), the collapsing of
small segments when they are sent again, and the time that processes take to wake up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.errors import SimulationError
from splitimpera.net import kernels
from splitimpera.net.budget import check_work
from splitimpera.net.directions import NS, build_ways, nanoseconds
from splitimpera.net.stability import keeps_up
from splitimpera.records.link import LARGEST_RECORD_BYTES, Link
from splitimpera.records.traffic import ByteRange, Deliveries, Frames

IP_TCP_HEADER_BYTES = kernels.IP_HEADER + kernels.TCP_HEADER
HANDSHAKE_BYTES = 60
FIRST_WINDOW_BYTES = 65535
UNLIMITED_BYTES = 1 << 60
# the connection stands this long before its first frame
STANDING_S = 1.0
# more is made room for where it is needed
MOST_UNDER_WAY = 1 << 20


@dataclass(frozen=True)
class TcpParameters:
    """How a TCP works; the defaults are those of Linux 6.x at 250 ticks a second.

    Attributes:
        congestion_control: how the window grows and shrinks.
        initial_window: packets that may be under way before the first acknowledgement (RFC 6928).
        tick_s: the kernel's timers run on ticks; a timer of n ticks runs after n to n + 1 of them, and timers of more
            than 63 ticks on every 8th only.
        tick_phase_s: Place at which the first frame falls between two ticks; None: drawn for each connection.
        min_rto_s: floor of the timeout's variance term.
        retries: the connection is given up once so many timeouts, doubling from `min_rto_s` to 120 s, would have passed
            since the first retransmission: 925 s.
        tail_loss_probe: RFC 8985, section 7.
        hystart: CUBIC leaves slow start before losses make it (trains of acknowledgements and delay).
        idle_restart: the window shrinks while the sender is idle, and where it is not used.
        tso_deferral: wait for more room in the window where an acknowledgement is near.
        ack_compression: acknowledgements beyond a gap, after three, are sent together.
        ack_compression_s: the longest that they wait; they wait 5 % of the round trip if that is less.
        ack_compression_slack_s: how much later than that the timer runs.
        ack_compression_packets: The most packets that are acknowledged together.
        delayed_ack_s: an acknowledgement waits this long for more data or the application's response,
        delayed_ack_max_s: and this long at most.
        turnaround_s: what a host takes from a segment's arrival until its acknowledgement is on the way (interrupt,
            protocol stack, wake-up): half of the 0.1 ms that Linux hosts were seen to add to a transfer.
        receive_window_bytes: what the receiver's buffer holds; None: no limit. It is offered bit by bit, and as long as
            it grows the receiver acknowledges every segment at once.
        duplicate_threshold: How many packets beyond a gap prove a loss, where no reordering was seen.
    """

    congestion_control: Literal["cubic", "reno"] = "cubic"
    initial_window: int = 10
    tick_s: float = 0.004
    tick_phase_s: float | None = None
    min_rto_s: float = 0.2
    retries: int = 15
    tail_loss_probe: bool = True
    hystart: bool = True
    idle_restart: bool = True
    tso_deferral: bool = True
    ack_compression: bool = True
    ack_compression_s: float = 1e-3
    ack_compression_slack_s: float = 1e-4
    ack_compression_packets: int = 44
    delayed_ack_s: float = 0.04
    delayed_ack_max_s: float = 0.2
    turnaround_s: float = 50e-6
    receive_window_bytes: int | None = None
    duplicate_threshold: int = 3


LINUX_CUBIC = TcpParameters()
LINUX_RENO = replace(LINUX_CUBIC, congestion_control="reno")


@dataclass(frozen=True)
class Event:
    """One line of a connection's transcript; `at_s` counts from the first frame's due time.

    Attributes:
        end: 0 for the sender of frames, 1 for their receiver, 2 for the second sender, ...
        what: "sent", "retransmitted", "acked", "probe", "timeout", "reorder timeout", "state", "undo", "idle restart",
            "end" (once, for the state in which an end was left).
        packet: which packet, from 0; None where it is about none.
        ack: packets that this end has received in order.
        cwnd: its congestion window in packets.
        state: "open", "disorder", "cwr", "recovery", "loss".
        dropped: the link dropped the packet.
    """

    at_s: float
    end: int
    what: str
    packet: int | None
    ack: int
    cwnd: int
    state: str
    dropped: bool


_WHAT = (
    "",
    "sent",
    "retransmitted",
    "acked",
    "probe",
    "timeout",
    "reorder timeout",
    "state",
    "undo",
    "idle restart",
    "end",
)
_STATES = ("open", "disorder", "cwr", "recovery", "loss")


class TcpLink:
    """TCP over a simulated link, one connection for each sender; a `Transport`."""

    def __init__(self, link: Link, rng: np.random.Generator, parameters: TcpParameters = LINUX_CUBIC) -> None:
        self.link = link
        self.rng = rng
        self.parameters = parameters
        if link.mtu_bytes <= IP_TCP_HEADER_BYTES:
            raise SimulationError(f"{link.mtu_bytes} leaves no room after TCP's headers", where="mtu_bytes")
        window = parameters.receive_window_bytes
        if window is not None and window < 2:
            raise SimulationError(f"{window} is out of range, it must be 2 or more", where="receive_window_bytes")
        self.window_limit = UNLIMITED_BYTES if window is None else window
        self.first_window = min(FIRST_WINDOW_BYTES, self.window_limit)
        # as the kernel does: two segments fit into the window
        self.mss = min(link.mtu_bytes - IP_TCP_HEADER_BYTES, self.first_window // 2)

    def check(self, frames: Frames, runs: int = 1) -> None:
        """Refuse what `transfer` would, before anything is allocated.

        Raises:
            SimulationError: so many runs are too much work.
        """
        link = self.link
        loss = max(link.loss, max(link.trace.loss, default=0.0) if link.trace else 0.0)
        # a connection that gets nothing through is given up
        tries = min(1 / max((1 - loss) * (1 - link.downlink_loss), 1e-9), self.parameters.retries + 5)
        delays = [link.delay_s, *(link.trace.delay_s if link.trace else ())]
        back_s = link.delay_s if link.downlink_delay_s is None else link.downlink_delay_s
        wait_s = max(kernels.RTO_MAX_S, max(delays) + back_s + 2 * link.jitter_s)
        header = link.link_header_bytes + IP_TCP_HEADER_BYTES
        sizes = stream_bytes(link, frames.size_bytes)
        check_work(link, frames, sizes, self.mss, header, tries=tries, wait_s=wait_s, runs=runs)

    def transfer(self, frames: Frames) -> Deliveries:
        """Simulate all frames, each sender's in their order.

        Raises:
            SimulationError: as `check`, or a sender below the highest has no frame.
        """
        return self.transcript(frames, 0)[0]

    def transcript(self, frames: Frames, events: int = 100_000) -> tuple[Deliveries, list[Event]]:
        """The same, with what the ends of the connections did, up to a number of events."""
        self.check(frames)
        before = self.rng.bit_generator.state
        room = 1
        while True:
            run = _Run(self, frames, events, room)
            kernels.run_tcp(run.world, nothing_due(run.world), nobody())
            if not run.world.counters[1]:
                return run.deliveries(), run.events()
            self.rng.bit_generator.state = before
            room *= 2


def stream_bytes(link: Link, sizes: IntArray) -> IntArray:
    """What frames of these sizes take in the stream: data, the application's header, TLS records of 16 KiB."""
    framed = sizes + link.app_header_bytes
    return framed + link.stream_record_bytes * -(-framed // LARGEST_RECORD_BYTES)


class _Run:
    """The kernels' arrays for one simulation.

    `items` holds the frames, sender by sender, then the responses in the same order; `order` says which frame is where.
    """

    def __init__(self, tcp: TcpLink, frames: Frames, events: int, room: int) -> None:
        self.tcp = tcp
        self.frames = frames
        count = len(frames.size_bytes)
        sender = np.zeros(count, dtype=np.int64) if frames.sender is None else frames.sender
        held = np.bincount(sender)
        if not held.all():
            raise SimulationError(f"sender {int(np.argmin(held))} sends no frame", where="sender")
        self.order = np.lexsort((frames.ready_s, sender))
        self.origin = nanoseconds(STANDING_S - float(frames.ready_s.min()))
        items = messages(count * 2 if frames.response_bytes else count)
        items["due"][:count] = self.origin + nanoseconds(frames.ready_s[self.order])
        items["size"][:count] = frames.size_bytes[self.order]
        items["size"][count:] = frames.response_bytes
        items["size"] = stream_bytes(tcp.link, items["size"])

        whose = np.repeat(np.arange(len(held)), held)
        # the near end of a connection sends frames, the far one responses
        ends = np.concatenate([2 * whose, 2 * whose + 1])[: len(items)]
        self.world = standing(tcp, items, ends, 2 * len(held), self.origin, events, room)
        self.world.socks["answers"] = self.world.socks["way"]

    def deliveries(self) -> Deliveries:
        items, count = self.world.items, len(self.order)
        back = np.argsort(self.order)

        def seconds(field: str, items: Any, missing: float) -> FloatArray:
            times = (items[field] - self.origin) / NS
            return np.where(items[field] == kernels.NEVER, missing, times)[back]

        frames, responses = items[:count], items[count:]
        # whole nanoseconds may lie a little before the times that they stand for
        complete_s = np.maximum(seconds("complete", frames, np.inf), self.frames.ready_s)
        response_s = np.full(count, np.nan)
        if len(responses):
            response_s = np.maximum(seconds("complete", responses, np.nan), complete_s)
        whole: tuple[tuple[ByteRange, ...], ...] = ((),) * count
        return Deliveries(
            sent_s=np.maximum(seconds("sent", frames, np.inf), self.frames.ready_s),
            complete_s=complete_s,
            packets=frames["packets"][back].copy(),
            lost_packets=frames["lost"][back].copy(),
            retransmissions=frames["retransmissions"][back].copy(),
            wire_bytes=frames["wire_bytes"][back].copy(),
            erased=whole,
            arrived=np.isfinite(complete_s),
            first_s=seconds("first", frames, np.nan),
            response_s=response_s,
            stable=keeps_up(self.frames.ready_s, complete_s),
        )

    def events(self) -> list[Event]:
        return [
            Event(
                at_s=(int(event["time"]) - int(self.world.items["due"].min())) / NS,
                end=int(event["sock"]),
                what=_WHAT[event["what"]],
                packet=None if event["packet"] == kernels.NONE else int(event["packet"]),
                ack=int(event["ack"]),
                cwnd=int(event["cwnd"]),
                state=_STATES[event["state"]],
                dropped=bool(event["dropped"]),
            )
            for event in self.world.transcript[: self.world.counters[0]]
        ]


def nothing_due(world: kernels.World) -> IntArray:
    """The kernel's tree of when each end has something to do, as it is at first."""
    return np.full(2 << (len(world.socks) - 1).bit_length(), kernels.NEVER)


def nobody() -> kernels.Talk:
    """No users who take turns."""
    none = np.zeros(0, dtype=np.int64)
    return kernels.Talk(np.zeros(0, kernels.TURN), none, none, np.zeros(0), np.zeros((2, 0), np.int64), none, none)


def messages(count: int) -> np.ndarray[Any, Any]:
    """The kernels' records of so many messages, none of them due."""
    items = np.zeros(count, kernels.ITEM)
    for field in ("due", "sent", "first", "complete"):
        items[field] = kernels.NEVER
    return items


def standing(
    tcp: TcpLink, items: np.ndarray[Any, Any], ends: IntArray, count: int, origin: int, events: int, room: int
) -> kernels.World:
    """Connections that have stood for a while, and what is to be sent over them.

    Args:
        items: All messages with their sizes in the stream; those of each end lie together, in its order of sending.
        ends: Which end sends each, shape (messages,): 2 i the near end of connection i, 2 i + 1 its far one.
        count: The number of ends.
        origin: Time 0, in ns.
        events: The most that the transcript holds.
        room: how many times the usual number of packets may be under way.
    """
    socks = np.zeros(count, kernels.SOCK)
    index = np.arange(count)
    socks["index"], socks["peer"], socks["way"] = index, index ^ 1, index % 2
    socks["items"] = np.bincount(ends, minlength=count)
    sending, first = np.unique(ends, return_index=True)
    socks["item"][sending] = first
    until = np.cumsum(items["size"])
    # counted from the connection's first byte
    items["end_byte"] = until - (until - items["size"])[socks["item"][ends]]
    packets = np.bincount(ends, -(-items["size"] // tcp.mss), minlength=count).astype(np.int64)
    socks["base"] = np.cumsum(packets) - packets
    _establish(tcp, socks)
    under_way = min(2 * int(packets.sum()) + 64, MOST_UNDER_WAY)
    ways = build_ways(tcp.link, tcp.rng, origin)
    ways.ways[1]["delay"] += nanoseconds(tcp.parameters.turnaround_s)
    return kernels.World(
        socks=socks,
        packets=np.zeros(int(packets.sum()), kernels.PACKET),
        items=items,
        ways=ways.ways,
        flying=np.zeros((2, 1 << (under_way * room).bit_length()), kernels.FLYING),
        steps=ways.steps,
        drops=ways.drops,
        waiting=ways.waiting,
        transcript=np.zeros(events, kernels.EVENT),
        counters=np.array([0, 0, tcp.link.link_header_bytes, len(items)]),
        rng=tcp.rng,
    )


def _establish(tcp: TcpLink, sock: np.ndarray[Any, Any]) -> None:
    """All sockets as they are after the handshake."""
    link, parameters = tcp.link, tcp.parameters
    tick = sock["tick"] = nanoseconds(parameters.tick_s)
    sock["hz"] = round(1 / parameters.tick_s)
    if parameters.tick_phase_s is None:
        sock["jiffy_phase"], sock["clock_phase"] = tcp.rng.integers(1 << 40, 1 << 41, (len(sock), 2)).T
    else:
        sock["jiffy_phase"] = (1 << 12) * tick - nanoseconds(STANDING_S) + nanoseconds(parameters.tick_phase_s)
        sock["clock_phase"] = nanoseconds(1.0)

    def ticks(seconds: float) -> int:
        return round(seconds / parameters.tick_s)

    sock["mss"] = tcp.mss
    sock["initial_window"] = sock["snd_cwnd"] = parameters.initial_window
    min_rto_us = sock["min_rto_us"] = round(parameters.min_rto_s * 1e6)
    sock["give_up_ms"] = _give_up_ms(parameters)
    sock["tlp"], sock["hystart"] = parameters.tail_loss_probe, parameters.hystart
    sock["idle_restart"], sock["tso_defer"] = parameters.idle_restart, parameters.tso_deferral
    sock["compress"] = parameters.ack_compression
    sock["comp_delay"] = nanoseconds(parameters.ack_compression_s)
    sock["comp_slack"] = nanoseconds(parameters.ack_compression_slack_s)
    sock["comp_nr"] = parameters.ack_compression_packets
    sock["delack_min"], sock["delack_max"] = ticks(parameters.delayed_ack_s), ticks(parameters.delayed_ack_max_s)
    sock["dup_thresh"] = sock["reordering"] = parameters.duplicate_threshold
    sock["cc"] = kernels.CUBIC if parameters.congestion_control == "cubic" else kernels.RENO
    sock["snd_ssthresh"] = kernels.INFINITE_SSTHRESH
    for field in ("tlp_high_seq", "undo_marker", "hint", "oldest", "newest", "first_sackt", "dsack_start"):
        sock[field] = kernels.NONE
    for field in ("fires", "delack_fires", "comp_fires", "curr_rtt"):
        sock[field] = kernels.NEVER
    sock["window_limit"] = tcp.window_limit
    sock["window"] = sock["send_end"] = tcp.first_window
    sock["delivered"] = sock["rack_steps"] = 1
    sock["rcv_mss"] = kernels.MSS_DEFAULT
    back = link.downlink_rate_bps or link.rate_bps
    downlink_delay = link.delay_s if link.downlink_delay_s is None else link.downlink_delay_s
    bits = 8 * (HANDSHAKE_BYTES + link.link_header_bytes)
    downlink_delay += parameters.turnaround_s
    rtt_us = max(1, round((link.delay_s + downlink_delay + bits / link.rate_bps + bits / back) * 1e6))
    sock["srtt_us"], sock["mdev_us"], sock["rtt_min_us"] = rtt_us << 3, rtt_us << 1, rtt_us
    variance_us = sock["rttvar_us"] = sock["mdev_max_us"] = max(rtt_us << 1, min_rto_us)
    sock["rto"] = -(-(rtt_us + variance_us) * 1000 // tick)
    sock["pacing_rate"] = tcp.mss * 80_000 * 200 * parameters.initial_window // (rtt_us << 3)
    sock["lsndtime"] = sock["lrcvtime"] = sock["snd_cwnd_stamp"] = sock["jiffy_phase"] // tick


def _give_up_ms(parameters: TcpParameters) -> int:
    """How long is tried (the kernel's retransmits_timed_out, for tcp_retries2)."""
    doublings = int(math.log2(kernels.RTO_MAX_S / parameters.min_rto_s))
    steep = min(parameters.retries, doublings)
    seconds = (2 ** (steep + 1) - 1) * parameters.min_rto_s + (parameters.retries - steep) * kernels.RTO_MAX_S
    return int(seconds * 1000)
