"""PNG, JPEG and WebP for the network's input: what a split must beat to prove anything."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence

import numpy as np

from splitimpera.codec.elements import Scale
from splitimpera.codec.given import array_dtype, checked_bytes, checked_gaps, checked_tensors
from splitimpera.core.array_types import Array
from splitimpera.core.errors import CodecError
from splitimpera.records.graph import TensorSpec
from splitimpera.records.traffic import ByteRange, Payload

START_OF_FRAME, START_OF_SCAN, END_OF_IMAGE = 0xC0, 0xDA, b"\xff\xd9"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class ImageCodec:
    """Writes the input of one frame, shape (C, H, W) with C = 1 or 3, as an image file.

    A damaged image file cannot be read, so over UDP a lost packet is a lost frame. PNG and lossless WebP are exact for
    8-bit images, all others err as their quality lets them.

    Args:
        format: Pillow's name, "PNG", "JPEG" or "WEBP".
        scale: The mapping from input values to 8-bit images and back.
        options: further arguments of Pillow's `save`.
    """

    tolerates_loss = False

    def __init__(
        self, name: str, spec: TensorSpec, format: str, scale: Scale, options: Mapping[str, int | bool]
    ) -> None:
        self.name = name
        self.spec = spec
        self.format = format
        self.scale = scale
        self.options = options

    @property
    def most_bytes(self) -> int:
        """More than any file needs for an image of this size, noise included."""
        return 4096 + 2 * self.spec.elements

    def encode(self, tensors: Sequence[Array]) -> Payload:
        """Raises CodecError for another tensor than the plan's."""
        from PIL import Image

        (tensor,) = checked_tensors(tensors, [self.spec])
        pixels = self.scale.to_integers(tensor).transpose(1, 2, 0)
        file = io.BytesIO()
        Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(file, self.format, **self.options)
        return Payload(file.getvalue())

    def decode(
        self, data: bytes, erased: Sequence[ByteRange] = (), previous: Sequence[Array] | None = None
    ) -> tuple[Array, ...]:
        """Raises CodecError for a damaged file, for one of another size, and wherever something is missing."""
        from PIL import Image

        data = checked_bytes(data)
        if checked_gaps(erased, len(data)):
            raise CodecError(f"{self.name} cannot be read with parts missing")
        if len(data) > self.most_bytes:
            raise CodecError(f"a file of {len(data)} bytes is given, {self.name} writes {self.most_bytes} at most here")
        channels, height, width = self.spec.shape
        grey, expected = channels == 1, (width, height)
        if self.format == "PNG":
            self._check_size(png_size(data), expected)
        elif self.format == "JPEG":
            self._check_size(jpeg_size(data), expected)
        elif self.format == "WEBP":
            self._check_size(webp_size(data), expected)
        try:
            with Image.open(io.BytesIO(data), formats=[self.format]) as image:
                # WebP knows no grey images
                mode = "L" if grey and self.format != "WEBP" else "RGB"
                if image.mode != mode:
                    raise CodecError(f"an image of mode {image.mode} is given, {mode} is expected")
                pixels = np.asarray(image.convert("L") if grey else image).reshape(height, width, channels)
        except CodecError:
            raise
        except Exception as failure:
            # readers of hostile files fail with more kinds of errors than their documentation names
            raise CodecError(f"the {self.format} data are damaged: {failure}") from None
        return (self.scale.to_values(pixels.transpose(2, 0, 1), array_dtype(self.spec)),)

    def _check_size(self, size: tuple[int, int], expected: tuple[int, int]) -> None:
        if size != expected:
            raise CodecError(f"a {self.format} image of {size} pixels is given, {expected} is expected")


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG file that holds pixels and nothing else.

    Further chunks could unfold into far more memory than the image.

    Raises:
        CodecError: it is damaged, or holds something else.
    """
    chunks = []
    place = len(PNG_SIGNATURE)
    while data.startswith(PNG_SIGNATURE) and place + 12 <= len(data):
        chunks.append(data[place + 4 : place + 8])
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    pixels = len(chunks) - 2
    if place != len(data) or pixels < 1 or chunks != [b"IHDR", *[b"IDAT"] * pixels, b"IEND"]:
        raise CodecError("the PNG data are damaged, or not a plain image")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height of a baseline JPEG file with one scan, which is what is written here.

    Every scan of a progressive file goes over the whole image again, and takes but a few bytes to ask for.

    Raises:
        CodecError: it is damaged, or has another number of scans.
    """
    size, place = None, 2
    while data.startswith(b"\xff\xd8") and place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == START_OF_FRAME and size is None and length >= 8:
            size = (
                int.from_bytes(data[place + 7 : place + 9], "big"),
                int.from_bytes(data[place + 5 : place + 7], "big"),
            )
        place += 2 + length
        if marker == START_OF_SCAN:
            # within a scan only these follow 0xff
            next_marker = re.compile(rb"\xff[^\x00\xd0-\xd7]").search(data, place)
            if size is not None and next_marker is not None and data[next_marker.start() :] == END_OF_IMAGE:
                return size
            break
    raise CodecError("the JPEG data are damaged, or not a plain image")


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP file in one of its two simple formats, read as its specification gives them.

    Pillow would allocate a canvas of the size that a file claims before it tells that size.

    Raises:
        CodecError: it is damaged, or holds more than one still image.
    """
    kind, begin = data[12:16], data[20:30]
    length = int.from_bytes(data[16:20], "little")
    whole = int.from_bytes(data[4:8], "little") + 8 == len(data) == 20 + length + length % 2
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and whole and len(begin) == 10:
        if kind == b"VP8 " and begin[3:6] == b"\x9d\x01\x2a":
            return int.from_bytes(begin[6:8], "little") & 0x3FFF, int.from_bytes(begin[8:10], "little") & 0x3FFF
        if kind == b"VP8L" and begin[0] == 0x2F:
            bits = int.from_bytes(begin[1:5], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise CodecError("the WEBP data are damaged, or not a single image")
