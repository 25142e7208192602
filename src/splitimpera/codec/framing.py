"""A payload <-> packets with their header: where packets begin and end, and what is missing when some are lost.

The simulator takes sizes and erasures from here, sockets the bytes. docs/protocol.md describes the header, so that
others can write and read it. Packets may come from anywhere: what makes no sense is dropped, no length is believed, and
no more memory is held than the receiver allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from math import inf
from struct import Struct
from typing import NamedTuple

import numpy as np

from splitimpera.core.array_types import IntArray
from splitimpera.core.errors import CodecError
from splitimpera.records.traffic import ByteRange, Payload

HEADER = Struct("!5I")
"""Version, kind and time left; plan; frame; offset; total. Network byte order."""
PLACE = Struct("!2I")
"""Its end: what the packets of a frame do not have in common begins there."""
HEADER_BYTES = 20
VERSION = 1
IP_UDP_HEADER_BYTES = 28
"""IPv4 without options, and UDP."""
TLS_RECORD_BYTES = 5 + 1 + 16
"""What a TLS 1.3 record adds: header, content type (RFC 8446, 5.1 and 5.2), tag of an AEAD such as AES-GCM."""
DTLS_RECORD_BYTES = 13 + 8 + 16
"""What a DTLS 1.2 record adds: header (RFC 6347, 4.1), explicit nonce and tag of AES-GCM (RFC 5288, 3)."""
WORD = 1 << 32
TIME_UNIT_S = 1e-5
UNLIMITED = (1 << 24) - 1
"""Of the units of time left: as many, or more, or no deadline."""

FRAMES_KEPT = 64
BYTES_KEPT = 1 << 27
FINISHED_KEPT = 1024
STREAM_START_BYTES = 1 << 14


class Kind(IntEnum):
    """What a packet carries."""

    FRAME = 1
    RESPONSE = 2
    HELLO = 3
    WELCOME = 4
    REFUSAL = 5
    PING = 6
    PONG = 7
    ACK = 8


class FrameId(NamedTuple):
    """What the packets of one frame have in common.

    Attributes:
        kind: What the frame is.
        plan: Number of the plan, below 2**32.
        frame: Number of the frame, below 2**32.
        total: Size of its payload in bytes.
    """

    kind: Kind
    plan: int
    frame: int
    total: int


@dataclass(frozen=True)
class ReceivedFrame:
    """What came of one frame.

    Attributes:
        data: Payload, with zeros where bytes are missing.
        erased: Ranges of missing bytes, in order; none touches the next.
        time_left_s: Time from sending the frame until its deadline, as its first packet to come says; infinite without
            a deadline.
    """

    id: FrameId
    data: bytes
    erased: tuple[ByteRange, ...]
    time_left_s: float

    @property
    def complete(self) -> bool:
        return not self.erased


def carried_bytes(room_bytes: int, element_bytes: int) -> int:
    """What a packet with so much room carries: whole elements; 0 where not even one fits."""
    return room_bytes // element_bytes * element_bytes


def packet_count(total: IntArray, carried: int) -> IntArray:
    """How many packets payloads of so many bytes take, same shape."""
    return -(-total // carried)


def packet_bounds(first: IntArray, last: IntArray, total: IntArray | int, carried: int) -> tuple[IntArray, IntArray]:
    """Where a run of packets begins and ends in its payload: the first byte, and the byte after the last one.

    Args:
        first, last: Numbers of the run's first and last packet, counted from 0.
        total: Size of the payload.
        carried: Bytes that each packet but the last one carries.
    """
    return first * carried, np.minimum((last + 1) * carried, total)


def packetise(
    payload: Payload,
    *,
    frame: int,
    plan: int,
    kind: Kind = Kind.FRAME,
    packet_bytes: int | None = None,
    time_left_s: float = inf,
) -> list[bytes]:
    """The packets of one frame in order, each with its header.

    Args:
        payload: Payload of the frame.
        frame: Number of the frame, below 2**32.
        plan: Number of the plan, below 2**32.
        kind: What the frame is.
        packet_bytes: Room for the payload in a packet, after the header; whole elements go into it. None: all goes
            into one packet, which is how a frame goes into a stream.
        time_left_s: Time until the frame's deadline; below 0 counts as 0, 167 s or more as no deadline.

    Raises:
        CodecError: a number does not fit its field, or there is no room for one element.

    Example:
        >>> packets = packetise(Payload(b"abcdef", element_bytes=2), frame=7, plan=1, packet_bytes=5)
        >>> [packet[HEADER_BYTES:] for packet in packets]
        [b'abcd', b'ef']
    """
    data, total = payload.data, len(payload.data)
    same = header_of(total, frame=frame, plan=plan, kind=kind, time_left_s=time_left_s)[: -PLACE.size]
    carried = max(total, 1) if packet_bytes is None else carried_bytes(packet_bytes, payload.element_bytes)
    if carried <= 0:
        raise CodecError(f"{packet_bytes} bytes hold no element of {payload.element_bytes}", where="packet_bytes")
    return [  # an empty payload needs its header, too
        same + PLACE.pack(start, total) + data[start : start + carried] for start in range(0, total or 1, carried)
    ]


def header_of(total: int, *, frame: int, plan: int, kind: Kind = Kind.FRAME, time_left_s: float = inf) -> bytes:
    """The header in front of a payload of so many bytes in a stream; arguments and errors as of `packetise`."""
    for name, number in (("frame", frame), ("plan", plan), ("total", total)):
        if not 0 <= number < WORD:
            raise CodecError(f"{number} does not fit into 32 bits", where=name)
    left = min(max(int(min(time_left_s / TIME_UNIT_S, UNLIMITED)), 0), UNLIMITED)
    return HEADER.pack(VERSION << 28 | kind << 24 | left, plan, frame, 0, total)


class Header(NamedTuple):
    """What a packet says of itself.

    Attributes:
        offset: Where in the payload its bytes begin.
        time_left_s: From sending the frame until its deadline; infinite without one.
    """

    id: FrameId
    offset: int
    time_left_s: float


def read_header(packet: bytes | bytearray) -> Header | None:
    """The header that a packet begins with; None where that is none."""
    if len(packet) < HEADER_BYTES:
        return None
    first_word, plan, frame, offset, total = HEADER.unpack_from(packet)
    kind, left = first_word >> 24 & 0xF, first_word & UNLIMITED
    if first_word >> 28 != VERSION or kind not in _KINDS or offset > total:
        return None
    return Header(FrameId(_KINDS[kind], plan, frame, total), offset, inf if left == UNLIMITED else left * TIME_UNIT_S)


_KINDS = {kind.value: kind for kind in Kind}


class Assembly:
    """A frame in flight.

    Attributes:
        missing: How many of its bytes have not come.
    """

    def __init__(self, id: FrameId, time_left_s: float) -> None:
        self.id = id
        self.time_left_s = time_left_s
        self.missing = id.total
        # the system's own zeros: a claim takes no memory
        self._data, self._came = np.zeros(id.total, np.uint8).data, bytearray(id.total)

    def put(self, offset: int, packet: bytes) -> None:
        """Take what is new in a packet that lies within the frame."""
        size = len(packet) - HEADER_BYTES
        place, part = slice(offset, offset + size), memoryview(packet)[HEADER_BYTES:]
        came = self._came[place]
        if 1 in came:
            new = np.frombuffer(came, np.uint8) == 0
            np.frombuffer(self._data[place], np.uint8)[new] = np.frombuffer(part, np.uint8)[new]
            size = int(np.count_nonzero(new))
        else:
            self._data[place] = part
        self._came[place] = b"\1" * len(part)
        self.missing -= size

    def frame(self) -> ReceivedFrame:
        """What came of it."""
        if self.missing == 0:
            return ReceivedFrame(self.id, self._data.tobytes(), (), self.time_left_s)
        return ReceivedFrame(self.id, self._data.tobytes(), tuple(self._gaps()), self.time_left_s)

    def _gaps(self) -> Iterator[ByteRange]:
        """Ranges of missing bytes; looked for as text is, which is quick even where little came of much."""
        end = 0
        while (start := self._came.find(0, end)) >= 0:
            end = self._came.find(1, start) % (self.id.total + 1)  # -1: nothing comes after it
            yield start, end


class Reassembler:
    """Puts frames together from packets that come in any order, twice, or not at all.

    Packets that make no sense are dropped; so are those of finished frames. Bytes that came once are never
    overwritten. It does not know who sent a packet: whoever may reach it without DTLS may forge one.

    Args:
        most_frames: Most frames in flight; the oldest gives way.
        most_bytes: Largest size of a frame, and of all frames in flight together.
    """

    def __init__(self, most_frames: int = FRAMES_KEPT, most_bytes: int = BYTES_KEPT) -> None:
        self.most_frames = most_frames
        self.most_bytes = most_bytes
        self._in_flight: dict[FrameId, Assembly] = {}
        self._held = 0
        self._finished: dict[FrameId, None] = {}

    @property
    def in_flight(self) -> tuple[FrameId, ...]:
        """The frames of which something came and something is missing, oldest first."""
        return tuple(self._in_flight)

    def add(self, packet: bytes) -> list[ReceivedFrame]:
        """Take one packet.

        Returns:
            the frames that are finished now: the packet's own where it is complete, and those that had to give way to
            it, with gaps.
        """
        header = read_header(packet)
        if header is None or not self.wants(header, len(packet)):
            return []
        assembly, gone = self._in_flight.get(header.id), list[ReceivedFrame]()
        if assembly is None:
            assembly, gone = self.begin(header)
        assembly.put(header.offset, packet)
        return gone if assembly.missing else gone + self.take(header.id)

    def wants(self, header: Header, size: int) -> bool:
        """Whether a packet of so many bytes, its header included, makes sense, and its frame is not finished."""
        id, offset, _ = header
        end = offset + size - HEADER_BYTES
        return end <= id.total <= self.most_bytes and (end > offset or id.total == 0) and id not in self._finished

    def begin(self, header: Header) -> tuple[Assembly, list[ReceivedFrame]]:
        """Make room for a frame of which a first packet is wanted; returns it, and those that had to give way."""
        id = header.id
        gone = list(self._make_room(id.total))
        self._held += id.total
        assembly = self._in_flight[id] = Assembly(id, header.time_left_s)
        return assembly, gone

    def take(self, id: FrameId) -> list[ReceivedFrame]:
        """A frame in flight as it is, at its deadline; nothing where it is not in flight. It is finished then."""
        assembly = self._in_flight.pop(id, None)
        if assembly is None:
            return []
        self._held -= id.total
        self._finished[id] = None
        if len(self._finished) > FINISHED_KEPT:
            del self._finished[next(iter(self._finished))]
        return [assembly.frame()]

    def _make_room(self, total: int) -> Iterator[ReceivedFrame]:
        """Finish the oldest frames until one more fits."""
        while self._in_flight and (len(self._in_flight) >= self.most_frames or self._held + total > self.most_bytes):
            yield from self.take(next(iter(self._in_flight)))


class StreamReader:
    """Reads frames from a stream, which may be cut anywhere: over TCP each frame has one header.

    What comes next goes into `room()`, then `took` is told how much that was: a large frame is received straight into
    its own memory. The system gives that page by page as bytes come: a header that announces much takes nothing.

    Args:
        most_bytes: Largest size of a frame; may be changed between frames.

    Attributes:
        part_bytes: How much of an unfinished frame came, its header included.
    """

    def __init__(self, most_bytes: int = BYTES_KEPT) -> None:
        self.most_bytes = most_bytes
        self.part_bytes = 0
        self._fault: CodecError | None = None
        self._start = memoryview(bytearray(STREAM_START_BYTES))
        self._header: Header | None = None
        self._data = memoryview(b"")

    def room(self) -> memoryview:
        """Where the next bytes of the stream go. Hold on to it no longer than until `took`."""
        if self._header is None:
            return self._start[self.part_bytes :]
        return self._data[self.part_bytes - HEADER_BYTES :]

    def took(self, size: int) -> list[ReceivedFrame]:
        """Take the bytes that were put into `room()`; returns the frames that are complete now, in order.

        Raises:
            CodecError: the stream is no sequence of frames, or one is too large. No frame can be found after that:
                close the connection.
        """
        self._check()
        self.part_bytes += size
        frames = self._whole() if self._header is not None else self._first()
        if not frames:
            self._check()
        return frames

    def feed(self, data: bytes) -> list[ReceivedFrame]:
        """`took`, of bytes that lie elsewhere; errors as of `took`."""
        frames: list[ReceivedFrame] = []
        while data:
            room = self.room()
            size = min(len(room), len(data))
            room[:size] = data[:size]
            del room
            frames += self.took(size)
            data = data[size:]
            if self._fault is not None:
                break
        return frames

    def _whole(self) -> list[ReceivedFrame]:
        """The frame that is received into its own memory, once all of it came."""
        assert self._header is not None
        id, _, time_left_s = self._header
        if self.part_bytes < HEADER_BYTES + id.total:
            return []
        data, self._data, self._header, self.part_bytes = bytes(self._data), memoryview(b""), None, 0
        return [ReceivedFrame(id, data, (), time_left_s)]

    def _first(self) -> list[ReceivedFrame]:
        """The frames that fit into the common memory; the beginning of another one goes where it belongs."""
        frames: list[ReceivedFrame] = []
        at, end = 0, self.part_bytes
        while end - at >= HEADER_BYTES:
            header = self._checked(bytes(self._start[at : at + HEADER_BYTES]))
            if header is None:
                break
            body, at = at + HEADER_BYTES, at + HEADER_BYTES + header.id.total
            if at > end:
                self._header, self.part_bytes = header, HEADER_BYTES + end - body
                self._data = np.empty(header.id.total, np.uint8).data
                self._data[: end - body] = self._start[body:end]
                return frames
            frames.append(ReceivedFrame(header.id, bytes(self._start[body:at]), (), header.time_left_s))
        self.part_bytes = end - at
        self._start[: self.part_bytes] = self._start[at:end]
        return frames

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _checked(self, start: bytes) -> Header | None:
        header = read_header(start)
        if header is None or header.offset != 0:
            self._fault = CodecError("a frame's header is expected in the stream, something else is there")
        elif header.id.total > self.most_bytes:
            self._fault = CodecError(
                f"a frame of {header.id.total} bytes is announced in the stream, {self.most_bytes} are the most"
            )
        return header if self._fault is None else None
