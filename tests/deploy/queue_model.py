"""A link as a queue whose rate changes with time, and what a client over it would tell its estimate."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import numpy as np

from splitimpera.deploy.messages import Response, Status

WIRE, DATA = 1520, 1448  # bytes of a packet, with headers and without
PING = 90


class Rate:
    """A rate that changes with time, from steps [(from_s, bit/s)] or moments at which a packet may go."""

    def __init__(self, steps, until_s=600.0):
        times = [*(step[0] for step in steps), until_s]
        rates = np.array([max(step[1], 1.0) for step in steps])  # an outage lets next to nothing through
        self.times, self.sent = np.array(times), np.concatenate([[0.0], np.cumsum(rates * np.diff(times) / 8)])

    @classmethod
    def of_moments(cls, moments_s, size=1504):
        rate = cls([(0.0, 1.0)])
        times, counts = np.unique(moments_s, return_counts=True)
        rate.times = np.concatenate([[0.0], np.ravel(np.column_stack([times, times + 5e-4]))])
        after = np.cumsum(counts) * float(size)
        rate.sent = np.concatenate([[0.0], np.ravel(np.column_stack([after - counts * size, after]))])
        rate.sent += np.arange(len(rate.sent)) * 1e-9
        return rate

    def bytes_until(self, t):
        return float(np.interp(t, self.times, self.sent))

    def when(self, sent):
        return float(np.interp(sent, self.sent, self.times)) if sent <= self.sent[-1] else inf

    def mean(self, from_s, to_s):
        return 8 * (self.bytes_until(to_s) - self.bytes_until(from_s)) / (to_s - from_s)

    @property
    def end_s(self):
        return float(self.times[-1])


@dataclass
class Model:
    """One run.

    Attributes:
        lost: Told the time of a packet, whether it is lost; both ways.
        pace_bps: How fast UDP frames are put onto the link.
        deadline_s: Until a frame with gaps is used, from its first packet.
        noise_s: By how much programs note times too late, on average.
        most_waiting: Bytes that the queue holds.
    """

    rate: Rate
    seconds: float
    fps: float = 20.0
    packets: int = 20
    carrier: str = "udp"
    delay_s: float = 0.02
    pace_bps: float = 50e6
    deadline_s: float = 0.3
    noise_s: float = 2e-4
    most_waiting: float = 3e5
    lost: object = lambda _t: False
    ping_s: float = 1.0
    seed: int = 1
    _taken: float = field(default=0.0, init=False)

    def through(self, t, size):
        """When a packet that enters the queue at t is at the other end; infinite: it is not."""
        entered = self.rate.bytes_until(t)
        if self.carrier == "udp" and self._taken - entered > self.most_waiting:
            return inf
        self._taken = max(self._taken, entered) + size
        return inf if self.lost(t) else self.rate.when(self._taken) + self.delay_s

    def late(self, rng):
        return rng.exponential(self.noise_s) if self.noise_s else 0.0

    def events(self):
        """[(time, method of the estimate, arguments)] in order; times of arguments are the caller's."""
        rng = np.random.default_rng(self.seed)
        found, begins = [], [(i / self.fps, 0, i) for i in range(int(self.seconds * self.fps))]
        if self.ping_s:
            begins += [(i * self.ping_s + 0.0131, 1, i) for i in range(int(self.seconds / self.ping_s))]
        self._window, self._last_s = 10, -inf
        for t, ping, number in sorted(begins):
            if ping:
                found.append((t, "probed", (number,)))
                back = self.through(t, PING) + self.delay_s
                if back < inf and not self.lost(back):
                    found.append((back + self.late(rng), "probe_answered", (number,)))
                continue
            found.append((t, "sent", (number, self.packets * DATA, self._counted(), self.deadline_s)))
            came, handed = self._udp(t) if self.carrier == "udp" else self._tcp(t)
            self._answer(found, rng, t, number, came, handed)
        return [one for one in sorted(found, key=lambda one: one[0]) if one[0] < self.seconds]

    def _counted(self):
        return self.packets if self.carrier == "udp" else 1

    def _udp(self, t):
        gap = 8 * WIRE / self.pace_bps
        return [self.through(t + i * gap, WIRE) for i in range(self.packets)], t + (self.packets - 1) * gap

    def _tcp(self, t):
        """Slow start, two new packets for each that is acknowledged, and nothing else."""
        if t - self._last_s > 0.2:
            self._window = 10
        came, window = [], self._window
        for i in range(self.packets):
            begins = t if i < window else came[(i - window) // 2] + self.delay_s
            came.append(self.through(begins, WIRE))
        self._window, self._last_s = max(window, self.packets), t
        return came, t

    def _answer(self, found, rng, t, number, came, handed):
        arrived = sorted(one for one in came if one < inf)
        give_up = (t + self.deadline_s + 1.0, "lost", (number,))
        if not arrived:
            found.append(give_up)
            return
        first = arrived[0] + self.late(rng)
        used = max(arrived[-1] + self.late(rng), first)
        if self.carrier == "udp" and (len(arrived) < self.packets or used - first > self.deadline_s):
            used = first + self.deadline_s
        missing = sum(one > used for one in came)
        total = used - first + 0.005
        back = first + total + self.delay_s
        gone = self.lost(back)
        if gone or back > give_up[0]:
            found.append(give_up)
        if gone:
            return
        response = Response(
            Status.OK,
            lost_packets=missing if self.carrier == "udp" else 0,
            missing_bytes=missing * DATA if self.carrier == "udp" else 0,
            assembled_s=used - first,
            total_s=total,
        )
        found.append((back + self.late(rng), "answered", (number, response, handed)))


def play(model, estimate, at=lambda _t: None, every_s=0.25):
    """Tell an estimate all of a run; `at` is called with the time, again and again."""
    next_s = every_s
    for t, method, arguments in model.events():
        while t >= next_s:
            at(next_s)
            next_s += every_s
        if method == "sent":
            number, size, packets, deadline_s = arguments
            estimate.sent(number, size, packets, t, deadline_s)
        elif method == "answered":
            number, response, handed_s = arguments
            estimate.answered(number, response, t, handed_s)
        else:
            getattr(estimate, method)(*arguments, t)
