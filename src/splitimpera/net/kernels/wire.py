"""A link: when what enters one of its ways arrives, and whether it does."""

from __future__ import annotations

import numpy as np

from splitimpera.net.kernels.compiling import compiled, inlined, record

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


@inlined
def used_with_gaps(frame):
    """When the receiver takes a frame as it is: it knows the deadline from the first datagram that came."""
    return frame.deadline if frame.first == NEVER else frame.first + frame.patience
