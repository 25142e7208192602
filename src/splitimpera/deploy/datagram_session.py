"""A session of datagrams, whatever takes them to the peer: what is lost stays lost, but for `udp-arq`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from time import monotonic

from splitimpera.codec.framing import (
    FINISHED_KEPT,
    HEADER_BYTES,
    Assembly,
    FrameId,
    Header,
    Kind,
    Reassembler,
    ReceivedFrame,
    carried_bytes,
    packetise,
    read_header,
)
from splitimpera.core.errors import CodecError, LinkError
from splitimpera.deploy.base_session import MOST_OF_KIND, BaseSession, _ignore
from splitimpera.deploy.messages import REFUSAL
from splitimpera.deploy.pacer import Pacer, interleaved
from splitimpera.deploy.repeating import Arrivals, Repeats
from splitimpera.deploy.sessions import Limits, Message, Pace
from splitimpera.records.traffic import Payload

HELLO_AGAIN_S = 0.25
HELD_AT_MOST = 8
"""Packets that came before the program took the session."""


class _Part:
    """A frame of which something came and something is missing; `pace` is that of its hop."""

    def __init__(self, now_s: float, assembly: Assembly, pace: Pace) -> None:
        self.first_s = self.last_s = now_s
        self.id, self.assembly, self.pace = assembly.id, assembly, pace
        self.arrivals = Arrivals(assembly.id.total, max(pace.packet_bytes, 1))
        self.timer: asyncio.TimerHandle | None = None


class DatagramSession(BaseSession):
    """A session whose carrier hands in packets (`arrived`) and takes them away.

    Args:
        pace_of: How packets are sent, by the hop's number. How fast, and whether they are sent again, is that of the
            hop that the first hello names, whatever hops frames are for: the session goes over one link.
        put: Takes a packet to the peer; False where there is no room for it now, `resume` is called when there is.
        let_go: Called once at the end, with what went wrong.
        verified: Whether the peer is known to be where its packets say. To one that is not nothing larger is sent
            than came from it.

    Attributes:
        dropped: Packets that made no sense here.
    """

    carrier = "udp"

    def __init__(
        self,
        peer: str,
        serving: bool,
        limits: Limits,
        pace_of: Callable[[int], Pace],
        put: Callable[[bytes], bool],
        let_go: Callable[[LinkError | None], None],
        verified: bool = True,
    ) -> None:
        super().__init__(peer, serving, limits)
        self.dropped = 0
        self._pace_of, self._put, self._let_go, self._verified = pace_of, put, let_go, verified
        self._pacer: Pacer | None = None
        self._repeats: Repeats | None = None
        self._repeat_timer: asyncio.TimerHandle | None = None
        self._frames = Reassembler(limits.most_frames, limits.most_bytes)
        self._parts: dict[FrameId, _Part] = {}
        self._latest: _Part | None = None
        self._latest_start: bytes | None = None
        """All of its packets' header but the offset."""
        self._last_acks: dict[FrameId, bytes] = {}
        self._hello = self._welcome = b""
        self._welcomed: set[int] = set()
        self._hello_timer: asyncio.TimerHandle | None = None
        self._held: list[bytes] | None = []

    def settle(self, limits: Limits, pace_of: Callable[[int], Pace]) -> None:
        """See `Session.settle`; before the greeting there is nothing in flight."""
        super().settle(limits, pace_of)
        self._pace_of = pace_of
        if not self.greeted:
            self._frames = Reassembler(limits.most_frames, limits.most_bytes)

    def welcomed(self, number: int) -> bool:
        """Whether a hello for this hop has been answered."""
        return number in self._welcomed

    # Sending

    def _transmit(self, kind: Kind, number: int, frame: int, payload: Payload, time_left_s: float) -> int:
        if kind in MOST_OF_KIND:
            self._control(kind, number, frame, payload, time_left_s)
            return 1
        pacer = self._pacer
        if pacer is None:
            raise LinkError(f"{kind.name} cannot be sent before the greeting")
        waiting, size = pacer.waiting_bytes, len(payload.data)
        if size > self.limits.most_bytes or (waiting and waiting + size > self.limits.most_bytes):
            raise LinkError(
                f"{waiting} bytes wait to be sent to {self.peer}, {size} more are too many: "
                f"{self.limits.most_bytes} are the most"
            )
        pace = self._pace_of(number)
        try:
            packets = packetise(
                payload,
                frame=frame,
                plan=number,
                kind=kind,
                packet_bytes=pace.packet_bytes,
                time_left_s=time_left_s,
            )
        except CodecError as failure:
            raise LinkError(f"the frame cannot be sent in datagrams: {failure}") from None
        if self._repeats is not None:
            id = FrameId(kind, number, frame, size)
            carried = carried_bytes(pace.packet_bytes, payload.element_bytes)
            self._repeats.expect(id, carried, len(packets), monotonic(), time_left_s)
        pacer.add(interleaved(packets) if pace.interleaved else packets)
        return len(packets)

    def _control(self, kind: Kind, number: int, frame: int, payload: Payload, time_left_s: float) -> None:
        """Send what is no data: at once, in front of all that waits."""
        if kind is Kind.REFUSAL and not self._verified:
            payload = Payload(_shortened(payload.data, len(self._hello) - HEADER_BYTES))
        (packet,) = packetise(payload, frame=frame, plan=number, kind=kind, time_left_s=time_left_s)
        if kind in (Kind.HELLO, Kind.WELCOME):
            self._prepare(number)
        self._put(packet)
        if kind is Kind.HELLO:
            self._hello = packet
            self._say_hello_again(HELLO_AGAIN_S)
        elif kind is Kind.WELCOME:
            self._welcome = packet
            self._welcomed.add(number)

    def _say_hello_again(self, wait_s: float) -> None:
        def again() -> None:
            if not self.greeted and not self.closed:
                self._put(self._hello)
                self._say_hello_again(2 * wait_s)

        self._hello_timer = self._loop.call_later(wait_s, again)

    def _prepare(self, number: int) -> None:
        """Learn how packets of the hop that the greeting names are sent."""
        if self._pacer is None:
            pace = self._pace_of(number)
            self._pacer = Pacer(self._put, pace.rate_bps, pace.header_bytes, self._went if pace.again else None)
            if pace.again:
                self._repeats = Repeats(self.limits.most_frames, self.limits.idle_s, self._pacer.takes_s)

    def resume(self) -> None:
        """The system has room for packets again."""
        if self._pacer is not None and not self.closed:
            self._pacer.resume()

    async def sent(self) -> None:
        """See `Session.sent`."""
        if self._pacer is not None:
            await self._pacer.idle.wait()

    # Sending again

    def _went(self, packet: bytes, now_s: float) -> None:
        assert self._repeats is not None
        self._repeats.went(packet, now_s)
        if self._repeat_timer is None:
            self._plan_repeats()

    def _plan_repeats(self) -> None:
        assert self._repeats is not None
        next_s = self._repeats.next_s
        self._repeat_timer = None if next_s == inf else self._loop.call_at(next_s, self._repeat_overdue)

    def _repeat_overdue(self) -> None:
        assert self._repeats is not None
        assert self._pacer is not None
        self._repeat_timer = None
        overdue = self._repeats.overdue(monotonic(), self._wait_s())
        if overdue:
            self._pacer.add(overdue)
        if self._repeat_timer is None:
            self._plan_repeats()

    def _acknowledged(self, frame: ReceivedFrame, now_s: float) -> None:
        if self._repeats is None or self._pacer is None:
            self.dropped += 1
            return
        lost = self._repeats.acknowledged(frame.id, frame.data, now_s, self._wait_s())
        if lost:
            self._pacer.add(lost)

    def _wait_s(self) -> float:
        """From now until all that waits is with the peer."""
        assert self._repeats is not None
        assert self._pacer is not None
        smallest_s = min(self.round_trip_s, self._repeats.smallest_s)
        return self._pacer.waiting_s + (0.0 if smallest_s == inf else smallest_s / 2)

    # Receiving

    def take(self) -> None:
        """Hand on messages from now on."""
        held, self._held = self._held, None
        for packet in held or ():
            self.arrived(packet, monotonic())

    def arrived(self, packet: bytes, now_s: float) -> None:
        """A packet came."""
        if packet[:12] + packet[16:20] == self._latest_start:  # as most do: one of the same frame as the last one
            assert self._latest is not None
            self._more(self._latest, int.from_bytes(packet[12:16], "big"), packet, now_s)
            return
        if self._held is not None:
            if len(self._held) < HELD_AT_MOST:
                self._held.append(packet)
            return
        header = read_header(packet)
        if header is None or self.closed or not self._may_come(header.id.kind, header.id.total):
            self.dropped += 1
        elif header.id.kind not in MOST_OF_KIND:
            self._data(header, packet, now_s)
        elif header.offset or len(packet) != HEADER_BYTES + header.id.total:
            self.dropped += 1
        else:
            frame = ReceivedFrame(header.id, packet[HEADER_BYTES:], (), header.time_left_s)
            if header.id.kind is Kind.ACK:
                self._acknowledged(frame, now_s)
            elif header.id.kind is Kind.HELLO and self.welcomed(header.id.plan):
                if len(packet) >= len(self._welcome):  # no less than what it asks for
                    self._put(self._welcome)  # it was lost, or comes later than the client waits
            else:
                if header.id.kind is Kind.HELLO:
                    self._hello = packet
                self._came(Message(frame, now_s, now_s))

    def _data(self, header: Header, packet: bytes, now_s: float) -> None:
        """A packet of another frame than the last one."""
        id, pace = header.id, self._pace_of(header.id.plan)
        end = header.offset + len(packet) - HEADER_BYTES
        if not self._frames.wants(header, len(packet)) or not _is_piece(header.offset, end, id.total, pace):
            if self._repeats is not None and id in self._last_acks:
                self._acknowledge(id, self._last_acks[id])
            else:
                self.dropped += 1
            return
        part = self._parts.get(id)
        if part is None:
            assembly, gone = self._frames.begin(header)
            part = self._parts[id] = _Part(now_s, assembly, pace)
            for frame in gone:
                self._finished(frame, now_s)
            if header.time_left_s < inf:
                known = self.round_trip_s < inf
                until_s = now_s + header.time_left_s - (self.round_trip_s / 2 if known else 0.0)
                part.timer = self._loop.call_at(until_s, self._use, id)
        self._latest, self._latest_start = part, packet[:12] + packet[16:20]
        self._more(part, header.offset, packet, now_s)

    def _more(self, part: _Part, offset: int, packet: bytes, now_s: float) -> None:
        """A packet of a frame in flight."""
        end, total = offset + len(packet) - HEADER_BYTES, part.id.total
        if end > total or (end == offset and total) or not _is_piece(offset, end, total, part.pace):
            self.dropped += 1
            return
        part.last_s = now_s
        part.arrivals.add(offset, end)
        part.assembly.put(offset, packet)
        if self._repeats is not None:
            self._acknowledge(part.id, part.arrivals.acknowledgement())
        if not part.assembly.missing:
            self._use(part.id)

    def _acknowledge(self, id: FrameId, ack: bytes) -> None:
        (packet,) = packetise(Payload(ack), frame=id.frame, plan=id.plan, kind=Kind.ACK)
        self._put(packet)

    def _use(self, id: FrameId) -> None:
        """Hand a frame on as it is."""
        now_s = monotonic()
        for frame in self._frames.take(id):
            self._finished(frame, now_s)

    def _finished(self, frame: ReceivedFrame, now_s: float) -> None:
        part = self._parts.pop(frame.id, None)
        if part is None:
            return  # the session has been closed
        if part is self._latest:
            self._latest, self._latest_start = None, None
        if part.timer is not None:
            part.timer.cancel()
        if self._repeats is not None:
            self._last_acks[frame.id] = Arrivals.whole(part.arrivals.packets)
            if len(self._last_acks) > FINISHED_KEPT:
                del self._last_acks[next(iter(self._last_acks))]
        self._came(Message(frame, part.first_s, now_s, part.arrivals.lost))

    def _stuck(self, now_s: float) -> str:
        for id, part in tuple(self._parts.items()):
            if now_s - part.last_s >= self.limits.idle_s:
                self._use(id)
        return ""

    # The end

    def ended(self) -> None:
        """The peer has ended the session."""
        failure = None
        if not self.greeted and not self.serving:
            failure = LinkError(f"the server {self.peer} ended the session without an answer")
        self.close(failure)

    def _end(self, failure: LinkError | None) -> None:
        for timer in (self._hello_timer, self._repeat_timer, *(part.timer for part in self._parts.values())):
            if timer is not None:
                timer.cancel()
        self._parts.clear()
        self._latest, self._latest_start = None, None
        if self._pacer is not None:
            self._pacer.stop()
        let_go = self._let_go
        self._pacer = self._repeats = None
        self._put, self._let_go = _nowhere, _ignore
        let_go(failure)


def _nowhere(_packet: bytes) -> bool:
    return True


def _is_piece(offset: int, end: int, total: int, pace: Pace) -> bool:
    """Whether a packet carries as much as any of this hop's: all but the last are full up to an element.

    What is kept of each packet is then less than what it brings.
    """
    carried = end - offset
    return carried <= pace.packet_bytes and (end == total or 2 * carried > pace.packet_bytes)


def _shortened(refusal: bytes, most_bytes: int) -> bytes:
    """A refusal of so many bytes at most: its text is cut."""
    reason, _ = REFUSAL.unpack_from(refusal)
    text = refusal[REFUSAL.size : max(most_bytes, REFUSAL.size)]
    return REFUSAL.pack(reason, len(text)) + text
