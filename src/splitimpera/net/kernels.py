"""The compiled kernels of the communication simulator: link, UDP, and TCP as the Linux kernel does it.

All in one file, since Numba's cache on disk notices edits of a function's own file only. The wrappers that people call
are in `udp.py` and `tcp.py`; the names of variables and functions below are the Linux kernel's where it has them.

Times are whole nanoseconds, packets are counted from 0 in the order in which a sender cuts them from its bytes.
Sources: RFC 9293 (TCP), 7323 (time stamps), 2018 and 2883 (SACK, D-SACK), 6298 (RTO), 8985 (RACK-TLP), 9937 (PRR),
9438 (CUBIC), 5682 (F-RTO), 5681, and the behaviour of Linux 6.x.
"""

from __future__ import annotations

import logging
from collections import namedtuple
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])


# None of these functions makes arrays, so none counts references to them (_nrt): that took nine tenths of the time.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}
WITHIN = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def entry(function: F) -> F:
    """Compile on first call, for good: to disk, with all that it calls, and without the interpreter's lock.

    Where there is no folder for that, or it is full, what is compiled lasts as long as the process.
    """
    try:
        kernel = numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # none of the places that Numba knows can be written
        warn_uncached()
        return numba.njit(**OPTIONS)(function)

    @wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            return kernel(*arguments)
        except OSError:
            # it was compiled, but could not be written; nothing was run yet
            warn_uncached()
            return kernel(*arguments)

    return call  # type: ignore[return-value]


warned: list[bool] = []


def warn_uncached() -> None:
    """Say once, in one line, why each process begins slowly."""
    if not warned:
        warned.append(True)
        logging.getLogger(__name__).warning(
            "note: the compiled simulator cannot be kept, so that each start compiles it anew, which takes some 10 s; "
            "let NUMBA_CACHE_DIR name a folder that can be written"
        )


def compiled(function: F) -> F:
    """Compile what only compiled functions call."""
    return numba.njit(**WITHIN)(function)


def inlined(function: F) -> F:
    """Compile as part of whatever calls it: for what runs once a packet and is called from few places.

    Inlining everything would be twice as fast again, and take twice as long to compile.
    """
    return numba.njit(forceinline=True, **WITHIN)(function)


def record(integers: str, floats: str = "", lists: str = "", length: int = 0) -> np.dtype[Any]:
    """A structured type of int64 and float64 fields, and of lists of int64."""
    fields: list[Any] = [(name, np.int64) for name in integers.split()]
    fields += [(name, np.float64) for name in floats.split()]
    return np.dtype(fields + [(name, np.int64, (length,)) for name in lists.split()])


# ---------------------------------------------------------------------------------------------------------------- link

NEVER = np.int64(2**62)
DROPPED = np.int64(-1)
INDEPENDENT, BURSTS, REPLAY = np.arange(3)
UNIFORM, EXPONENTIAL, NORMAL = np.arange(3)
CONSTANT, STEPS, OPPORTUNITIES = np.arange(3)

WAY = record(
    "delay loss_kind bad jitter_kind reorder last_arrival queue_bytes queue_packets entered next_drop "
    "waiting_head waiting_tail waiting_bytes trace origin step period opportunity_bytes opportunity_left "
    "opportunity_time head tail lost queue_lost sent_bytes",
    "ns_per_byte busy loss to_bad to_good jitter lap_bytes",
)
"""One way of a link. `head` and `tail` are those of its ring of packets under way; a trace begins at `origin` and
carries `lap_bytes` until it starts again."""

STEP = record("time delay", "ns_per_byte loss carried")
"""`carried`: the bytes that fit into a lap in front of this step."""

STEPS_IN_TURN = 32
"""A packet that takes more of a trace's steps is not followed through each."""
WAITING = record("start size")


@compiled
def first_from(steps, time):
    """The first step of a lap at `time` or later; their number where there is none."""
    low, high = 0, len(steps)
    while low < high:
        middle = (low + high) // 2
        if steps[middle].time < time:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def step_end(way, steps, lap, place):
    return (lap + 1) * way.period if place + 1 == len(steps) else lap * way.period + steps[place + 1].time


