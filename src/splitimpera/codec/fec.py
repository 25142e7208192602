"""Forward error correction over packets, around any other codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from splitimpera.codec.given import checked_bytes, checked_gaps
from splitimpera.core.array_types import Array
from splitimpera.core.errors import CodecError
from splitimpera.records.traffic import ByteRange, Codec, Payload

MOST_IN_GROUP = 256
DATA_PACKETS_AT_MOST = 1 << 17


class BoundedCodec(Codec, Protocol):
    """A codec that knows how long its payloads can become.

    Attributes:
        most_bytes: no payload is longer.
    """

    @property
    def most_bytes(self) -> int: ...


@dataclass(frozen=True)
class Layout:
    """How a payload of some size lies in packets of `packet_bytes`.

    k data packets, m repair packets; the order of sending is all data packets but the last, the repair packets, the
    last data packet, for that may be short. A group is every `groups`-th data and repair packet: any of its
    packets that are as many as its data packets give them all back.
    """

    size: int
    packet_bytes: int
    data: int
    repair: int

    @classmethod
    def of_packets(cls, size: int, packet_bytes: int, percent: int) -> Layout | None:
        """The layout of a payload with its repair packets; None: no payload has this size."""
        packets = -(-size // packet_bytes)
        data = packets * 100 // (100 + percent)
        for k in (data, data + 1):
            if k >= 1 and k + repair_packets(k, percent) == packets:
                return cls(size, packet_bytes, k, packets - k)
        return None

    @property
    def groups(self) -> int:
        # one packet more in either part of a group, where they do not divide evenly
        return -(-(self.data + self.repair) // (MOST_IN_GROUP - 2))

    def span(self, packet: int) -> ByteRange:
        """Where a packet lies: data packets are counted from 0, repair packets after them."""
        if packet < self.data - 1:
            place = packet
        elif packet == self.data - 1:
            place = self.data + self.repair - 1
        else:
            place = packet - 1
        return place * self.packet_bytes, min((place + 1) * self.packet_bytes, self.size)

    def members(self, group: int) -> tuple[list[int], list[int]]:
        """The data packets and the repair packets of a group."""
        data = range(group, self.data, self.groups)
        return list(data), list(range(self.data + group, self.data + self.repair, self.groups))

    def lost(self, gaps: Sequence[ByteRange]) -> set[int]:
        """The packets that some ranges touch."""
        touched = [
            place for start, end in gaps for place in range(start // self.packet_bytes, -(-end // self.packet_bytes))
        ]
        last = self.data + self.repair - 1
        return {self.data - 1 if place == last else place if place < self.data - 1 else place + 1 for place in touched}


class FecCodec:
    """Adds repair packets to what another codec writes (systematic Reed-Solomon code, by zfec).

    The k data packets are the other codec's payload, of the m = ceil(k percent / 100) repair packets each can stand for
    any one of them that is lost. Every packet but the last is `packet_bytes` long and an element, so that a transport
    puts one into each datagram.

    Args:
        inner: the codec that reads and writes tensors.
        percent: repair packets for 100 data packets, 1 to 200.
        packet_bytes: the most that a packet may have; whole elements of `inner` are taken.
        element_bytes: Size of an element of what `inner` writes.

    Attributes:
        tolerates_loss: whether every loss is tolerable; see `survives` for what the repair packets can do besides.
    """

    def __init__(self, name: str, inner: BoundedCodec, percent: int, packet_bytes: int, element_bytes: int) -> None:
        self.name = name
        self.inner = inner
        self.percent = percent
        self.tolerates_loss = inner.tolerates_loss
        self.packet_bytes = packet_bytes // element_bytes * element_bytes
        if not self.packet_bytes:
            raise CodecError(f"fec: packets of {packet_bytes} bytes hold no element of {element_bytes}")
        packets = max(-(-inner.most_bytes // self.packet_bytes), 1)
        if packets > DATA_PACKETS_AT_MOST:
            raise CodecError(
                f"fec: {inner.most_bytes} bytes in packets of {self.packet_bytes} are {packets} packets, "
                f"{DATA_PACKETS_AT_MOST} are the most"
            )
        self.most_bytes = inner.most_bytes + repair_packets(packets, percent) * self.packet_bytes

    def encode(self, tensors: Sequence[Array]) -> Payload:
        from zfec import Encoder

        plain, size = self.inner.encode(tensors).data, self.packet_bytes
        k = max(-(-len(plain) // size), 1)
        m = repair_packets(k, self.percent)
        layout = Layout(len(plain) + m * size, size, k, m)
        blocks = [plain[start : start + size].ljust(size, b"\0") for start in range(0, k * size, size)]
        repair = [b""] * m
        for group in range(layout.groups):
            members, repairing = layout.members(group)
            if repairing:
                code = Encoder(len(members), len(members) + len(repairing))
                wanted = range(len(members), len(members) + len(repairing))
                made = code.encode([blocks[member] for member in members], tuple(wanted))
                for packet, block in zip(repairing, made, strict=True):
                    repair[packet - k] = block
        return Payload(b"".join([plain[: (k - 1) * size], *repair, plain[(k - 1) * size :]]), size)

    def decode(
        self, data: bytes, erased: Sequence[ByteRange] = (), previous: Sequence[Array] | None = None
    ) -> tuple[Array, ...]:
        """Bytes -> tensors of one frame. What the repair packets cannot give back is for the other codec to fill.

        Raises:
            CodecError: too much is missing for a codec that bears no gap, or whatever the other codec refuses.
        """
        data = checked_bytes(data)
        gaps = checked_gaps(erased, len(data))
        layout = Layout.of_packets(len(data), self.packet_bytes, self.percent)
        if layout is None or len(data) > self.most_bytes:
            raise CodecError(f"a payload of {len(data)} bytes is given, which is none of {self.name}")
        lost = layout.lost(gaps)
        restored: dict[int, bytes] = {}
        left: set[int] = set()
        for group in range(layout.groups if lost else 0):
            members, repairing = layout.members(group)
            missing = lost.intersection(members)
            if missing and len(lost.intersection([*members, *repairing])) <= len(repairing):
                restored |= self._restored(data, layout, members, repairing, lost)
            else:
                left |= missing
        pieces, holes, offset = [], [], 0
        for packet in range(layout.data):
            start, end = layout.span(packet)
            pieces.append(restored[packet][: end - start] if packet in restored else data[start:end])
            if packet in left:
                holes += [
                    (max(first, start) - start + offset, min(last, end) - start + offset)
                    for first, last in gaps
                    if first < end and last > start
                ]
            offset += end - start
        plain = b"".join(pieces)
        if holes and not self.inner.tolerates_loss:
            raise CodecError(f"{self.name} has lost more packets than it can repair: {len(lost)} of {layout.data}")
        return self.inner.decode(plain, holes, previous)

    def survives(self, size: int, erased: Sequence[ByteRange]) -> bool:
        """Whether a payload of `size` bytes can be decoded with some ranges missing."""
        layout = Layout.of_packets(size, self.packet_bytes, self.percent)
        if layout is None:
            return False
        lost = layout.lost(checked_gaps(erased, size))
        if self.tolerates_loss or not lost:
            return True
        for group in range(layout.groups):
            members, repairing = layout.members(group)
            if lost.intersection(members) and len(lost.intersection([*members, *repairing])) > len(repairing):
                return False
        return True

    def _restored(
        self, data: bytes, layout: Layout, members: list[int], repairing: list[int], lost: set[int]
    ) -> dict[int, bytes]:
        """All data packets of a group of which enough packets came."""
        from zfec import Decoder

        there = [(place, packet) for place, packet in enumerate([*members, *repairing]) if packet not in lost]
        there = there[: len(members)]
        blocks = [data[slice(*layout.span(packet))].ljust(self.packet_bytes, b"\0") for _, packet in there]
        code = Decoder(len(members), len(members) + len(repairing))
        found = code.decode(blocks, [place for place, _ in there])
        return dict(zip(members, found, strict=True))


def repair_packets(data_packets: int, percent: int) -> int:
    """m = ceil(k percent / 100)."""
    return -(-data_packets * percent // 100)
