"""Frames as datagrams that are acknowledged, and sent again as long as they can come in time."""

from __future__ import annotations

import numpy as np

from splitimpera.net.kernels.compiling import compiled, entry, record
from splitimpera.net.kernels.wire import DROPPED, NEVER, enter, used_with_gaps

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
        used = used_with_gaps(frame)
        frame.complete = last if frame.lost == 0 or last <= used else used
        for place in range(frame.left, frame.left + count):
            came[place] = came[place] > frame.complete
            frame.arrived |= came[place] == 0
    return True
