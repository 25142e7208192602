"""All connections on a link, event by event."""

from __future__ import annotations

import numpy as np

from splitimpera.net.kernels.compiling import compiled, entry, inlined
from splitimpera.net.kernels.tcp_ack import on_ack
from splitimpera.net.kernels.tcp_output import write, write_xmit
from splitimpera.net.kernels.tcp_receiver import on_data, on_delack_timer, send_compressed_ack
from splitimpera.net.kernels.tcp_recovery import on_timer
from splitimpera.net.kernels.tcp_state import END, NONE, note
from splitimpera.net.kernels.wire import NEVER


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
