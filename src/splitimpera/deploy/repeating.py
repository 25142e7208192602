"""Which datagrams are sent again (`udp-arq`): the rules of docs/protocol.md, without sockets, clocks or timers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf

from splitimpera.codec.framing import FrameId, read_header
from splitimpera.core.errors import LinkError
from splitimpera.deploy.messages import ACK, ACK_BITS

FIRST_ROUND_TRIP_S = 0.2
"""Taken until one was seen."""
SMOOTHING = 1 / 8
"""Weight of the newest round trip (RFC 6298, section 2)."""
LEAST_WAIT_S = 0.002
"""So long an acknowledgement may take at least: timers of systems are no finer."""
TRIES = 1000
SURELY = 0.9
"""An acknowledgement that comes sooner than this share of the smallest round trip is one of an earlier transmission."""


@dataclass
class _Frame:
    """A frame that is not acknowledged yet, by the numbers of its packets.

    Attributes:
        low: All packets before this one are acknowledged; `came` are those after it.
        latest: The last transmission of each that is not.
    """

    deadline_s: float
    carried: int
    packets: int
    low: int = 0
    came: set[int] = field(default_factory=set)
    latest: dict[int, _Transmission] = field(default_factory=dict)

    def has(self, place: int) -> bool:
        return place < self.low or place in self.came


@dataclass(eq=False)
class _Transmission:
    """A packet that went onto the link.

    Attributes:
        again: Whether it had been there before.
        known: The sender knows that it came, or holds it for lost.
    """

    packet: bytes
    frame: _Frame
    place: int
    order: int
    sent_s: float
    again: bool
    known: bool = False


class Repeats:
    """The sender's side. What is lost, by `acknowledged` and `overdue`, is to be sent again.

    Args:
        most_frames: Frames that are not acknowledged; the oldest is given up.
        give_up_s: A frame without a deadline is sent again for so long.
        takes_s: How long the link takes for a packet of so many bytes.

    Attributes:
        smoothed_s: Smoothed round trip.
        smallest_s: The smallest one.
    """

    def __init__(self, most_frames: int, give_up_s: float, takes_s: Callable[[int], float]) -> None:
        self.smoothed_s = FIRST_ROUND_TRIP_S
        self.smallest_s = inf
        self._most_frames, self._give_up_s, self._takes_s = most_frames, give_up_s, takes_s
        self._frames: dict[tuple[int, int], _Frame] = {}
        self._order: deque[_Transmission] = deque()
        self._transmissions = 0

    @property
    def next_s(self) -> float:
        """When something is overdue; infinite: nothing is under way."""
        while self._order and self._order[0].known:
            self._order.popleft()
        return self._order[0].sent_s + max(1.5 * self.smoothed_s, LEAST_WAIT_S) if self._order else inf

    def expect(self, id: FrameId, carried: int, packets: int, now_s: float, time_left_s: float) -> None:
        """A frame is to be sent, in so many packets of so many bytes."""
        while len(self._frames) >= self._most_frames:
            self._forget(next(iter(self._frames)))
        self._frames[id.plan, id.frame] = _Frame(now_s + min(time_left_s, self._give_up_s), max(carried, 1), packets)

    def went(self, packet: bytes, now_s: float) -> None:
        """A packet went onto the link."""
        header = read_header(packet)
        assert header is not None
        frame = self._frames.get((header.id.plan, header.id.frame))
        if frame is None:
            return
        place = header.offset // frame.carried
        if not frame.has(place):
            self._transmissions += 1
            sent = _Transmission(packet, frame, place, self._transmissions, now_s, place in frame.latest)
            frame.latest[place] = sent
            self._order.append(sent)

    def acknowledged(self, id: FrameId, ack: bytes, now_s: float, wait_s: float) -> list[bytes]:
        """An ACK came; returns what has to be sent again.

        Args:
            wait_s: From now until all that waits has arrived.

        Raises:
            LinkError: it is none.
        """
        if len(ack) != ACK.size:
            raise LinkError("the peer's acknowledgement is none of this protocol")
        key = id.plan, id.frame
        frame = self._frames.get(key)
        if frame is None:
            return []
        newest: _Transmission | None = None
        for place in _new(frame, *ACK.unpack(ack)):
            sent = frame.latest.pop(place, None)
            if sent is None or sent.known:
                continue
            sent.known = True
            sure = not sent.again or now_s - sent.sent_s >= SURELY * self.smallest_s
            if sure and (newest is None or sent.order > newest.order):
                newest = sent
        if frame.low >= frame.packets:
            self._forget(key)
        if newest is None:
            return []
        if not newest.again:
            self._measured(now_s - newest.sent_s)
        lost = []
        while self._order and self._order[0].order <= newest.order:
            lost.append(self._order.popleft())
        return self._again(lost, now_s, wait_s)

    def overdue(self, now_s: float, wait_s: float) -> list[bytes]:
        """What has to be sent again since it was not acknowledged in time; `wait_s` as in `acknowledged`."""
        lost = []
        while self.next_s <= now_s:
            lost.append(self._order.popleft())
        return self._again(lost, now_s, wait_s)

    def _again(self, lost: Iterable[_Transmission], now_s: float, wait_s: float) -> list[bytes]:
        """Those packets that can come before their deadline."""
        packets = []
        for sent in lost:
            if not sent.known:
                sent.known = True
                arrives_s = now_s + wait_s + self._takes_s(len(sent.packet))
                if arrives_s <= sent.frame.deadline_s:
                    packets.append(sent.packet)
                    wait_s = arrives_s - now_s
        return packets

    def _measured(self, round_trip_s: float) -> None:
        first = self.smallest_s == inf
        self.smallest_s = min(self.smallest_s, round_trip_s)
        self.smoothed_s += (1.0 if first else SMOOTHING) * (round_trip_s - self.smoothed_s)

    def _forget(self, key: tuple[int, int]) -> None:
        for sent in self._frames.pop(key).latest.values():
            sent.known = True


def _new(frame: _Frame, first: int, bits: int) -> Iterator[int]:
    """The packets that an acknowledgement tells of for the first time."""
    first = min(first, frame.packets)
    while frame.low < first:
        if frame.low in frame.came:
            frame.came.remove(frame.low)
        else:
            yield frame.low
        frame.low += 1
    while bits:
        place = first + bits.bit_length()
        bits &= ~(1 << bits.bit_length() - 1)
        if place < frame.packets and not frame.has(place):
            frame.came.add(place)
            yield place


class Arrivals:
    """The receiver's side: the packets of one frame that came.

    Args:
        total: Size of the frame.
        room_bytes: The most that a packet may carry.

    Attributes:
        offsets: Where each begins.
        carried: What each but the last carries; 0: not known yet.
    """

    def __init__(self, total: int, room_bytes: int) -> None:
        self.total, self.offsets = total, set[int]()
        self.carried = 0
        self._room_bytes = room_bytes
        self._first = 0

    def add(self, offset: int, end: int) -> None:
        """A packet from `offset` to `end` came."""
        self.offsets.add(offset)
        if not self.carried and end < self.total:
            self.carried = end - offset

    @property
    def packets(self) -> int:
        """How many packets the frame has."""
        return max(-(-self.total // self._step()), 1)

    @property
    def lost(self) -> int:
        """How many of them are missing."""
        return max(self.packets - len(self.offsets), 0)

    def acknowledgement(self) -> bytes:
        """An ACK of what came."""
        step = self._step()
        while self._first * step in self.offsets:
            self._first += 1
        bits = 0
        if self._first < len(self.offsets):
            for place in range(ACK_BITS):
                bits |= ((self._first + 1 + place) * step in self.offsets) << place
        return ACK.pack(self._first, bits)

    @staticmethod
    def whole(packets: int) -> bytes:
        """An ACK of all of a frame."""
        return ACK.pack(packets, 0)

    def _step(self) -> int:
        """What a packet carries. Where the last one alone came, its offset is a multiple of that."""
        if self.carried:
            return self.carried
        last = max(self.offsets, default=0)
        if not last:
            return max(self.total, 1)
        least = -(-last // self._room_bytes)
        return next((last // before for before in range(least, least + TRIES) if last % before == 0), self._room_bytes)
