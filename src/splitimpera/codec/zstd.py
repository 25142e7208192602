"""zstd over what another codec writes, with a dictionary where that pays."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2

import zstandard

from splitimpera.codec.elements import ElementCodec
from splitimpera.codec.given import checked_whole
from splitimpera.core.array_types import Array
from splitimpera.core.errors import CodecError
from splitimpera.records.traffic import ByteRange, Payload

ZSTD_LEVEL = 3
DICTIONARY_LATENT_BYTES = 8192
DICTIONARY_BYTES = 16384
DICTIONARY_SAMPLES = 32


class ZstdCodec:
    """Compresses another codec's payload with zstd, in frames without magic number, size, checksum and dictionary id.

    A frame that would not get smaller is written as it is; which of the two it is shows in the length. What has a piece
    missing cannot be read. One object serves one thread at a time.

    Args:
        raw: what writes the tensors.
        level: zstd's, 1 to 19.
        dictionary: trained on calibration data; None: no dictionary.
    """

    tolerates_loss = False

    def __init__(self, name: str, raw: ElementCodec, level: int, dictionary: bytes | None) -> None:
        self.name = name
        self.raw = raw
        window = min(max(ceil(log2(max(raw.payload_bytes, 1))), 10), 27)
        shared = None if dictionary is None else zstandard.ZstdCompressionDict(dictionary)
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level,
            format=zstandard.FORMAT_ZSTD1_MAGICLESS,
            window_log=window,
            write_content_size=False,
            write_checksum=False,
            write_dict_id=False,
        )
        try:
            self._compressor = zstandard.ZstdCompressor(compression_params=parameters, dict_data=shared)
            self._decompressor = zstandard.ZstdDecompressor(
                dict_data=shared, max_window_size=1 << window, format=zstandard.FORMAT_ZSTD1_MAGICLESS
            )
            # the dictionary is read at first use
            self._decompressor.decompress(self._compressor.compress(b"a"), max_output_size=1)
        except zstandard.ZstdError as failure:
            raise CodecError(f"the constant 'dictionary' is none of zstd's: {failure}", where=name) from None

    @property
    def most_bytes(self) -> int:
        return self.raw.payload_bytes

    def encode(self, tensors: Sequence[Array]) -> Payload:
        plain = self.raw.encode(tensors).data
        small = self._compressor.compress(plain)
        return Payload(small if len(small) < len(plain) else plain)

    def decode(
        self, data: bytes, erased: Sequence[ByteRange] = (), previous: Sequence[Array] | None = None
    ) -> tuple[Array, ...]:
        """Raises CodecError for damaged data and wherever something is missing. Allocates as for a right payload."""
        size = self.raw.payload_bytes
        data = checked_whole(self.name, data, erased, size)
        if len(data) == size:
            return self.raw.decode(data)
        try:
            found = zstandard.get_frame_parameters(data, format=zstandard.FORMAT_ZSTD1_MAGICLESS)
            # the library would allocate whatever size a frame claims
            if found.content_size != zstandard.CONTENTSIZE_UNKNOWN:
                raise CodecError("the zstd frame claims a size, which none of this plan does")
            plain = self._decompressor.decompress(data, max_output_size=size, allow_extra_data=False)
        except zstandard.ZstdError as failure:
            raise CodecError(f"the zstd data are damaged or another plan's: {failure}") from None
        return self.raw.decode(plain)


def trained_dictionary(raw: ElementCodec, frames: Sequence[Sequence[Array]], level: int) -> bytes | None:
    """A dictionary for zstd, where one makes small payloads smaller.

    Half of the frames train one, the other half judge it: it must pay by 2 % to be used.
    """
    if raw.payload_bytes > DICTIONARY_LATENT_BYTES or len(frames) < DICTIONARY_SAMPLES:
        return None
    samples: list[bytes | bytearray | memoryview] = [raw.encode(frame).data for frame in frames]
    size = min(DICTIONARY_BYTES, sum(map(len, samples)) // 8)
    try:
        trained = zstandard.train_dictionary(size, samples[::2]).as_bytes()
        sizes = [
            sum(len(codec.encode(frame).data) for frame in frames[1::2])
            for codec in (ZstdCodec("", raw, level, None), ZstdCodec("", raw, level, trained))
        ]
        return zstandard.train_dictionary(size, samples).as_bytes() if sizes[1] < 0.98 * sizes[0] else None
    except zstandard.ZstdError:  # too few or too uniform samples
        return None
