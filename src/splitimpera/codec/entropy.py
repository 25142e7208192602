"""Entropy coding of what another codec writes (rANS), with models that are fixed beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np

from splitimpera.codec.elements import ElementCodec, Numbers
from splitimpera.codec.given import arrays_of, checked_bytes, checked_gaps, checked_tensors, checked_whole
from splitimpera.codec.quantised import Quantised, channel_axis
from splitimpera.core.array_types import Array, IntArray
from splitimpera.core.errors import CodecError
from splitimpera.records.traffic import ByteRange, Payload

SMOOTHING = 0.5
TENSOR_WEIGHT = 32.0

SEAL_MODEL_SYMBOLS = 1 << 16
SEAL = 1
SLACK_BITS = 32
LEAST_ROOM_BYTES = 16


class Symbols:
    """One tensor's numbers as symbols, in rows that each have a statistical model of their own.

    Quantised elements are one symbol each, in one row or, with models a channel, in a row for each channel. Of all
    other elements every byte is a symbol, with a row for each place that it may have in the element.
    """

    def __init__(self, numbers: Numbers, per_channel: bool) -> None:
        spec = numbers.spec
        self.numbers = numbers
        self.alphabet = 2 ** min(numbers.bits, 8)
        self.bytes_each = numbers.bits // 8 if numbers.bits > 8 else 1
        self._by_channel: IntArray | None = None  # the elements in the order of the rows
        axis = channel_axis(spec) if per_channel and isinstance(numbers, Quantised) else None
        self.rows = self.bytes_each
        if axis is not None:
            self.rows = spec.shape[axis]
            if axis:
                self._by_channel = np.moveaxis(np.arange(spec.elements).reshape(spec.shape), axis, 0).reshape(-1)
        self.count = spec.elements * self.bytes_each
        self.columns = self.count // self.rows if self.rows else 0

    def of(self, numbers: Array) -> Array:
        """Numbers, shape (elements,) -> symbols row by row, uint8 (count,)."""
        if self.bytes_each > 1:
            return numbers.view(np.uint8).reshape(-1, self.bytes_each).T.reshape(-1)
        symbols: Array = numbers if self._by_channel is None else numbers[self._by_channel]
        return symbols.view(np.uint8)

    def numbers_of(self, symbols: Array) -> Array:
        """The inverse of `of`."""
        if self.bytes_each > 1:
            return np.ascontiguousarray(symbols.reshape(self.bytes_each, -1).T).reshape(-1).view(self.numbers.stored)
        return self._in_place(symbols).view(self.numbers.stored)

    def missing(self, missing: Array) -> Array:
        """Which symbols are missing, bool (count,) -> which elements are, bool (elements,)."""
        if self.bytes_each > 1:
            return np.asarray(missing.reshape(self.bytes_each, -1).any(axis=0))
        return self._in_place(missing)

    def sent(self, order: IntArray | None) -> IntArray | None:
        """The symbols in the order in which they are sent, given that of the elements; None: row by row."""
        if self.bytes_each > 1:
            elements = np.arange(self.numbers.spec.elements) if order is None else order
            return (elements[:, None] + len(elements) * np.arange(self.bytes_each)).reshape(-1)
        if order is None or self._by_channel is None:
            return order
        place = np.empty_like(self._by_channel)
        place[self._by_channel] = np.arange(len(place))
        return place[order]

    def _in_place(self, by_row: Array) -> Array:
        if self._by_channel is None:
            return by_row
        values = np.empty_like(by_row)
        values[self._by_channel] = by_row
        return values


def symbol_counts(raw: ElementCodec, frames: Sequence[Sequence[Array]], per_channel: bool) -> list[Array]:
    """How often each symbol stands in each row of some frames; for each tensor uint32 (rows, symbols)."""
    counts = []
    for index, numbers in enumerate(raw.numbers):
        rows = Symbols(numbers, per_channel)
        found = np.zeros(rows.rows * rows.alphabet, dtype=np.uint32)
        shift = np.arange(rows.rows)[:, None] * rows.alphabet
        for frame in frames:
            symbols = rows.of(numbers.write(frame[index])).reshape(rows.rows, rows.columns)
            found += np.bincount((symbols + shift).reshape(-1), minlength=len(found)).astype(np.uint32)
        counts.append(found.reshape(rows.rows, rows.alphabet))
    return counts


def probabilities(counts: Array) -> Array:
    """Counts (rows, symbols) -> probabilities of the same shape, none of them 0.

    Every symbol of the tensor counts half a time more than it was seen (Krichevsky and Trofimov, "The performance of
    universal encoding", 1981), and every row starts with a few symbols that are distributed as those of all rows.
    """
    overall = counts.sum(axis=0, dtype=np.float64) + SMOOTHING
    weighted = counts + TENSOR_WEIGHT * overall / overall.sum()
    shares = np.asarray(weighted / weighted.sum(axis=1, keepdims=True))
    return shares if len(counts) != 1 else np.asarray(overall / overall.sum())[None]


class _Models:
    """Codes the symbols of all tensors, or a part of them, as one stream of asymmetric numeral systems.

    A stream names neither its length nor its number of symbols; who reads it knows both. It starts from a fixed state,
    which the reader must find again at the end, and has no zero bytes after its last other one.
    """

    def __init__(self, raw: ElementCodec, counts: Sequence[Array], per_channel: bool) -> None:
        from constriction import stream as coding  # where it is used: devices may lack it

        self.raw = raw
        self.new_coder = coding.stack.AnsCoder
        self.tensors = [Symbols(numbers, per_channel) for numbers in raw.numbers]
        self.starts = np.cumsum([0, *(tensor.count for tensor in self.tensors)])
        self.count = int(self.starts[-1])
        shares = [probabilities(found) for found in counts]
        self.models = [
            coding.model.Categorical(row.astype(np.float32), perfect=False) for tensor in shares for row in tensor
        ]
        lengths = [tensor.columns for tensor in self.tensors for _ in range(tensor.rows)]
        self.ends = np.cumsum(lengths)  # of the rows of all tensors
        self.bits = [-np.log2(tensor) for tensor in shares]
        rows_bits = [float(row.max(initial=0)) for tensor in self.bits for row in tensor]
        self.dearest_bits = max(rows_bits, default=0.0)
        self.most_bits = sum(length * bits for length, bits in zip(lengths, rows_bits, strict=True))
        self.seal = coding.model.Uniform(SEAL_MODEL_SYMBOLS)

    def symbols(self, tensors: Sequence[Array]) -> Array:
        """Tensors of one frame -> all their symbols, uint8 (count,)."""
        given = checked_tensors(tensors, self.raw.specs)
        parts = [rows.of(rows.numbers.write(tensor)) for rows, tensor in zip(self.tensors, given, strict=True)]
        return np.concatenate(parts) if parts else np.zeros(0, np.uint8)

    def costs_bits(self, symbols: Array) -> Array:
        """What each symbol costs, shape (count,)."""
        costs = []
        for rows, bits, start in zip(self.tensors, self.bits, self.starts, strict=False):
            own = symbols[start : start + rows.count].reshape(rows.rows, rows.columns)
            costs.append(np.take_along_axis(bits, own.astype(np.intp), axis=1).reshape(-1))
        return np.concatenate(costs) if costs else np.zeros(0)

    def write(self, symbols: Array, places: slice | IntArray) -> bytes:
        """Some of the symbols, named by ascending places, -> a stream."""
        chosen = symbols[places].astype(np.int32)
        ans = self.new_coder()
        ans.encode_reverse(np.array([SEAL], dtype=np.int32), self.seal)
        for row, first, last in reversed(list(self._runs(places))):
            ans.encode_reverse(chosen[first:last], self.models[row])
        stream: bytes = ans.get_compressed().astype("<u4").tobytes()
        return stream.rstrip(b"\0")

    def read(self, stream: bytes, places: slice | IntArray, into: Array) -> None:
        """The inverse of `write`.

        Raises:
            CodecError: the stream is damaged.
        """
        words = np.frombuffer(stream + bytes(-len(stream) % 4), "<u4").astype(np.uint32)
        try:
            ans = self.new_coder(words)
            parts = [ans.decode(self.models[row], last - first) for row, first, last in self._runs(places)]
            whole = int(ans.decode(self.seal)) == SEAL and bool(ans.is_empty())
        except (ValueError, AssertionError) as failure:
            raise CodecError(f"the entropy-coded data are damaged: {failure}") from None
        if not whole or not stream or stream[-1] == 0:
            raise CodecError("the entropy-coded data are damaged, cut short or another plan's")
        if parts:
            into[places] = np.concatenate(parts)

    def tensors_of(self, symbols: Array, missing: Array | None, previous: Sequence[Array] | None) -> tuple[Array, ...]:
        """All symbols, and which of them are missing, -> the tensors of one frame."""
        tensors = []
        for index, (rows, start) in enumerate(zip(self.tensors, self.starts, strict=False)):
            own = slice(start, start + rows.count)
            values = rows.numbers.read(rows.numbers_of(symbols[own]))
            if missing is not None and missing[own].any():
                self.raw.fill.into(values, index, [rows.missing(missing[own])], previous)
            tensors.append(values.reshape(rows.numbers.spec.shape))
        return tuple(tensors)

    def _runs(self, places: slice | IntArray) -> Iterator[tuple[int, int, int]]:
        """The rows that some places lie in: row, first and last of the places in it."""
        if isinstance(places, slice):
            ends = np.clip(self.ends, places.start, places.stop) - places.start
        else:
            ends = np.searchsorted(places, self.ends)
        first = 0
        for row in np.flatnonzero(np.diff(ends, prepend=0)).tolist():
            last = int(ends[row])
            yield row, first, last
            first = last


class RansCodec:
    """Codes the symbols of quantised tensors near to their entropy; the whole frame is one stream.

    A frame that would not get smaller is written as it is; which of the two it is shows in the length. A stream with a
    piece missing cannot be read.

    Args:
        raw: how tensors become symbols.
        counts: Counts of the symbols in calibration data, one array a tensor (rows, symbols).
        per_channel: whether each channel has a row.
    """

    tolerates_loss = False

    def __init__(self, name: str, raw: ElementCodec, counts: Sequence[Array], per_channel: bool) -> None:
        self.name = name
        self.raw = raw
        self._models = _Models(raw, counts, per_channel)

    @property
    def most_bytes(self) -> int:
        return self.raw.payload_bytes

    def encode(self, tensors: Sequence[Array]) -> Payload:
        tensors = arrays_of(tensors)
        stream = self._models.write(self._models.symbols(tensors), slice(0, self._models.count))
        return Payload(stream) if len(stream) < self.raw.payload_bytes else Payload(self.raw.encode(tensors).data)

    def decode(
        self, data: bytes, erased: Sequence[ByteRange] = (), previous: Sequence[Array] | None = None
    ) -> tuple[Array, ...]:
        """Raises CodecError for damaged data and wherever something is missing. Allocates as for a right payload."""
        data = checked_whole(self.name, data, erased, self.raw.payload_bytes)
        if len(data) == self.raw.payload_bytes:
            return self.raw.decode(data)
        symbols = np.empty(self._models.count, dtype=np.uint8)
        self._models.read(data, slice(0, self._models.count), symbols)
        return self._models.tensors_of(symbols, None, None)


class RansPacketsCodec:
    """The same in packets that can be read each by itself: a lost one costs only the elements that it carried.

    A packet is the places of its first symbol and of the one after its last, little endian in as many bytes as the
    number of all symbols needs, then a stream, then zeros up to `packet_bytes`; none after the last packet.

    Args:
        packet_bytes: size of a packet, which is an element.
    """

    tolerates_loss = True

    def __init__(
        self, name: str, raw: ElementCodec, counts: Sequence[Array], per_channel: bool, packet_bytes: int
    ) -> None:
        self.name = name
        self.raw = raw
        self.packet_bytes = packet_bytes
        self._models = _Models(raw, counts, per_channel)
        orders = [tensor.sent(order) for tensor, order in zip(self._models.tensors, raw.orders, strict=True)]
        self._order: IntArray | None = None
        if any(order is not None for order in orders):
            self._order = np.concatenate(
                [
                    start + (np.arange(tensor.count) if order is None else order)
                    for start, tensor, order in zip(self._models.starts, self._models.tensors, orders, strict=False)
                ]
            )
        self._place_bytes = max((self._models.count.bit_length() + 7) // 8, 1)
        self._room_bytes = packet_bytes - 2 * self._place_bytes
        if self._room_bytes < LEAST_ROOM_BYTES:
            raise CodecError(
                f"packets of {packet_bytes} bytes are too small for rans-packets",
                hint=f"give {LEAST_ROOM_BYTES + 2 * self._place_bytes} or more",
            )
        # whatever the symbols, twice as many as the dearest would fill
        least_bits = max(8 * self._room_bytes - SLACK_BITS - self._models.dearest_bits, 1)
        needed = ceil(2 * self._models.most_bits / least_bits) + 1
        self._most_packets = min(needed, max(self._models.count, 1))

    @property
    def most_bytes(self) -> int:
        return self._most_packets * self.packet_bytes

    def encode(self, tensors: Sequence[Array]) -> Payload:
        models = self._models
        symbols = models.symbols(tensors)
        costs = models.costs_bits(symbols)
        sums = np.concatenate([[0.0], np.cumsum(costs if self._order is None else costs[self._order])])
        pieces: list[bytes] = []
        first = 0
        while first < models.count or not pieces:
            fits = np.searchsorted(sums, sums[first] + 8 * self._room_bytes - SLACK_BITS, side="right") - 1
            last = min(max(int(fits), first + 1), models.count)
            stream = models.write(symbols, self._places(first, last))
            while len(stream) > self._room_bytes:
                last -= max((last - first) // 100, 1)
                stream = models.write(symbols, self._places(first, last))
            head = b"".join(place.to_bytes(self._place_bytes, "little") for place in (first, last))
            pieces.append(head + stream)
            first = last
        padded = [piece.ljust(self.packet_bytes, b"\0") for piece in pieces[:-1]]
        return Payload(b"".join([*padded, pieces[-1]]), self.packet_bytes)

    def decode(
        self, data: bytes, erased: Sequence[ByteRange] = (), previous: Sequence[Array] | None = None
    ) -> tuple[Array, ...]:
        """Bytes -> tensors of one frame; elements of packets that a range of `erased` touches are filled.

        Allocates as for a right payload, and never for what a packet says.

        Raises:
            CodecError: a packet is damaged or another plan's, packets do not follow each other, a range lies outside.
        """
        models, size = self._models, self.packet_bytes
        data = checked_bytes(data)
        packets = -(-len(data) // size)
        gaps = checked_gaps(erased, len(data))
        if not 1 <= packets <= self._most_packets:
            raise CodecError(f"a payload of {len(data)} bytes is given, which is none of {self.name} here")
        lost = np.zeros(packets, dtype=bool)
        for start, end in gaps:
            lost[start // size : -(-end // size)] = True
        symbols = np.zeros(models.count, dtype=np.uint8)
        missing = np.ones(models.count, dtype=bool)
        reached, known = 0, True
        for packet in range(packets):
            if lost[packet]:
                known = False
                continue
            content = data[packet * size : (packet + 1) * size]
            first, last = (
                int.from_bytes(content[place * self._place_bytes : (place + 1) * self._place_bytes], "little")
                for place in range(2)
            )
            follows = first == reached if known else first >= reached
            if not follows or not first <= last <= models.count:
                raise CodecError(f"packet {packet} of a payload says that it carries symbols {first} to {last}")
            stream = content[2 * self._place_bytes :]
            places = self._places(first, last)
            models.read(stream.rstrip(b"\0") if packet < packets - 1 else stream, places, symbols)
            missing[places] = False
            reached, known = last, True
        if known and reached != models.count:
            raise CodecError(f"a payload ends after symbol {reached} of {models.count}")
        return models.tensors_of(symbols, missing if lost.any() else None, previous)

    def _places(self, first: int, last: int) -> slice | IntArray:
        """Where the symbols of a packet stand: of those that are sent one after the other, in ascending order."""
        return slice(first, last) if self._order is None else np.sort(self._order[first:last])
