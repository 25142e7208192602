"""Data arrives: what is acknowledged, when, and with which blocks."""

from __future__ import annotations

import numpy as np

from splitimpera.net.kernels.compiling import compiled, inlined
from splitimpera.net.kernels.tcp_output import launch, write
from splitimpera.net.kernels.tcp_state import (
    ACKED,
    IP_HEADER,
    MSS_DEFAULT,
    NONE,
    NOW,
    PSH,
    PUSHED,
    PUSHED2,
    SCHED,
    TCP_HEADER,
    TIMER,
    jiffies,
    note,
    usecs_to_jiffies,
    wheel,
)
from splitimpera.net.kernels.wire import NEVER

MAX_QUICKACKS = 16


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
        if tp.answers and tp.read_item < tp.items:
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
