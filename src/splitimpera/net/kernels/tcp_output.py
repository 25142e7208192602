"""Packets: cut, sent as far as the window allows, and sent again."""

from __future__ import annotations

import numpy as np

from splitimpera.net.kernels.compiling import compiled, inlined
from splitimpera.net.kernels.tcp_cong import cwnd_restart, cwnd_validate
from splitimpera.net.kernels.tcp_cubic import cwnd_event_tx_start
from splitimpera.net.kernels.tcp_state import (
    EVER_RETRANS,
    GSO_MAX_BYTES,
    IP_HEADER,
    LOSS_PROBE,
    NONE,
    PSH,
    RECOVERY,
    RETRANSMITTED,
    SACKED_RETRANS,
    SCHED,
    SENT,
    SORTED,
    TCP_HEADER,
    in_cwnd_reduction,
    in_flight,
    jiffies,
    note,
    time_stamp_ms,
)
from splitimpera.net.kernels.tcp_timer import rearm_rto, schedule_loss_probe
from splitimpera.net.kernels.wire import DROPPED, NEVER, enter

SIZE_GOAL = 45  # segments that a buffer of 64 KB holds


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
    """tcp_retransmit_skb.

    A packet may be retransmitted already, where an undo took back that it was lost, and then a timeout comes. The
    kernel counts it twice there (its debugging says "retrans_out leaked"); here it counts once, so that `retrans_stamp`
    can be cleared: otherwise a timeout long after would count as the end of as long a retransmission.
    """
    again = w.packets[tp.base + place].flags & SACKED_RETRANS
    retransmit(w, tp, now, place)
    w.packets[tp.base + place].flags |= SACKED_RETRANS
    if not again:
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
