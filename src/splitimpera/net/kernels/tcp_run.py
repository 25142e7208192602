"""All connections on a link, event by event."""

from __future__ import annotations

import numpy as np

from splitimpera.net.kernels.compiling import compiled, entry
from splitimpera.net.kernels.tcp_ack import on_ack
from splitimpera.net.kernels.tcp_output import write, write_xmit
from splitimpera.net.kernels.tcp_receiver import on_data, on_delack_timer, send_compressed_ack
from splitimpera.net.kernels.tcp_recovery import on_timer
from splitimpera.net.kernels.tcp_state import END, NONE, note
from splitimpera.net.kernels.tcp_turns import FREE, begin, finish, hear, reschedule
from splitimpera.net.kernels.wire import NEVER


@compiled
def on_arrival(w, now, flying):
    tp = w.socks[flying.sock]
    if tp.dead:  # what it had not read is no longer waited for
        return
    peer = w.socks[tp.peer]
    if flying.packet == NONE or flying.packet <= tp.rcv_wup:
        tp.ts_recent = max(tp.ts_recent, flying.tsval)
    on_ack(w, tp, now, flying)
    if flying.packet != NONE:
        on_data(w, tp, now, flying, peer)
    if tp.cut < tp.written:
        write_xmit(w, tp, now, 0)


@entry
def run_tcp(w, soonest, talk):
    """All connections on a link until all is delivered; `counters[3]` counts what is not.

    `soonest` is a tree of when each end has something to do, all NEVER at first: the root stands at 1, below i stand
    2 i and 2 i + 1, the ends are the second half. It is no part of the world, which costs time wherever that is handed
    on. `talk` has no users where all is known beforehand.
    """
    there, back = w.ways[0], w.ways[1]
    at = np.int64(0)  # when the last event was
    masks = len(w.flying[0]) - 1
    ends = len(soonest) // 2
    until, undelivered = NEVER - 1, np.int64(0)  # what happens then, or leaves no more, may make messages due
    if len(talk.current):
        undelivered = w.counters[3] - 1
        for user in range(len(talk.current)):
            begin(w, soonest, talk, user, talk.first[user], at)
    i = 0  # the end that something happens to; each one's first event is looked up first
    begun = 1
    while True:
        reschedule(w, soonest, i)
        if begun < len(w.socks):
            i = begun
            begun += 1
            continue
        if w.counters[3] <= undelivered or w.counters[1]:
            if w.counters[3] <= 0 or w.counters[1]:
                break
            hear(w, soonest, talk, i, at)
            until, undelivered = talk.state[FREE], w.counters[3] - 1
        now = soonest[1]
        way = NONE
        if there.head < there.tail and w.flying[0, there.head & masks].arrival <= now:
            now, way = w.flying[0, there.head & masks].arrival, 0
        if back.head < back.tail and w.flying[1, back.head & masks].arrival < now:
            now, way = w.flying[1, back.head & masks].arrival, 1
        if now > until:
            if until == NEVER - 1:
                break
            at = until
            finish(w, soonest, talk, at)
            until = talk.state[FREE]
            continue
        at = now
        if way != NONE:
            over = w.ways[way]
            flying = w.flying[way, over.head & masks]
            i = flying.sock
            on_arrival(w, now, flying)
            over.head += 1  # only now: the place is still being read
            if over.head == over.tail:
                over.head = over.tail = 0
            continue
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