@compiled
def leaves(way, steps, start, size):
    """When the last bit of a packet leaves a link with a trace that is its turn at `start`; never before."""
    count = len(steps)
    start -= way.origin
    if way.trace == STEPS:
        lap, place = way.step // count, way.step % count
        ends = step_end(way, steps, lap, place)
        if start >= ends:  # nothing was sent for a while
            lap = np.int64(start) // way.period
            place = first_from(steps, np.int64(start) - lap * way.period + 1) - 1
            way.step = lap * count + place
            ends = step_end(way, steps, lap, place)
        left = float(size)
        for _ in range(STEPS_IN_TURN):
            room = (ends - start) / steps[place].ns_per_byte
            if left <= room:
                return way.origin + start + left * steps[place].ns_per_byte
            left -= room
            start = float(ends)
            way.step += 1
            place += 1
            if place == count:
                lap, place = lap + 1, 0
            ends = step_end(way, steps, lap, place)
        left += steps[place].carried
        laps = max(np.int64(np.ceil(left / way.lap_bytes)) - 1, 0)
        left -= laps * way.lap_bytes
        low, high = place if laps == 0 else 0, count - 1  # where the last bit leaves: the last step that begins before
        while low < high:
            middle = (low + high + 1) // 2
            if steps[middle].carried < left:
                low = middle
            else:
                high = middle - 1
        way.step = (lap + laps) * count + low
        start = float((lap + laps) * way.period + steps[low].time)
        return way.origin + start + max(left - steps[low].carried, 0.0) * steps[low].ns_per_byte
    if way.opportunity_time < start:
        way.opportunity_left = 0
    if way.opportunity_left < size:
        size -= way.opportunity_left
        # the first opportunity that is not over; one at the end of a lap comes before the next lap's
        lap = max(np.int64(np.ceil(start / way.period)) - 1, 0)
        place = first_from(steps, np.int64(np.ceil(start)) - lap * way.period)
        uses = -(-size // way.opportunity_bytes)
        last = max(way.step, lap * count + place) + uses - 1
        way.opportunity_time = (last // count) * way.period + steps[last % count].time
        way.opportunity_left = uses * way.opportunity_bytes
        way.step = last + 1
    way.opportunity_left -= size
    return float(way.origin + way.opportunity_time)


@compiled
def no_room(way, waiting, now, size):
    """Whether a drop-tail queue turns a packet away."""
    mask = len(waiting) - 1
    while way.waiting_head < way.waiting_tail and waiting[way.waiting_head & mask].start <= now:
        way.waiting_bytes -= waiting[way.waiting_head & mask].size
        way.waiting_head += 1
    if way.busy <= now:
        return False
    if way.queue_packets >= 0 and way.waiting_tail - way.waiting_head >= way.queue_packets:
        return True
    if way.queue_bytes >= 0 and way.waiting_bytes + size > way.queue_bytes:
        return True
    place = waiting[way.waiting_tail & mask]
    place.start = np.int64(way.busy)
    place.size = size
    way.waiting_tail += 1
    way.waiting_bytes += size
    return False


@compiled
def is_lost(way, steps, drops, counts, rng):
    """Whether the link drops a packet that it has taken, judged as the packet leaves."""
    if way.loss_kind == REPLAY:
        if not counts:
            return False
        ordinal = way.entered
        way.entered += 1
        while way.next_drop < len(drops) and drops[way.next_drop] < ordinal:
            way.next_drop += 1
        return way.next_drop < len(drops) and drops[way.next_drop] == ordinal
    way.entered += counts
    if way.loss_kind == BURSTS:
        draw = rng.random()
        way.bad = draw >= way.to_good if way.bad else draw < way.to_bad
        return way.bad == 1
    loss = steps[way.step % len(steps)].loss if way.trace == STEPS else way.loss
    return loss > 0 and rng.random() < loss


@inlined
def enter(way, steps, drops, waiting, now, size, counts, rng):
    """A packet of `size` bytes, link header included, enters a link; when it arrives, or DROPPED.

    Lost packets take their time on the link: they are lost behind it. `counts` marks those that a replay counts.
    """
    if len(waiting) > 0 and no_room(way, waiting, now, size):
        way.queue_lost += 1
        return DROPPED
    start = way.busy if way.busy > now else float(now)
    way.busy = start + size * way.ns_per_byte if way.trace == CONSTANT else leaves(way, steps, start, size)
    way.sent_bytes += size
    if is_lost(way, steps, drops, counts, rng):
        way.lost += 1
        return DROPPED
    delay = way.delay
    if way.trace == STEPS:
        delay = steps[way.step % len(steps)].delay
    arrival = np.int64(way.busy + 0.5) + delay
    if way.jitter > 0:
        if way.jitter_kind == UNIFORM:
            extra = 2 * way.jitter * rng.random()
        elif way.jitter_kind == EXPONENTIAL:
            extra = way.jitter * rng.exponential()
        else:
            extra = way.jitter * np.sqrt(np.pi / 2) * abs(rng.normal())
        arrival += np.int64(extra)
    if way.reorder == 0:
        arrival = max(arrival, way.last_arrival)
        way.last_arrival = arrival
    return arrival


# ----------------------------------------------------------------------------------------------------------------- UDP

DATAGRAMS = record("ready size deadline sent first complete left packets lost wire_bytes arrived")
"""A frame's way as datagrams; `left`: when its last bit leaves the link."""


@entry
def run_udp(ways, which, steps, drops, waiting, frames, missing, payload, header, interleaved, rng):
    """Send frames in the order of the array; `missing` marks what the receiver lacks when it uses a frame.

    `missing` holds one place a packet, frame by frame; on the way it keeps when each packet arrives.
    """
    way = ways[which]
    base = 0
    for i in range(len(frames)):
        frame = frames[i]
        count = -(-frame.size // payload)
        stride = 1
        if interleaved:
            while stride * stride < count:
                stride += 1
        frame.sent = max(frame.ready, np.int64(way.busy))
        frame.first = NEVER
        last = np.int64(0)
        bytes_before = way.sent_bytes
        for offset in range(stride):
            for place in range(offset, count, stride):
                size = min(payload, frame.size - place * payload) + header
                arrival = enter(way, steps, drops, waiting, frame.ready, size, True, rng)
                missing[base + place] = arrival
                if arrival == DROPPED:
                    frame.lost += 1
                else:
                    last = max(last, arrival)
                    frame.first = min(frame.first, arrival)
        frame.left = np.int64(way.busy)
        frame.packets = count
        frame.wire_bytes = way.sent_bytes - bytes_before
        frame.complete = last if frame.lost == 0 else frame.deadline
        for place in range(base, base + count):
            late = missing[place] == DROPPED or missing[place] > frame.complete
            missing[place] = late
            frame.arrived |= not late
        base += count


TRANSMISSION = record("sent frame place arrival known")
"""A datagram on its way, in the order of sending; `known`: the sender has its acknowledgement, or has given it up."""


@compiled
def resend_or_leave(way, steps, drops, waiting, frames, sent, tail, index, now, header, payload, rng):
    """Send a datagram again if it can come in time; where the list of transmissions ends then."""
    lost = sent[index]
    lost.known = 1
    frame = frames[lost.frame]
    size = min(payload, frame.size - lost.place * payload) + header
    if max(now, np.int64(way.busy)) + np.int64(size * way.ns_per_byte) + way.delay > frame.deadline:
        return tail
    if tail == len(sent):
        return tail + 1  # there is no room, which the caller sees
    return transmission(way, steps, drops, waiting, frames, sent, tail, lost.frame, lost.place, now, size, rng)


@compiled
def transmission(way, steps, drops, waiting, frames, sent, tail, frame, place, now, size, rng):
    """Put a datagram onto the link and note it."""
    item = sent[tail]
    item.sent = now
    item.frame = frame
    item.place = place
    item.known = 0
    before = way.sent_bytes
    item.arrival = enter(way, steps, drops, waiting, now, size, True, rng)
    frames[frame].packets += 1
    frames[frame].wire_bytes += way.sent_bytes - before
    if item.arrival == DROPPED:
        frames[frame].lost += 1
    return tail + 1


@entry
def run_arq(ways, steps, drops, waiting, frames, came, sent, payload, header, ack_bytes, rng):
    """Send frames as datagrams that are acknowledged, and again when lost, as long as they can come in time.

    A datagram counts as lost when one that was sent later is acknowledged, or three halves of the round
    trip after it was sent. `came` holds when each datagram arrived first, `sent` has room for all transmissions. False:
    that room was too small.
    """
    there, back = ways[0], ways[1]
    head = tail = next_frame = next_ack = 0
    for i in range(len(came)):
        came[i] = NEVER
    round_trip = there.delay + back.delay + np.int64((payload + header) * there.ns_per_byte)
    while next_frame < len(frames) or head < tail:
        due = frames[next_frame].ready if next_frame < len(frames) else NEVER
        while head < tail and sent[head].known:
            head += 1
        next_ack = max(next_ack, head)
        while next_ack < tail and (sent[next_ack].known or sent[next_ack].arrival == DROPPED):
            next_ack += 1
        acknowledged = NEVER
        if next_ack < tail:
            acknowledged = sent[next_ack].arrival + back.delay + np.int64(ack_bytes * back.ns_per_byte)
        late = NEVER
        if head < tail:
            late = sent[head].sent + round_trip + round_trip // 2
            if sent[head].arrival != DROPPED:
                late = max(late, sent[head].arrival + back.delay + np.int64(ack_bytes * back.ns_per_byte) + 1)
        now = min(due, min(acknowledged, late))
        if now == NEVER:
            break
        if now == due:
            frame = frames[next_frame]
            frame.sent = max(frame.ready, np.int64(there.busy))
            frame.first = NEVER
            count = -(-frame.size // payload)
            for place in range(count):
                if tail == len(sent):
                    return False
                size = min(payload, frame.size - place * payload) + header
                tail = transmission(there, steps, drops, waiting, frames, sent, tail, next_frame, place, now, size, rng)
            next_frame += 1
            continue
        if now == acknowledged:
            item = sent[next_ack]
            heard = back.loss == 0 or rng.random() >= back.loss
            if heard:
                for earlier in range(head, next_ack + 1):
                    if sent[earlier].arrival != DROPPED and sent[earlier].arrival <= item.arrival:
                        sent[earlier].known = 1  # an acknowledgement tells all that came
                    elif sent[earlier].known == 0:
                        tail = resend_or_leave(
                            there, steps, drops, waiting, frames, sent, tail, earlier, now, header, payload, rng
                        )
                        if tail > len(sent):
                            return False
            next_ack += 1
            continue
        tail = resend_or_leave(there, steps, drops, waiting, frames, sent, tail, head, now, header, payload, rng)
        if tail > len(sent):
            return False
    first = np.int64(0)
    for i in range(len(frames)):
        frames[i].left = first  # where its datagrams begin in `came`
        first += -(-frames[i].size // payload)
    for i in range(tail):
        if sent[i].arrival != DROPPED:
            frame = frames[sent[i].frame]
            place = frame.left + sent[i].place
            came[place] = min(came[place], sent[i].arrival)
            frame.first = min(frame.first, sent[i].arrival)
    for i in range(len(frames)):
        frame = frames[i]
        last = np.int64(0)
        count = -(-frame.size // payload)
        for place in range(frame.left, frame.left + count):
            last = max(last, came[place])
        frame.complete = last if frame.lost == 0 or last <= frame.deadline else frame.deadline
        for place in range(frame.left, frame.left + count):
            came[place] = came[place] > frame.complete
            frame.arrived |= came[place] == 0
    return True


# ----------------------------------------------------------------------------------------------------------------- TCP

RENO, CUBIC = 0, 1
OPEN, DISORDER, CWR, RECOVERY, LOSS = np.arange(5)
NO_TIMER, RETRANS, LOSS_PROBE, REO_TIMEOUT = np.arange(4)
INFINITE_SSTHRESH = np.int64(0x7FFFFFFF)
NONE = np.int64(-1)

# marks of a packet in the retransmission queue
SACKED_ACKED, SACKED_RETRANS, LOST, EVER_RETRANS, PSH, SORTED = 1, 2, 4, 8, 16, 32

# what an acknowledgement did
DATA, DATA_ACKED, RETRANS_DATA_ACKED, DATA_SACKED, DSACKING_ACK = 1, 2, 4, 8, 16
SND_UNA_ADVANCED, ORIG_SACK_ACKED, SET_XMIT_TIMER, LOST_RETRANS, DSACK_TLP = 32, 64, 128, 256, 512
REXMIT_NONE, REXMIT_LOST, REXMIT_NEW = 0, 1, 2

# what a receiver still owes
SCHED, TIMER, PUSHED, PUSHED2, NOW = 1, 2, 4, 8, 16

# what the transcript tells of
SENT, RETRANSMITTED, ACKED, PROBE, TIMEOUT, REORDER_TIMEOUT, STATE, UNDO, IDLE_RESTART, END = np.arange(1, 11)

TCP_HEADER = 32  # with time stamps
IP_HEADER = 20
MAX_REORDERING = 300
MAX_QUICKACKS = 16
MSS_DEFAULT = 536
RTO_MAX_S = 120
RACK_RECOVERY_THRESH = 16
SIZE_GOAL = 45  # segments that a buffer of 64 KB holds
GSO_MAX_BYTES = 65215
HYSTART_MIN_SAMPLES = 8
HYSTART_LOW_WINDOW = 16
HYSTART_ACK_DELTA_US = 2000
CUBIC_SCALE = 41
CUBIC_BETA = 717
BETA_SCALE = 8 * (1024 + CUBIC_BETA) // 3 // (1024 - CUBIC_BETA)

SOCK = record(
    # connection
    "index base peer way mss jiffy_phase clock_phase dead tick hz initial_window min_rto_us give_up_ms "
    "tlp hystart idle_restart tso_defer compress delack_min delack_max comp_delay comp_slack comp_nr dup_thresh "
    # what the application wrote and how much of it is cut into packets, in bytes
    "item items next_item read_item written cut "
    # sender
    "snd_una snd_nxt snd_cwnd snd_ssthresh snd_cwnd_cnt snd_cwnd_used snd_cwnd_stamp is_cwnd_limited max_packets_out "
    "cwnd_usage_seq prior_cwnd prior_ssthresh prr_delivered prr_out high_seq tlp_high_seq tlp_retrans undo_marker "
    "undo_retrans retrans_stamp ca_state sacked_out lost lost_out retrans_out reordering reord_seen delivered "
    "total_retrans dsack_dups frto retransmits backoff rto srtt_us mdev_us mdev_max_us rttvar_us rtt_seq rtt_min_us "
    "lsndtime wstamp pending timeout fires fack hint oldest newest pacing_rate tsecr "
    # what the acknowledgement at hand did
    "flag rexmit reord first_sackt last_sackt prior_delivered prior_delivered_sent prior_delivered_end "
    # RACK
    "rack_mstamp rack_end rack_rtt_us rack_advanced rack_steps rack_persist rack_last_delivered rack_dsack_seen "
    # congestion control
    "cc cnt last_max_cwnd last_cwnd last_time origin_point k delay_min epoch_start ack_cnt tcp_cwnd found round_start "
    "end_seq last_ack curr_rtt sample_cnt "
    # receiver
    "rcv_nxt rcv_wup rcv_mss last_seg_size out_of_order quick ato lrcvtime pingpong owes delack_timeout delack_fires "
    "window window_limit send_end compressed dup_acks comp_fires comp_rcv_nxt ts_recent dsack_start dsack_end blocks",
    lists="start end",
    length=4,
)
"""One end of a connection, in the words of the Linux kernel's `tcp_sock`; sequence numbers count packets."""

PACKET = record("end_byte sent flags after before jump item delivered received size")
"""A packet of a sender: `after` and `before` are its neighbours in the order of sending."""

ITEM = record("due size end_byte sent first complete packets lost retransmissions wire_bytes")
"""A frame, or an answer, and what became of it."""

FLYING = record("arrival sock packet ack window_end tsval tsecr dsack blocks", lists="start end", length=3)
"""A packet under way: to which end, which packet of its peer's (or none), and its header."""

EVENT = record("time sock what packet ack cwnd state dropped")

World = namedtuple("World", "socks packets items ways flying steps drops waiting transcript counters rng")
"""Arrays of the above; `counters`: length of the transcript, whether a ring was too short."""


@compiled
def note(w, tp, now, what, packet, dropped):
    if w.counters[0] < len(w.transcript):
        event = w.transcript[w.counters[0]]
        event.time, event.sock, event.what, event.packet = now, tp.index, what, packet
        event.ack, event.cwnd, event.state, event.dropped = tp.rcv_nxt, tp.snd_cwnd, tp.ca_state, dropped
        w.counters[0] += 1


@inlined
def jiffies(tp, now):
    return (now + tp.jiffy_phase) // tp.tick


@compiled
def wheel(tp, now, expires):
    """When a timer for tick `expires` runs: never early, and later the farther away (the kernel's timer wheel)."""
    away = expires - jiffies(tp, now) - 1
    coarse = 0
    while coarse < 15 and away >= 63 << coarse:
        coarse += 3
    return (((expires >> coarse) + 1) << coarse) * tp.tick - tp.jiffy_phase


@compiled
def usecs_to_jiffies(tp, us):
    return -(-us * 1000 // tp.tick)


@compiled
def jiffies_to_usecs(tp, ticks):
    return ticks * tp.tick // 1000


@compiled
def time_stamp_ms(tp, now):
    return (now + tp.clock_phase) // 1_000_000


@inlined
def in_flight(tp):
    return tp.snd_nxt - tp.snd_una - tp.sacked_out - tp.lost_out + tp.retrans_out


@compiled
def in_cwnd_reduction(tp):
    return tp.ca_state == CWR or tp.ca_state == RECOVERY


@compiled
def in_slow_start(tp):
    return tp.snd_cwnd < tp.snd_ssthresh


@compiled
def sent_after(sent, other, end, other_end):
    return sent > other or (sent == other and end > other_end)


# timers


@compiled
def reset_timer(tp, now, what, ticks):
    tp.pending = what
    tp.timeout = jiffies(tp, now) + min(ticks, RTO_MAX_S * tp.hz)
    tp.fires = wheel(tp, now, tp.timeout)


@compiled
def clear_timer(tp):
    tp.pending = NO_TIMER
    tp.fires = NEVER


@compiled
def rto_delta_us(w, tp, now):
    """How far ahead the oldest packet's timeout is."""
    return w.packets[tp.base + tp.snd_una].sent // 1000 + jiffies_to_usecs(tp, tp.rto) - now // 1000


@compiled
def rearm_rto(w, tp, now):
    if tp.snd_una == tp.snd_nxt:
        clear_timer(tp)
        return
    rto = tp.rto
    if tp.pending == REO_TIMEOUT or tp.pending == LOSS_PROBE:
        rto = usecs_to_jiffies(tp, max(rto_delta_us(w, tp, now), 1))
    reset_timer(tp, now, RETRANS, rto)


@compiled
def schedule_loss_probe(w, tp, now, advancing_rto):
    if tp.tlp == 0 or tp.snd_una == tp.snd_nxt or (tp.ca_state != OPEN and tp.ca_state != CWR):
        return False
    timeout_us = tp.srtt_us >> 2
    if tp.snd_nxt - tp.snd_una == 1:
        timeout_us += tp.min_rto_us
    else:
        timeout_us += 2000
    timeout = usecs_to_jiffies(tp, timeout_us)
    delta_us = jiffies_to_usecs(tp, tp.rto) if advancing_rto else rto_delta_us(w, tp, now)
    if delta_us > 0:
        timeout = min(timeout, usecs_to_jiffies(tp, delta_us))
    reset_timer(tp, now, LOSS_PROBE, timeout)
    return True


# sending


@inlined
def unlink(w, tp, place):
    """Take a packet out of the list in order of sending."""
    packet = w.packets[tp.base + place]
    if packet.flags & SORTED == 0:
        return
    packet.flags &= ~SORTED
    if packet.before == NONE:
        tp.oldest = packet.after
    else:
        w.packets[tp.base + packet.before].after = packet.after
    if packet.after == NONE:
        tp.newest = packet.before
    else:
        w.packets[tp.base + packet.after].before = packet.before


@inlined
def received_bytes(w, tp):
    """Bytes received in order."""
    if tp.rcv_nxt == 0:
        return np.int64(0)
    return w.packets[w.socks[tp.peer].base + tp.rcv_nxt - 1].end_byte


@inlined
def launch(w, tp, now, packet, size):
    """Put a packet with this end's acknowledgement onto the link; whether the link drops it.

    Whatever is sent carries the acknowledgement, so nothing is owed any more.
    """
    way = w.ways[tp.way]
    dsack = 1 if tp.dsack_start != NONE else 0
    blocks = min(tp.blocks + dsack, 3)
    if blocks:
        size += 4 + 8 * blocks
    waiting = w.waiting if tp.way == 0 else w.waiting[:0]
    arrival = enter(way, w.steps, w.drops, waiting, now, size, packet != NONE, w.rng)
    if arrival != DROPPED:
        ring = w.flying[tp.way]
        mask = len(ring) - 1
        if way.tail - way.head > mask:
            w.counters[1] = 1
            return True
        place = way.tail
        while place > way.head and ring[(place - 1) & mask].arrival > arrival:
            ring[place & mask] = ring[(place - 1) & mask]
            place -= 1
        way.tail += 1
        flying = ring[place & mask]
        flying.arrival = arrival
        flying.sock = tp.peer
        flying.packet = packet
        flying.ack = tp.rcv_nxt
        flying.window_end = received_bytes(w, tp) + tp.window
        flying.tsval = time_stamp_ms(tp, now)
        flying.tsecr = tp.ts_recent
        flying.dsack = dsack
        flying.blocks = blocks
        if dsack:
            flying.start[0], flying.end[0] = tp.dsack_start, tp.dsack_end
        for i in range(dsack, blocks):
            flying.start[i], flying.end[i] = tp.start[i - dsack], tp.end[i - dsack]
    tp.dsack_start = NONE
    tp.compressed = 0
    tp.comp_fires = NEVER
    if tp.quick > 0 and tp.owes & SCHED:
        tp.quick -= 1
        if tp.quick == 0:
            tp.ato = tp.delack_min
    tp.owes = 0
    tp.delack_fires = NEVER
    tp.rcv_wup = tp.rcv_nxt
    return arrival == DROPPED


@compiled
def transmit(w, tp, now, place):
    """Send a packet of the retransmission queue, for the first time or again."""
    if in_flight(tp) == 0:
        cwnd_event_tx_start(tp, now)
    tp.lsndtime = jiffies(tp, now)
    if tp.lsndtime - tp.lrcvtime < tp.ato:
        tp.pingpong = min(tp.pingpong + 1, 255)
    packet = w.packets[tp.base + place]
    unlink(w, tp, place)
    packet.sent = now
    packet.delivered = tp.delivered
    packet.flags |= SORTED
    packet.after = NONE
    packet.before = tp.newest
    if tp.newest == NONE:
        tp.oldest = place
    else:
        w.packets[tp.base + tp.newest].after = place
    tp.newest = place
    tp.wstamp = now
    item = w.items[packet.item]
    sent_before = w.ways[tp.way].sent_bytes
    starts = max(now, np.int64(w.ways[tp.way].busy))
    dropped = launch(w, tp, now, place, packet.size + TCP_HEADER + IP_HEADER + w.counters[2])
    item.packets += 1
    item.wire_bytes += w.ways[tp.way].sent_bytes - sent_before
    if dropped:
        item.lost += 1
    # frames of which this packet carries the first byte
    behind = packet.item
    while behind < tp.item + tp.items and w.items[behind].end_byte - w.items[behind].size < packet.end_byte:
        if w.items[behind].sent == NEVER:
            w.items[behind].sent = starts
        behind += 1
    return dropped


@compiled
def retransmit(w, tp, now, place):
    """__tcp_retransmit_skb: a probe does no more than this."""
    dropped = transmit(w, tp, now, place)
    packet = w.packets[tp.base + place]
    packet.flags |= EVER_RETRANS
    tp.total_retrans += 1
    w.items[packet.item].retransmissions += 1
    note(w, tp, now, RETRANSMITTED, place, dropped)


@compiled
def retransmit_lost(w, tp, now, place):
    """tcp_retransmit_skb."""
    retransmit(w, tp, now, place)
    w.packets[tp.base + place].flags |= SACKED_RETRANS
    tp.retrans_out += 1
    if tp.retrans_stamp == 0:
        tp.retrans_stamp = time_stamp_ms(tp, now)
    if tp.undo_retrans < 0:
        tp.undo_retrans = 0
    tp.undo_retrans += 1


@inlined
def autosize(tp):
    """Segments that are sent in one go: about a millisecond's worth at the current rate."""
    size = tp.pacing_rate >> 10
    halvings = tp.rtt_min_us >> 9
    if halvings < 32:
        size += GSO_MAX_BYTES >> halvings
    return max(min(size, GSO_MAX_BYTES) // tp.mss, 2)


@compiled
def should_defer(w, tp, now, length, last, max_segs):
    """Wait for more room in the window, where the next acknowledgement is near (tcp_tso_should_defer)."""
    if tp.tso_defer == 0 or tp.ca_state >= RECOVERY or now - tp.wstamp > 1_000_000:
        return False
    limit = (tp.snd_cwnd - in_flight(tp)) * tp.mss
    if limit >= max_segs * tp.mss or (not last and limit >= length) or limit >= tp.snd_cwnd * tp.mss // 3:
        return False
    if tp.snd_una == tp.snd_nxt:
        return False
    srtt = (tp.srtt_us >> 3) * 1000
    away = w.packets[tp.base + tp.snd_una].sent + srtt - now
    return away <= min(srtt >> 1, 1_000_000)


@inlined
def cut_packet(w, tp):
    """The next packet from the bytes that the application wrote."""
    place = tp.snd_nxt
    packet = w.packets[tp.base + place]
    size = min(tp.mss, tp.written - tp.cut)
    item = w.packets[tp.base + place - 1].item if place else tp.item
    while w.items[item].end_byte <= tp.cut:
        item += 1
    tp.cut += size
    packet.end_byte = tp.cut
    packet.size = size
    packet.item = item
    packet.flags = PSH if tp.cut == tp.written else 0
    packet.jump = NONE
    packet.received = 0
    return place


@compiled
def write_xmit(w, tp, now, push_one):
    """Send what the window allows; push_one 2 sends one burst for a probe, window or not. How many were sent."""
    sent = 0
    cwnd_limited = False
    max_segs = autosize(tp)
    while tp.cut < tp.written:
        flight = in_flight(tp)
        quota = 0
        if flight < tp.snd_cwnd:
            quota = min(max(tp.snd_cwnd >> 1, 1), tp.snd_cwnd - flight)
        elif push_one == 2:
            quota = 1
        if quota == 0:
            break
        quota = min(quota, max_segs)
        unsent = tp.written - tp.cut
        length = min(unsent, SIZE_GOAL * tp.mss)
        if tp.cut + min(unsent, tp.mss) > tp.send_end:
            break
        if tp.cut + length > tp.send_end:
            length = (tp.send_end - tp.cut) // tp.mss * tp.mss
        segments = -(-length // tp.mss)
        if segments > 1 and push_one == 0 and should_defer(w, tp, now, length, length == unsent, max_segs):
            if (tp.snd_cwnd - flight) * tp.mss <= length:
                cwnd_limited = True
            break
        prior_packets = tp.snd_nxt - tp.snd_una
        burst = min(segments, quota)
        for i in range(burst):
            place = cut_packet(w, tp)
            if burst > 1 and i == burst - 1:
                w.packets[tp.base + place].flags |= PSH
            dropped = transmit(w, tp, now, place)
            note(w, tp, now, SENT, place, dropped)
            tp.snd_nxt += 1
        if prior_packets == 0 or tp.pending == LOSS_PROBE:
            rearm_rto(w, tp, now)
        sent += burst
        if push_one:
            break
    cwnd_limited |= in_flight(tp) >= tp.snd_cwnd
    if sent or cwnd_limited:
        cwnd_validate(tp, now, cwnd_limited)
    if sent:
        if in_cwnd_reduction(tp):
            tp.prr_out += sent
        if push_one != 2:
            schedule_loss_probe(w, tp, now, False)
    return sent


@compiled
def write(w, tp, now, item):
    """The application hands a frame to its socket."""
    if tp.idle_restart and tp.snd_una == tp.snd_nxt and tp.cut == tp.written:
        idle = jiffies(tp, now) - tp.lsndtime
        if idle > tp.rto:
            cwnd_restart(w, tp, now, idle)
    w.items[item].due = now
    tp.written = w.items[item].end_byte
    write_xmit(w, tp, now, 0)


# congestion window


@compiled
def is_cwnd_limited(tp):
    return tp.is_cwnd_limited == 1 or (in_slow_start(tp) and tp.snd_cwnd < 2 * tp.max_packets_out)


@compiled
def current_ssthresh(tp):
    if in_cwnd_reduction(tp):
        return tp.snd_ssthresh
    return max(tp.snd_ssthresh, (tp.snd_cwnd >> 1) + (tp.snd_cwnd >> 2))


@compiled
def cwnd_validate(tp, now, cwnd_limited):
    """Remember how much of the window was used; an application that does not fill it does not keep it."""
    packets_out = tp.snd_nxt - tp.snd_una
    if (
        tp.snd_una >= tp.cwnd_usage_seq
        or cwnd_limited
        or (tp.is_cwnd_limited == 0 and packets_out > tp.max_packets_out)
    ):
        tp.is_cwnd_limited = 1 if cwnd_limited else 0
        tp.max_packets_out = packets_out
        tp.cwnd_usage_seq = tp.snd_nxt
    ticks = jiffies(tp, now)
    if is_cwnd_limited(tp):
        tp.snd_cwnd_used = 0
        tp.snd_cwnd_stamp = ticks
        return
    tp.snd_cwnd_used = max(tp.snd_cwnd_used, packets_out)
    if tp.idle_restart and ticks - tp.snd_cwnd_stamp >= tp.rto:
        if tp.ca_state == OPEN:
            used = max(tp.snd_cwnd_used, tp.initial_window)
            if used < tp.snd_cwnd:
                tp.snd_ssthresh = current_ssthresh(tp)
                tp.snd_cwnd = (tp.snd_cwnd + used) >> 1
            tp.snd_cwnd_used = 0
        tp.snd_cwnd_stamp = ticks


@compiled
def cwnd_restart(w, tp, now, idle):
    """Halve the window for every timeout that the sender was idle (RFC 2861)."""
    tp.snd_ssthresh = current_ssthresh(tp)
    least = min(tp.initial_window, tp.snd_cwnd)
    cwnd = tp.snd_cwnd
    idle -= tp.rto
    while idle > 0 and cwnd > least:
        cwnd >>= 1
        idle -= tp.rto
    tp.snd_cwnd = max(cwnd, least)
    tp.snd_cwnd_stamp = jiffies(tp, now)
    tp.snd_cwnd_used = 0
    note(w, tp, now, IDLE_RESTART, NONE, False)


@compiled
def set_ca_state(w, tp, now, state):
    if state == LOSS and tp.cc == CUBIC:
        cubic_reset(tp, now)
    if tp.ca_state != state:
        tp.ca_state = state
        note(w, tp, now, STATE, NONE, False)


@compiled
def cubic_reset(tp, now):
    tp.cnt = tp.last_max_cwnd = tp.last_cwnd = tp.last_time = tp.origin_point = tp.k = 0
    tp.delay_min = tp.epoch_start = tp.ack_cnt = tp.tcp_cwnd = tp.found = 0
    hystart_reset(tp, now)


@compiled
def hystart_reset(tp, now):
    tp.round_start = tp.last_ack = now // 1000
    tp.end_seq = tp.snd_nxt
    tp.curr_rtt = NEVER
    tp.sample_cnt = 0


@compiled
def cwnd_event_tx_start(tp, now):
    """CUBIC's clock stands still while there is nothing to send."""
    ticks = jiffies(tp, now)
    idle = ticks - tp.lsndtime
    if tp.cc == CUBIC and tp.epoch_start and idle > 0:
        tp.epoch_start = min(tp.epoch_start + idle, ticks)


@compiled
def ssthresh_after_loss(tp):
    if tp.cc == RENO:
        return max(tp.snd_cwnd >> 1, 2)
    tp.epoch_start = 0
    if tp.snd_cwnd < tp.last_max_cwnd:  # fast convergence
        tp.last_max_cwnd = tp.snd_cwnd * (1024 + CUBIC_BETA) // 2048
    else:
        tp.last_max_cwnd = tp.snd_cwnd
    return max(tp.snd_cwnd * CUBIC_BETA // 1024, 2)


@compiled
def hystart_update(tp, now, delay):
    """Leave slow start when a train of acknowledgements gets long or the delay grows."""
    if tp.snd_una > tp.end_seq:
        hystart_reset(tp, now)
    if tp.snd_cwnd < HYSTART_LOW_WINDOW:
        return
    clock = now // 1000
    if clock - tp.last_ack <= HYSTART_ACK_DELTA_US:
        tp.last_ack = clock
        threshold = tp.delay_min
        if tp.pacing_rate:
            threshold += min(1000, GSO_MAX_BYTES * 4 * 1_000_000 // tp.pacing_rate)
        if clock - tp.round_start > threshold >> 1:  # not paced
            tp.found = 1
            tp.snd_ssthresh = tp.snd_cwnd
    tp.curr_rtt = min(tp.curr_rtt, delay)
    if tp.sample_cnt < HYSTART_MIN_SAMPLES:
        tp.sample_cnt += 1
    elif tp.curr_rtt > tp.delay_min + min(max(tp.delay_min >> 3, 4000), 16000):
        tp.found = 1
        tp.snd_ssthresh = tp.snd_cwnd


@inlined
def cubic_acked(tp, now, rtt_us):
    if rtt_us < 0 or (tp.epoch_start and jiffies(tp, now) - tp.epoch_start < tp.hz):
        return
    delay = max(rtt_us, 1)
    if tp.delay_min == 0 or tp.delay_min > delay:
        tp.delay_min = delay
    if tp.found == 0 and tp.hystart and in_slow_start(tp):
        hystart_update(tp, now, delay)


@compiled
def cubic_update(tp, now, acked):
    """bictcp_update: how many acknowledgements make the window grow by one."""
    cwnd = tp.snd_cwnd
    ticks = jiffies(tp, now)
    tp.ack_cnt += acked
    if tp.last_cwnd == cwnd and ticks - tp.last_time <= tp.hz // 32:
        return
    if not (tp.epoch_start and ticks == tp.last_time):
        tp.last_cwnd = cwnd
        tp.last_time = ticks
        if tp.epoch_start == 0:
            tp.epoch_start = ticks
            tp.ack_cnt = acked
            tp.tcp_cwnd = cwnd
            if tp.last_max_cwnd <= cwnd:
                tp.k = 0
                tp.origin_point = cwnd
            else:
                tp.k = np.int64(np.cbrt(2.0**40 / (CUBIC_SCALE * 10) * (tp.last_max_cwnd - cwnd)))
                tp.origin_point = tp.last_max_cwnd
        t = ((ticks - tp.epoch_start + usecs_to_jiffies(tp, tp.delay_min)) << 10) // tp.hz
        away = abs(t - tp.k)
        delta = np.int64(min(CUBIC_SCALE * 10.0 * away * away * away / 2.0**40, 1e15))  # within 64 bits
        target = tp.origin_point - delta if t < tp.k else tp.origin_point + delta
        tp.cnt = cwnd // (target - cwnd) if target > cwnd else 100 * cwnd
        if tp.last_max_cwnd == 0 and tp.cnt > 20:
            tp.cnt = 20
    # as fast as Reno would be
    delta = (cwnd * BETA_SCALE) >> 3
    while tp.ack_cnt > delta:
        tp.ack_cnt -= delta
        tp.tcp_cwnd += 1
    if tp.tcp_cwnd > cwnd:
        tp.cnt = min(tp.cnt, cwnd // (tp.tcp_cwnd - cwnd))
    tp.cnt = max(tp.cnt, 2)


@inlined
def cong_avoid(tp, now, acked):
    tp.snd_cwnd_stamp = jiffies(tp, now)
    if not is_cwnd_limited(tp):
        return
    if in_slow_start(tp):
        cwnd = min(tp.snd_cwnd + acked, tp.snd_ssthresh)
        acked -= cwnd - tp.snd_cwnd
        tp.snd_cwnd = cwnd
        if acked == 0:
            return
    if tp.cc == CUBIC:
        cubic_update(tp, now, acked)
        step = tp.cnt
    else:
        step = tp.snd_cwnd
    if tp.snd_cwnd_cnt >= step:
        tp.snd_cwnd_cnt = 0
        tp.snd_cwnd += 1
    tp.snd_cwnd_cnt += acked
    if tp.snd_cwnd_cnt >= step:
        delta = tp.snd_cwnd_cnt // step
        tp.snd_cwnd_cnt -= delta * step
        tp.snd_cwnd += delta


@compiled
def init_cwnd_reduction(tp):
    tp.high_seq = tp.snd_nxt
    tp.tlp_high_seq = NONE
    tp.snd_cwnd_cnt = 0
    tp.prior_cwnd = tp.snd_cwnd
    tp.prr_delivered = 0
    tp.prr_out = 0
    tp.snd_ssthresh = ssthresh_after_loss(tp)


@compiled
def cwnd_reduction(tp, acked, lost):
    """Proportional rate reduction."""
    if acked <= 0 or tp.prior_cwnd == 0:
        return
    flight = in_flight(tp)
    delta = tp.snd_ssthresh - flight
    tp.prr_delivered += acked
    if delta < 0:
        count = (tp.snd_ssthresh * tp.prr_delivered + tp.prior_cwnd - 1) // tp.prior_cwnd - tp.prr_out
    else:
        count = max(tp.prr_delivered - tp.prr_out, acked)
        if tp.flag & SND_UNA_ADVANCED and lost == 0:
            count += 1
        count = min(delta, count)
    tp.snd_cwnd = flight + max(count, 0 if tp.prr_out else 1)


@compiled
def end_cwnd_reduction(tp, now):
    if tp.snd_ssthresh < INFINITE_SSTHRESH and (tp.ca_state == CWR or tp.undo_marker != NONE):
        tp.snd_cwnd = tp.snd_ssthresh
        tp.snd_cwnd_stamp = jiffies(tp, now)


@inlined
def update_pacing_rate(tp):
    percent = 200 if tp.snd_cwnd < tp.snd_ssthresh // 2 else 120
    rate = tp.mss * 80_000 * percent * max(tp.snd_cwnd, tp.snd_nxt - tp.snd_una)
    tp.pacing_rate = rate // max(tp.srtt_us, 1)


# loss detection and recovery


@compiled
def highest_sack(tp):
    return tp.fack if tp.sacked_out else tp.snd_una


@compiled
def check_reordering(tp, low):
    metric = highest_sack(tp) - low
    if metric <= 0:
        return
    if metric > tp.reordering:
        tp.reordering = min(metric, MAX_REORDERING)
    tp.reord_seen += 1


@compiled
def mark_lost(w, tp, place):
    packet = w.packets[tp.base + place]
    if packet.flags & SACKED_ACKED:
        return
    if tp.hint == NONE:
        if tp.retrans_out >= tp.lost_out:
            tp.hint = place
    elif place < tp.hint:
        tp.hint = place
    if packet.flags & LOST:
        if packet.flags & SACKED_RETRANS:
            packet.flags &= ~SACKED_RETRANS
            tp.retrans_out -= 1
            tp.lost += 1
    else:
        tp.lost += 1
        tp.lost_out += 1
        packet.flags |= LOST


@inlined
def rack_advance(tp, now, flags, end, sent):
    """The newest packet known to have arrived (RFC 8985, section 6.2, step 2)."""
    sent_us = sent // 1000
    rtt_us = now // 1000 - sent_us
    if rtt_us < tp.rtt_min_us and flags & (EVER_RETRANS | SACKED_RETRANS):
        return
    tp.rack_advanced = 1
    tp.rack_rtt_us = rtt_us
    if sent_after(sent_us, tp.rack_mstamp, end, tp.rack_end):
        tp.rack_mstamp = sent_us
        tp.rack_end = end


@compiled
def rack_reo_wnd(tp):
    if tp.reord_seen == 0 and (tp.ca_state >= RECOVERY or tp.sacked_out >= tp.dup_thresh):
        return 0
    return min((tp.rtt_min_us >> 2) * tp.rack_steps, tp.srtt_us >> 3)


@compiled
def rack_detect_loss(w, tp, now):
    """Mark what was sent long enough before the newest delivery; the time until the rest is due, in us."""
    longest = 0
    reo_wnd = rack_reo_wnd(tp)
    place = tp.oldest
    while place != NONE:
        packet = w.packets[tp.base + place]
        following = packet.after
        if not (packet.flags & LOST and packet.flags & SACKED_RETRANS == 0):
            if not sent_after(tp.rack_mstamp, packet.sent // 1000, tp.rack_end, place + 1):
                break
            remaining = tp.rack_rtt_us + reo_wnd - (now // 1000 - packet.sent // 1000)
            if remaining <= 0:
                mark_lost(w, tp, place)
                unlink(w, tp, place)
            else:
                longest = max(longest, remaining)
        place = following
    return longest


@compiled
def identify_packet_loss(w, tp, now):
    if tp.rack_advanced == 0:
        return
    prior_retrans = tp.retrans_out
    tp.rack_advanced = 0
    timeout = rack_detect_loss(w, tp, now)
    if timeout:
        reset_timer(tp, now, REO_TIMEOUT, usecs_to_jiffies(tp, timeout + 2000))
        tp.flag &= ~SET_XMIT_TIMER
    if prior_retrans > tp.retrans_out:
        tp.flag |= LOST_RETRANS


@compiled
def rack_update_reo_wnd(tp):
    if tp.prior_delivered == 0:
        return
    if tp.prior_delivered < tp.rack_last_delivered:
        tp.rack_dsack_seen = 0
    if tp.rack_dsack_seen:
        tp.rack_steps = min(255, tp.rack_steps + 1)
        tp.rack_dsack_seen = 0
        tp.rack_last_delivered = tp.delivered
        tp.rack_persist = RACK_RECOVERY_THRESH
    elif tp.rack_persist == 0:
        tp.rack_steps = 1


@compiled
def init_undo(tp):
    tp.undo_marker = tp.snd_una
    tp.undo_retrans = tp.retrans_out
    if tp.tlp_high_seq != NONE and tp.tlp_retrans:
        tp.undo_retrans += 1
    if tp.undo_retrans == 0:
        tp.undo_retrans = -1


@compiled
def echo_before(tp, stamp):
    """Whether what is acknowledged was sent before `stamp`, by the time stamp that came back (Eifel)."""
    return tp.tsecr != 0 and tp.tsecr < stamp


@compiled
def packet_delayed(tp):
    return tp.retrans_stamp == 0 or echo_before(tp, tp.retrans_stamp)


@compiled
def may_undo(tp):
    return tp.undo_marker != NONE and (tp.undo_retrans == 0 or packet_delayed(tp))


@compiled
def undo_cwnd_reduction(w, tp, now, unmark_loss):
    """The loss was none: take back what it did to the window."""
    if unmark_loss:
        for place in range(tp.snd_una, tp.snd_nxt):
            w.packets[tp.base + place].flags &= ~LOST
        tp.lost_out = 0
        tp.hint = NONE
    if tp.prior_ssthresh:
        tp.snd_cwnd = max(tp.snd_cwnd, tp.prior_cwnd)
        tp.snd_ssthresh = max(tp.snd_ssthresh, tp.prior_ssthresh)
    tp.snd_cwnd_stamp = jiffies(tp, now)
    tp.undo_marker = NONE
    tp.rack_advanced = 1
    note(w, tp, now, UNDO, NONE, False)


@compiled
def any_retrans_done(w, tp):
    if tp.retrans_out:
        return True
    return tp.snd_una < tp.snd_nxt and w.packets[tp.base + tp.snd_una].flags & EVER_RETRANS != 0


@compiled
def try_undo_recovery(w, tp, now):
    if may_undo(tp):
        undo_cwnd_reduction(w, tp, now, False)
    elif tp.rack_persist:
        tp.rack_persist -= 1
    set_ca_state(w, tp, now, OPEN)


@compiled
def try_undo_dsack(w, tp, now):
    """All retransmissions were needless, D-SACK says."""
    if tp.undo_marker == NONE or tp.undo_retrans:
        return False
    tp.rack_persist = min(RACK_RECOVERY_THRESH, tp.rack_persist + 1)
    undo_cwnd_reduction(w, tp, now, False)
    return True


@compiled
def try_undo_loss(w, tp, now, frto_undo):
    if not frto_undo and not may_undo(tp):
        return False
    undo_cwnd_reduction(w, tp, now, True)
    tp.retransmits = 0
    set_ca_state(w, tp, now, OPEN)
    return True


@compiled
def try_undo_partial(w, tp, now, prior_snd_una):
    """A hole was filled by a late packet; whether its retransmission is still under way, so that nothing is done."""
    if tp.undo_marker == NONE or not packet_delayed(tp):
        return False
    check_reordering(tp, prior_snd_una)
    if tp.retrans_out:
        return True
    if not any_retrans_done(w, tp):
        tp.retrans_stamp = 0
    undo_cwnd_reduction(w, tp, now, True)
    try_keep_open(w, tp, now)
    return False


@compiled
def try_keep_open(w, tp, now):
    state = DISORDER if tp.sacked_out + tp.lost_out or any_retrans_done(w, tp) else OPEN
    if tp.ca_state != state:
        set_ca_state(w, tp, now, state)
        tp.high_seq = tp.snd_nxt


@compiled
def try_to_open(w, tp, now):
    if not any_retrans_done(w, tp):
        tp.retrans_stamp = 0
    if tp.ca_state != CWR:
        try_keep_open(w, tp, now)


@compiled
def enter_recovery(w, tp, now):
    if not any_retrans_done(w, tp):
        tp.retrans_stamp = 0
    tp.prior_ssthresh = 0
    init_undo(tp)
    if not in_cwnd_reduction(tp):
        tp.prior_ssthresh = current_ssthresh(tp)
        init_cwnd_reduction(tp)
    set_ca_state(w, tp, now, RECOVERY)


@compiled
def enter_loss(w, tp, now):
    """A retransmission timeout: what was not sent just now counts as lost, the window as one packet."""
    new_recovery = tp.ca_state < RECOVERY
    for place in range(tp.snd_una, tp.snd_nxt):
        packet = w.packets[tp.base + place]
        if place != tp.snd_una and tp.rack_rtt_us - (now // 1000 - packet.sent // 1000) > 0:
            continue
        mark_lost(w, tp, place)
    tp.hint = NONE
    if tp.ca_state <= DISORDER or tp.high_seq <= tp.snd_una or (tp.ca_state == LOSS and tp.retransmits == 0):
        tp.prior_ssthresh = current_ssthresh(tp)
        tp.prior_cwnd = tp.snd_cwnd
        tp.snd_ssthresh = ssthresh_after_loss(tp)
        init_undo(tp)
    tp.snd_cwnd = in_flight(tp) + 1
    tp.snd_cwnd_cnt = 0
    tp.snd_cwnd_stamp = jiffies(tp, now)
    if tp.ca_state <= DISORDER and tp.sacked_out >= tp.dup_thresh:
        tp.reordering = min(tp.reordering, tp.dup_thresh)
    set_ca_state(w, tp, now, LOSS)
    tp.high_seq = tp.snd_nxt
    tp.tlp_high_seq = NONE
    tp.frto = 1 if new_recovery or tp.retransmits else 0


@compiled
def retransmit_queue(w, tp, now):
    """Send again what is marked lost, as far as the window allows."""
    if tp.snd_una == tp.snd_nxt:
        return
    place = tp.snd_una if tp.hint == NONE else tp.hint
    hole = False
    rearm = False
    while place < tp.snd_nxt:
        if not hole:
            tp.hint = place
        if tp.snd_cwnd <= in_flight(tp) or tp.retrans_out >= tp.lost_out:
            break
        flags = w.packets[tp.base + place].flags
        if flags & LOST == 0:
            if not hole and flags & (SACKED_RETRANS | SACKED_ACKED) == 0:
                hole = True
        elif flags & (SACKED_ACKED | SACKED_RETRANS) == 0:
            retransmit_lost(w, tp, now, place)
            if in_cwnd_reduction(tp):
                tp.prr_out += 1
            if place == tp.snd_una and tp.pending != REO_TIMEOUT:
                rearm = True
        place += 1
    if rearm:
        reset_timer(tp, now, RETRANS, tp.rto)


@compiled
def xmit_recovery(w, tp, now):
    if tp.rexmit == REXMIT_NONE:
        return
    if tp.rexmit == REXMIT_NEW:
        write_xmit(w, tp, now, 0)
        if tp.snd_nxt > tp.high_seq:
            return
        tp.frto = 0
    retransmit_queue(w, tp, now)


@compiled
def send_loss_probe(w, tp, now):
    """New data, or else the last packet again, to make the receiver tell what it has (RFC 8985, section 7)."""
    probed = False
    if tp.tlp_high_seq == NONE:
        tp.tlp_retrans = 0
        if tp.cut < tp.written:
            probed = write_xmit(w, tp, now, 2) > 0
        else:
            retransmit(w, tp, now, tp.snd_nxt - 1)
            tp.tlp_retrans = 1
            probed = True
    if probed:
        tp.tlp_high_seq = tp.snd_nxt
        tp.pending = NO_TIMER
    rearm_rto(w, tp, now)


@compiled
def process_tlp_ack(w, tp, now, ack):
    if ack < tp.tlp_high_seq:
        return
    if tp.tlp_retrans == 0 or tp.flag & DSACK_TLP:
        tp.tlp_high_seq = NONE
    elif ack > tp.tlp_high_seq:
        # the probe repaired a loss
        init_cwnd_reduction(tp)
        set_ca_state(w, tp, now, CWR)
        end_cwnd_reduction(tp, now)
        try_keep_open(w, tp, now)
    elif tp.flag & (SND_UNA_ADVANCED | DATA | DATA_ACKED | DATA_SACKED) == 0:
        tp.tlp_high_seq = NONE


@compiled
def on_timer(w, tp, now):
    """The sender's one timer: reordering, loss probe or retransmission timeout."""
    what = tp.pending
    tp.fires = NEVER
    if what == REO_TIMEOUT:
        note(w, tp, now, REORDER_TIMEOUT, NONE, False)
        flight = in_flight(tp)
        rack_detect_loss(w, tp, now)
        if flight != in_flight(tp):
            if tp.ca_state != RECOVERY:
                enter_recovery(w, tp, now)
                tp.flag = 0
                cwnd_reduction(tp, 1, 0)
            retransmit_queue(w, tp, now)
        if tp.pending != RETRANS:
            rearm_rto(w, tp, now)
    elif what == LOSS_PROBE:
        note(w, tp, now, PROBE, NONE, False)
        send_loss_probe(w, tp, now)
    elif what == RETRANS:
        tp.pending = NO_TIMER
        if tp.snd_una == tp.snd_nxt:
            return
        note(w, tp, now, TIMEOUT, NONE, False)
        if tp.retransmits and tp.retrans_stamp and time_stamp_ms(tp, now) - tp.retrans_stamp >= tp.give_up_ms:
            tp.dead = 1
            return
        enter_loss(w, tp, now)
        tp.retransmits += 1
        retransmit_lost(w, tp, now, tp.snd_una)
        tp.backoff += 1
        tp.rto = min(tp.rto * 2, RTO_MAX_S * tp.hz)
        reset_timer(tp, now, RETRANS, tp.rto)


# acknowledgements


@inlined
def rtt_estimator(tp, rtt_us):
    """SRTT and RTTVAR, eightfold and fourfold; the floor of 200 ms is on the variance."""
    if tp.srtt_us == 0:
        tp.srtt_us = rtt_us << 3
        tp.mdev_us = rtt_us << 1
        tp.rttvar_us = max(tp.mdev_us, tp.min_rto_us)
        tp.mdev_max_us = tp.rttvar_us
        tp.rtt_seq = tp.snd_nxt
    else:
        error = rtt_us - (tp.srtt_us >> 3)
        tp.srtt_us += error
        if error < 0:
            error = -error - (tp.mdev_us >> 2)
            if error > 0:
                error >>= 3
        else:
            error -= tp.mdev_us >> 2
        tp.mdev_us += error
        if tp.mdev_us > tp.mdev_max_us:
            tp.mdev_max_us = tp.mdev_us
            tp.rttvar_us = max(tp.rttvar_us, tp.mdev_max_us)
        if tp.snd_una > tp.rtt_seq:
            if tp.mdev_max_us < tp.rttvar_us:
                tp.rttvar_us -= (tp.rttvar_us - tp.mdev_max_us) >> 2
            tp.rtt_seq = tp.snd_nxt
            tp.mdev_max_us = tp.min_rto_us
    tp.srtt_us = max(tp.srtt_us, 1)
    tp.rto = min(usecs_to_jiffies(tp, (tp.srtt_us >> 3) + tp.rttvar_us), RTO_MAX_S * tp.hz)
    tp.backoff = 0


@inlined
def count_delivered(w, tp, packet, place):
    """Account a packet that arrived, and which packet of them was sent last."""
    tp.delivered += 1
    if tp.prior_delivered == 0 or sent_after(packet.sent, tp.prior_delivered_sent, place, tp.prior_delivered_end):
        tp.prior_delivered = packet.delivered
        tp.prior_delivered_sent = packet.sent
        tp.prior_delivered_end = place


@inlined
def sack_packet(w, tp, now, place):
    """A packet beyond a gap arrived (tcp_sacktag_one)."""
    packet = w.packets[tp.base + place]
    flags = packet.flags
    rack_advance(tp, now, flags, place + 1, packet.sent)
    if flags & SACKED_RETRANS:
        if flags & LOST:
            flags &= ~(LOST | SACKED_RETRANS)
            tp.lost_out -= 1
            tp.retrans_out -= 1
    else:
        if flags & EVER_RETRANS == 0:
            if place < highest_sack(tp):
                tp.reord = min(tp.reord, place)
            if place < tp.high_seq:
                tp.flag |= ORIG_SACK_ACKED
            if tp.first_sackt == NONE:
                tp.first_sackt = packet.sent
            tp.last_sackt = packet.sent
        if flags & LOST:
            flags &= ~LOST
            tp.lost_out -= 1
    packet.flags = flags | SACKED_ACKED
    tp.flag |= DATA_SACKED
    tp.sacked_out += 1
    count_delivered(w, tp, packet, place)
    unlink(w, tp, place)
    if tp.sacked_out == 1 or place + 1 > tp.fack:
        tp.fack = place + 1


@inlined
def sack_block(w, tp, now, start, end):
    """Mark a block; `jump` skips what earlier blocks from the same start have marked."""
    start = max(start, tp.snd_una)
    end = min(end, tp.snd_nxt)
    place = start
    while place < end:
        packet = w.packets[tp.base + place]
        if packet.flags & SACKED_ACKED:
            place = max(place + 1, packet.jump)
        else:
            sack_packet(w, tp, now, place)
            place += 1
    if start < end:
        w.packets[tp.base + start].jump = max(place, w.packets[tp.base + start].jump)


@compiled
def check_dsack(w, tp, flying, prior_snd_una):
    """The receiver got something twice."""
    if flying.dsack == 0:
        return
    start, end = flying.start[0], flying.end[0]
    if end - start == 1 and tp.tlp_high_seq == end:
        tp.flag |= DSACK_TLP
    tp.dsack_dups += end - start
    if tp.dsack_dups > tp.total_retrans:
        return
    if tp.reord_seen and tp.flag & DSACK_TLP == 0:
        tp.rack_dsack_seen = 1
    tp.flag |= DSACKING_ACK
    if tp.undo_marker != NONE and tp.undo_retrans > 0 and end <= prior_snd_una and end > tp.undo_marker:
        tp.undo_retrans = max(0, tp.undo_retrans - (end - start))
    # above the cumulative acknowledgement the packet is still in the queue
    for place in range(max(start, tp.snd_una), min(end, tp.snd_nxt)):
        packet = w.packets[tp.base + place]
        if packet.flags & (EVER_RETRANS | SACKED_RETRANS):
            if tp.undo_marker != NONE and tp.undo_retrans > 0 and place + 1 > tp.undo_marker:
                tp.undo_retrans -= 1
            if packet.flags & SACKED_ACKED:
                tp.reord = min(tp.reord, place)
        if packet.flags & SACKED_RETRANS:
            packet.flags &= ~SACKED_RETRANS
            tp.retrans_out -= 1


@inlined
def clean_rtx_queue(w, tp, now, prior_snd_una, prior_fack):
    """Drop what is acknowledged for good, take the round-trip time."""
    first_ackt = NONE
    last_ackt = NONE
    reord = tp.snd_nxt
    for place in range(prior_snd_una, tp.snd_una):
        packet = w.packets[tp.base + place]
        flags = packet.flags
        if flags & (SACKED_RETRANS | EVER_RETRANS):
            if flags & SACKED_RETRANS:
                tp.retrans_out -= 1
            tp.flag |= RETRANS_DATA_ACKED
        elif flags & SACKED_ACKED == 0:
            last_ackt = packet.sent
            if first_ackt == NONE:
                first_ackt = last_ackt
            reord = min(reord, place)
            if place < tp.high_seq:
                tp.flag |= ORIG_SACK_ACKED
        if flags & SACKED_ACKED:
            tp.sacked_out -= 1
        else:
            count_delivered(w, tp, packet, place)
            spurious = flags & (SACKED_RETRANS | EVER_RETRANS) and echo_before(tp, time_stamp_ms(tp, packet.sent))
            if not spurious:
                rack_advance(tp, now, flags, place + 1, packet.sent)
        if flags & LOST:
            tp.lost_out -= 1
        unlink(w, tp, place)
        if place == tp.hint:
            tp.hint = NONE
        tp.flag |= DATA_ACKED

    seq_rtt_us = ca_rtt_us = np.int64(-1)
    if first_ackt != NONE and tp.flag & RETRANS_DATA_ACKED == 0:
        seq_rtt_us = now // 1000 - first_ackt // 1000
        ca_rtt_us = now // 1000 - last_ackt // 1000
    sack_rtt_us = np.int64(-1)
    if tp.first_sackt != NONE:
        sack_rtt_us = now // 1000 - tp.first_sackt // 1000
        ca_rtt_us = now // 1000 - tp.last_sackt // 1000
    if seq_rtt_us < 0:
        seq_rtt_us = sack_rtt_us
    if seq_rtt_us < 0 and tp.tsecr and tp.flag & DATA_ACKED:
        seq_rtt_us = ca_rtt_us = max(time_stamp_ms(tp, now) - tp.tsecr, 1) * 1000
    if seq_rtt_us >= 0:
        tp.rtt_min_us = min(tp.rtt_min_us, max(ca_rtt_us, 1))
        rtt_estimator(tp, seq_rtt_us)
    if tp.flag & DATA_ACKED:
        tp.flag |= SET_XMIT_TIMER
        if reord < prior_fack:
            check_reordering(tp, reord)
    elif sack_rtt_us > now // 1000 - w.packets[tp.base + tp.snd_una].sent // 1000:
        tp.flag |= SET_XMIT_TIMER
    if tp.cc == CUBIC:
        cubic_acked(tp, now, ca_rtt_us)


@compiled
def process_loss(w, tp, now):
    """An acknowledgement after a timeout: was it needless (F-RTO), is it over, go on."""
    recovered = tp.snd_una >= tp.high_seq
    if tp.flag & SND_UNA_ADVANCED and try_undo_loss(w, tp, now, False):
        return
    if tp.frto:
        if tp.flag & ORIG_SACK_ACKED and try_undo_loss(w, tp, now, True):
            return
        if tp.snd_nxt > tp.high_seq:
            duplicate = tp.flag & (SND_UNA_ADVANCED | DATA | DATA_ACKED | DSACKING_ACK) == 0
            if tp.flag & DATA_SACKED or duplicate:
                tp.frto = 0
        elif tp.flag & SND_UNA_ADVANCED and not recovered:
            tp.high_seq = tp.snd_nxt
            if tp.cut < tp.written:
                tp.rexmit = REXMIT_NEW
                return
            tp.frto = 0
    if recovered:
        try_undo_recovery(w, tp, now)
        return
    tp.rexmit = REXMIT_LOST


@compiled
def fastretrans_alert(w, tp, now, prior_snd_una):
    """The state machine of loss recovery."""
    if tp.ca_state == OPEN:
        tp.retrans_stamp = 0
    elif tp.snd_una >= tp.high_seq:
        if tp.ca_state == CWR:
            if tp.snd_una != tp.high_seq:
                end_cwnd_reduction(tp, now)
                set_ca_state(w, tp, now, OPEN)
        elif tp.ca_state == RECOVERY:
            try_undo_recovery(w, tp, now)
            end_cwnd_reduction(tp, now)
    if tp.ca_state == RECOVERY:
        if tp.flag & SND_UNA_ADVANCED and try_undo_partial(w, tp, now, prior_snd_una):
            return
        if try_undo_dsack(w, tp, now):
            try_to_open(w, tp, now)
        identify_packet_loss(w, tp, now)
        if tp.ca_state != RECOVERY:
            if tp.lost_out == 0:
                return
            enter_recovery(w, tp, now)
    else:
        if tp.ca_state == LOSS:
            process_loss(w, tp, now)
            identify_packet_loss(w, tp, now)
            if not (tp.ca_state == OPEN or tp.flag & LOST_RETRANS):
                return
        if tp.ca_state <= DISORDER:
            try_undo_dsack(w, tp, now)
        identify_packet_loss(w, tp, now)
        if tp.lost_out == 0:
            try_to_open(w, tp, now)
            return
        enter_recovery(w, tp, now)
    tp.rexmit = REXMIT_LOST


@compiled
def on_ack(w, tp, now, flying):
    """tcp_ack."""
    ack = flying.ack
    if ack < tp.snd_una:
        return
    prior_snd_una = tp.snd_una
    prior_packets = tp.snd_nxt - tp.snd_una
    prior_delivered, prior_lost = tp.delivered, tp.lost
    prior_fack = highest_sack(tp)
    tp.flag = DATA if flying.packet != NONE else 0
    tp.rexmit = REXMIT_NONE
    tp.first_sackt = NONE
    tp.prior_delivered = 0
    tp.reord = tp.snd_nxt
    tp.tsecr = flying.tsecr
    tp.send_end = max(tp.send_end, flying.window_end)
    if ack > prior_snd_una:
        tp.flag |= SND_UNA_ADVANCED
        tp.retransmits = 0
        tp.snd_una = ack
    if flying.blocks and prior_packets:
        check_dsack(w, tp, flying, prior_snd_una)
        # the lowest block first, as the kernel does: reordering is told from what lies above
        done = NONE
        for _ in range(flying.dsack, flying.blocks):
            lowest = NONE
            for i in range(flying.dsack, flying.blocks):
                if flying.start[i] > done and (lowest == NONE or flying.start[i] < flying.start[lowest]):
                    lowest = i
            if lowest == NONE:
                break
            done = flying.start[lowest]
            sack_block(w, tp, now, done, flying.end[lowest])
        if tp.ca_state != LOSS or tp.undo_marker != NONE:
            check_reordering(tp, tp.reord)
    elif flying.blocks:
        check_dsack(w, tp, flying, prior_snd_una)
    if prior_packets == 0:
        if tp.flag & DSACKING_ACK:
            fastretrans_alert(w, tp, now, prior_snd_una)
        if tp.tlp_high_seq != NONE:
            process_tlp_ack(w, tp, now, ack)
        return
    clean_rtx_queue(w, tp, now, prior_snd_una, prior_fack)
    rack_update_reo_wnd(tp)
    if tp.tlp_high_seq != NONE:
        process_tlp_ack(w, tp, now, ack)
    if tp.flag & (DATA | DATA_ACKED) == 0 or tp.flag & (DATA_SACKED | DSACKING_ACK) or tp.ca_state != OPEN:
        fastretrans_alert(w, tp, now, prior_snd_una)
    if tp.flag & SET_XMIT_TIMER and not schedule_loss_probe(w, tp, now, True):
        rearm_rto(w, tp, now)
    delivered = tp.delivered - prior_delivered
    if in_cwnd_reduction(tp):
        cwnd_reduction(tp, delivered, tp.lost - prior_lost)
    elif tp.flag & (DATA_ACKED | DATA_SACKED if tp.reordering > tp.dup_thresh else DATA_ACKED):
        cong_avoid(tp, now, delivered)
    update_pacing_rate(tp)
    xmit_recovery(w, tp, now)


# receiving


@compiled
def send_ack(w, tp, now):
    note(w, tp, now, ACKED, NONE, False)
    launch(w, tp, now, NONE, TCP_HEADER + IP_HEADER + w.counters[2])


@compiled
def quick_acks(tp):
    """The next segments are acknowledged one by one."""
    tp.quick = max(tp.quick, MAX_QUICKACKS)


@compiled
def send_compressed_ack(w, tp, now):
    if tp.compressed:
        send_ack(w, tp, now)


@compiled
def extends(start, end, other_start, other_end):
    return start <= other_end and other_start <= end


@compiled
def drop_block(tp, place):
    tp.blocks -= 1
    for i in range(place, tp.blocks):
        tp.start[i], tp.end[i] = tp.start[i + 1], tp.end[i + 1]


@compiled
def new_block(w, tp, now, start, end):
    """Report a segment beyond a gap: the newest block first, four are kept (tcp_sack_new_ofo_skb)."""
    found = 0
    while found < tp.blocks and not extends(start, end, tp.start[found], tp.end[found]):
        found += 1
    if found >= 2:
        send_compressed_ack(w, tp, now)  # a third block would push out what was not reported yet
    if found < tp.blocks:
        start, end = min(start, tp.start[found]), max(end, tp.end[found])
        drop_block(tp, found)
    tp.blocks = min(tp.blocks + 1, 4)
    for i in range(tp.blocks - 1, 0, -1):
        tp.start[i], tp.end[i] = tp.start[i - 1], tp.end[i - 1]
    tp.start[0], tp.end[0] = start, end
    for i in range(tp.blocks - 1, 0, -1):
        if extends(tp.start[0], tp.end[0], tp.start[i], tp.end[i]):
            tp.start[0], tp.end[0] = min(tp.start[0], tp.start[i]), max(tp.end[0], tp.end[i])
            drop_block(tp, i)


@compiled
def forget_blocks(tp):
    """What is received in order is not reported as a block."""
    if tp.out_of_order == 0:
        tp.blocks = 0
        return
    for i in range(tp.blocks - 1, -1, -1):
        if tp.start[i] <= tp.rcv_nxt:
            drop_block(tp, i)


@inlined
def measure_rcv_mss(tp, size, pushed):
    """Short segments, and full ones that end a write, are acknowledged once they are read."""
    before = tp.last_seg_size
    tp.last_seg_size = 0
    if size >= tp.rcv_mss:
        tp.rcv_mss = size
        if pushed:
            tp.owes |= PUSHED
        return
    if size + TCP_HEADER >= MSS_DEFAULT + 20:
        tp.last_seg_size = size
        if size == before:
            tp.rcv_mss = size
            return
    if tp.owes & PUSHED:
        tp.owes |= PUSHED2
    tp.owes |= PUSHED


@inlined
def grow_window(tp, size):
    """While the receive window grows, every segment is acknowledged at once."""
    room = tp.window_limit - tp.window
    if room > 0:
        tp.window += min(room, 2 * max(tp.mss, size))
        tp.quick |= 1


@inlined
def event_data_recv(tp, now, size, pushed):
    tp.owes |= SCHED
    measure_rcv_mss(tp, size, pushed)
    ticks = jiffies(tp, now)
    if tp.ato == 0:
        quick_acks(tp)
        tp.ato = tp.delack_min
    else:
        pause = ticks - tp.lrcvtime
        if pause <= tp.delack_min // 2:
            tp.ato = (tp.ato >> 1) + tp.delack_min // 2
        elif pause < tp.ato:
            tp.ato = min((tp.ato >> 1) + pause, tp.rto)
        elif pause > tp.rto:
            quick_acks(tp)  # the sender seems to have restarted
    tp.lrcvtime = ticks
    if size >= 128:
        grow_window(tp, size)


@compiled
def delay_ack(w, tp, now):
    ato = tp.ato
    if ato > tp.delack_min:
        longest = tp.delack_max if tp.pingpong or tp.owes & PUSHED else tp.hz // 2
        if tp.srtt_us:
            longest = min(longest, max(usecs_to_jiffies(tp, tp.srtt_us >> 3), tp.delack_min))
        ato = min(ato, longest)
    ato = min(ato, tp.delack_max)
    ticks = jiffies(tp, now)
    timeout = ticks + ato
    if tp.owes & TIMER:
        if tp.delack_timeout <= ticks + (ato >> 2):
            send_ack(w, tp, now)
            return
        timeout = min(timeout, tp.delack_timeout)
    tp.owes |= SCHED | TIMER
    tp.delack_timeout = timeout
    tp.delack_fires = wheel(tp, now, timeout)


@compiled
def on_delack_timer(w, tp, now):
    tp.delack_fires = NEVER
    if tp.compressed:
        send_ack(w, tp, now)
        return
    tp.owes &= ~TIMER
    if tp.owes & SCHED:
        if tp.pingpong:
            tp.pingpong = 0
            tp.ato = tp.delack_min
        else:
            tp.ato = min(tp.ato * 2, tp.rto)
        send_ack(w, tp, now)


@inlined
def unacknowledged(w, tp, peer):
    """Bytes received in order since the last acknowledgement."""
    if tp.rcv_nxt == tp.rcv_wup:
        return np.int64(0)
    before = w.packets[peer.base + tp.rcv_wup - 1].end_byte if tp.rcv_wup else np.int64(0)
    return w.packets[peer.base + tp.rcv_nxt - 1].end_byte - before


@inlined
def ack_snd_check(w, tp, now, peer):
    """Acknowledge at once, later, or with others (__tcp_ack_snd_check)."""
    if tp.owes & SCHED == 0:
        return
    if (
        unacknowledged(w, tp, peer) > tp.rcv_mss
        or (tp.quick > 0 and tp.pingpong == 0)
        or tp.owes & NOW
        or (tp.out_of_order and (tp.compress == 0 or tp.compressed >= tp.comp_nr))
    ):
        send_ack(w, tp, now)
    elif tp.out_of_order == 0:
        delay_ack(w, tp, now)
    else:
        if tp.comp_rcv_nxt != tp.rcv_nxt:
            tp.comp_rcv_nxt = tp.rcv_nxt
            tp.dup_acks = 0
        if tp.dup_acks < 3:
            tp.dup_acks += 1
            send_ack(w, tp, now)
            return
        tp.compressed += 1
        if tp.comp_fires == NEVER:
            delay = min(tp.comp_delay, (tp.srtt_us >> 3) * 50)  # 5 % of the round trip
            tp.comp_fires = now + delay + tp.comp_slack


@inlined
def read(w, tp, now, peer):
    """The application takes what is there at once, which may owe an acknowledgement; then it answers."""
    if tp.owes & SCHED:
        emptied = tp.out_of_order == 0 and (tp.owes & PUSHED2 or (tp.owes & PUSHED and tp.pingpong == 0))
        if emptied or unacknowledged(w, tp, peer) > tp.rcv_mss:
            send_ack(w, tp, now)
    have = w.packets[peer.base + tp.rcv_nxt - 1].end_byte
    while tp.read_item < peer.items and w.items[peer.item + tp.read_item].end_byte <= have:
        w.items[peer.item + tp.read_item].complete = now
        if tp.read_item < tp.items and tp.way == 1:
            write(w, tp, now, tp.item + tp.read_item)
        tp.read_item += 1
        w.counters[3] -= 1


@compiled
def on_data(w, tp, now, flying, peer):
    """A segment with data: in order, beyond a gap, or known already."""
    place = flying.packet
    packet = w.packets[peer.base + place]
    if packet.received:
        tp.dsack_start, tp.dsack_end = place, place + 1
        tp.owes |= SCHED
        if place < tp.rcv_nxt:
            quick_acks(tp)
            tp.pingpong = 0
            tp.ato = tp.delack_min
            if place < tp.rcv_wup:
                send_ack(w, tp, now)
        ack_snd_check(w, tp, now, peer)
        return
    packet.received = 1
    item = packet.item
    while item < peer.item + peer.items and w.items[item].end_byte - w.items[item].size < packet.end_byte:
        w.items[item].first = min(w.items[item].first, now)
        item += 1
    if place > tp.rcv_nxt:
        tp.owes |= SCHED
        tp.out_of_order += 1
        grow_window(tp, packet.size)
        new_block(w, tp, now, place, place + 1)
        ack_snd_check(w, tp, now, peer)
        return
    tp.rcv_nxt += 1
    event_data_recv(tp, now, packet.size, packet.flags & PSH != 0)
    if tp.out_of_order:
        while tp.rcv_nxt < peer.snd_nxt and w.packets[peer.base + tp.rcv_nxt].received:
            tp.rcv_nxt += 1
            tp.out_of_order -= 1
        if tp.out_of_order == 0:
            tp.owes |= NOW
        forget_blocks(tp)
    ack_snd_check(w, tp, now, peer)
    read(w, tp, now, peer)


@compiled
def on_arrival(w, now, flying):
    tp = w.socks[flying.sock]
    peer = w.socks[tp.peer]
    if flying.packet == NONE or flying.packet <= tp.rcv_wup:
        tp.ts_recent = max(tp.ts_recent, flying.tsval)
    on_ack(w, tp, now, flying)
    if flying.packet != NONE:
        on_data(w, tp, now, flying, peer)
    if tp.cut < tp.written:
        write_xmit(w, tp, now, 0)


@inlined
def next_write(w, tp):
    if tp.way == 1 or tp.next_item == tp.items:
        return NEVER
    return w.items[tp.item + tp.next_item].due


@inlined
def reschedule(w, soonest, i):
    """Note when an end's next timer or write is."""
    tp = w.socks[i]
    time = NEVER
    if tp.dead == 0:
        time = min(min(tp.fires, tp.delack_fires), min(tp.comp_fires, next_write(w, tp)))
    place = (len(soonest) >> 1) + i
    while soonest[place] != time:
        soonest[place] = time
        if place == 1:
            break
        time = min(time, soonest[place ^ 1])
        place >>= 1


@entry
def run_tcp(w, soonest):
    """All connections on a link until all is delivered; `counters[3]` counts what is not.

    `soonest` is a tree of when each end has something to do, all NEVER at first: the root stands at 1, below i stand
    2 i and 2 i + 1, the ends are the second half. It is no part of the world, which costs time wherever that is handed
    on.
    """
    there, back = w.ways[0], w.ways[1]
    at = np.int64(0)  # when the last event was
    masks = len(w.flying[0]) - 1
    ends = len(soonest) // 2
    i = 0  # the end that something happens to; each one's first event is looked up first
    begun = 1
    while True:
        reschedule(w, soonest, i)
        if begun < len(w.socks):
            i = begun
            begun += 1
            continue
        if w.counters[3] <= 0 or w.counters[1]:
            break
        now = soonest[1]
        way = NONE
        if there.head < there.tail and w.flying[0, there.head & masks].arrival <= now:
            now, way = w.flying[0, there.head & masks].arrival, 0
        if back.head < back.tail and w.flying[1, back.head & masks].arrival < now:
            now, way = w.flying[1, back.head & masks].arrival, 1
        if way != NONE:
            at = now
            over = w.ways[way]
            flying = w.flying[way, over.head & masks]
            i = flying.sock
            on_arrival(w, now, flying)
            over.head += 1  # only now: the place is still being read
            if over.head == over.tail:
                over.head = over.tail = 0
            continue
        if now >= NEVER:
            break
        at = now
        place = 1
        while place < ends:
            place *= 2
            if soonest[place] != now:
                place += 1
        i = place - ends
        tp = w.socks[i]
        if tp.fires == now:
            on_timer(w, tp, now)
            if tp.dead:
                peer = w.socks[tp.peer]
                w.counters[3] -= tp.items - peer.read_item + peer.items - tp.read_item
                peer.dead = 1
                reschedule(w, soonest, tp.peer)
        elif tp.comp_fires == now:
            tp.comp_fires = NEVER
            send_compressed_ack(w, tp, now)
        elif tp.delack_fires == now:
            on_delack_timer(w, tp, now)
        else:
            tp.next_item += 1
            write(w, tp, now, tp.item + tp.next_item - 1)
    for end in range(len(w.socks)):
        note(w, w.socks[end], at, END, NONE, False)
