"""One image file, read truly or refused by name.

The files are hostile until they are read: only regular files of bounded size are opened, only in the formats below, and
what an image's header claims is checked before it is decoded. Several threads may read at the same time.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from splitimpera.core.array_types import Array
from splitimpera.core.bounds import check_pixels
from splitimpera.core.errors import BrokenFileError, DataError, shown, shown_path
from splitimpera.core.files import open_file, read_file

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = frozenset(".bmp .gif .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split())
FOREIGN_SUFFIXES = frozenset(".avif .dng .exr .hdr .heic .heif .jp2 .jxl .pfm .tga".split())
"""Images that are not read; to leave them out without a word would leave out a part of the data."""
MOST_FILE_BYTES = 200_000_000
WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")
GREY = ("1", "L", "LA", "La")
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX")
TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")

BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR, SAMPLE_FORMAT = 258, 262, 284, 339  # tags of TIFF
ORIENTATION = 0x0112  # of EXIF


class Header(NamedTuple):
    """What the begin of an image file says of it."""

    sides: tuple[int, int]
    """The shorter and the longer one: which is the height an orientation may say that is found only later."""
    channels: int
    bits: int


def read_header(path: Path) -> Header:
    """What an image file claims to be; its pixels are not read.

    Raises:
        DataError: it is not an image that is read.
    """
    opened = open_file(path, DataError, what="image", most_bytes=MOST_FILE_BYTES)
    with opened as file, opened_image(path, file, file.read(30)) as image:
        shorter, longer = sorted(image.size)
        return Header((shorter, longer), 3 if image.mode in COLOUR else 1, 16 if image.mode in WIDE else 8)


def read_image(path: Path, size: tuple[int, int] | None = None, claimed: tuple[int, int] | None = None) -> Array:
    """An image, uint8 or uint16 (H, W, C).

    Args:
        size: Height and width that it gets; None: its own.
        claimed: Height and width that a record gives for it; None: there is no such record.

    Raises:
        DataError: the file cannot be read, or not truly, or has another size than is claimed; BrokenFileError where it
            cannot be decoded.
    """
    from PIL import Image

    content = read_file(path, MOST_FILE_BYTES, DataError, what="image")
    with opened_image(path, BytesIO(content), content[:30]) as image:
        with _mute() if image.format == "TIFF" else nullcontext():
            image.load()
        if transparent(image):
            raise refused(path, f"is transparent in places (mode {image.mode})")
        plain = upright(_plain(image), image)
        if claimed is not None and claimed != (plain.height, plain.width):
            raise DataError(
                f"the image '{shown_path(path)}' has {plain.height} x {plain.width} pixels, its record says "
                f"{claimed[0]} x {claimed[1]} (height x width)",
                hint="records are held to images as viewers show them, upright",
            )
        if size is not None:
            plain = plain.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        values = np.asarray(plain)
    if plain.mode == "I":
        values = values.clip(0, 65535).astype(np.uint16)  # resizing does not exceed the range, rounding might
    return values.reshape(plain.height, plain.width, -1)


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as it is shown; its pixels are not read.

    Raises:
        DataError: it is not an image that is read.
    """
    opened = open_file(path, DataError, what="image", most_bytes=MOST_FILE_BYTES)
    with opened as file, opened_image(path, file, file.read(30)) as image:
        # a PNG tells an orientation that stands after its pixels only when these are decoded
        turned = image.format != "PNG" or "exif" in image.info
        lying = turned and image.getexif().get(ORIENTATION) in (5, 6, 7, 8)
        return (image.width, image.height) if lying else (image.height, image.width)


@contextmanager
def opened_image(path: Path, file: BinaryIO | BytesIO, begin: bytes) -> Iterator[Image]:
    """The image of an open file, whose header is checked; whatever fails inside is told as the file's fault."""
    from PIL import Image, UnidentifiedImageError

    try:
        if begin[:4] == b"RIFF":
            _check_size(path, *_webp_size(begin))  # Pillow allocates a canvas before it tells the size
        file.seek(0)
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            _check_size(path, height, width)
            untrue = _untrue(image)
            if untrue:
                raise refused(path, untrue)
            yield image
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"there is not enough memory to read the image '{shown_path(path)}'") from None
    except UnidentifiedImageError:
        raise _broken(path, f"it is damaged, or none of {', '.join(FORMATS)}") from None
    except Exception as failure:  # readers of hostile files fail with more kinds of errors than are documented
        words = shown((str(failure).splitlines() or [type(failure).__name__])[0], 200)
        if isinstance(failure, Image.DecompressionBombError):
            raise DataError(f"the image '{shown_path(path)}' cannot be read: {words}") from None
        raise _broken(path, words) from None


def _broken(path: Path, why: str) -> BrokenFileError:
    return BrokenFileError(
        f"the image '{shown_path(path)}' cannot be read: {why}",
        hint="`skip_broken: true` under `data` leaves out what cannot be decoded",
    )


def _check_size(path: Path, height: int, width: int) -> None:
    try:
        check_pixels(height, width)
    except ValueError as failure:
        raise DataError(
            f"the image '{shown_path(path)}' cannot be read: {failure}", hint="scale it down, or move it elsewhere"
        ) from None


class _Silence:
    """How many are reading, in whatever threads; the first one silences Pillow, the last one puts back what it said."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.readers = 0
        self.level = logging.NOTSET
        self.filters: list[Any] = []

    def __enter__(self) -> None:
        log = logging.getLogger("PIL")
        with self.lock:
            self.readers += 1
            if self.readers == 1:
                self.level = log.level
                log.setLevel(logging.CRITICAL + 1)
                warnings.filterwarnings("ignore", module="PIL")
                self.filters = [warnings.filters[0]]

    def __exit__(self, *failure: object) -> None:
        with self.lock:
            self.readers -= 1
            if not self.readers:
                logging.getLogger("PIL").setLevel(self.level)
                # not all filters as they were: other threads may have changed them meanwhile
                warnings.filters[:] = [one for one in warnings.filters if one not in self.filters]  # type: ignore[index]


SILENCE = _Silence()
"""Pillow warns and logs about what it finds in damaged files; what matters is raised as an error."""

_muted = threading.Lock()


@contextmanager
def _mute() -> Iterator[None]:
    """libtiff writes what it finds in damaged files straight to the process's standard error."""
    with _muted:  # or one thread would keep what the other has put in place
        try:
            kept = os.dup(2)
        except OSError:  # closed
            yield
            return
        try:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def refused(path: Path, why: str) -> DataError:
    return DataError(
        f"the image '{shown_path(path)}' {why} and cannot be read truly",
        hint="convert it to an opaque image, grey or RGB of 8 bits or grey of 16 bits, or write a factory",
    )


def _untrue(image: Image) -> str:
    """Why what Pillow would make of an image's values is not what the file says; '' where it is."""
    bits, mode = _bits(image), f"(mode {image.mode})"
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a JPEG's further images are previews
        return f"has several frames {mode}"
    if image.mode == "F":
        return f"has floating-point values {mode}"
    if image.mode not in (*WIDE, *GREY, *COLOUR):
        return f"has no values of grey or RGB {mode}"
    if image.mode in WIDE and bits != 16:
        return f"has {bits} bits a value {mode}"
    if image.mode not in WIDE and bits > 8:
        return f"has {bits} bits a value, of which 8 would be read {mode}"
    layers = 1
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        if set(tags.get(SAMPLE_FORMAT, (1,))) != {1}:
            return f"has signed or floating-point values {mode}"
        if bits > 8 and tags.get(PHOTOMETRIC) != 1:
            return f"has values whose 0 is white {mode}"
        if tags.get(PLANAR) == 2 and _tiles(image)[0][0] != "libtiff":
            layers = len(image.getbands())
    width, height = image.size
    covered = sum((right - left) * (low - top) for _, (left, top, right, low), *_ in _tiles(image))
    if image.format != "WEBP" and covered < layers * width * height:
        return f"has parts for which it gives no values {mode}"
    return ""


def _bits(image: Image) -> int:
    """How many bits a value has in the file; Pillow cuts some to 8 without a word."""
    if image.format == "TIFF":
        return max(image.tag_v2.get(BITS_PER_SAMPLE, (1,)))  # type: ignore[attr-defined, no-any-return]
    if image.format in ("PNG", "PPM"):
        decoder, _, _, arguments = _tiles(image)[0]
        cut = ";16" in arguments if image.format == "PNG" else decoder.startswith("ppm") and arguments[-1] > 255
        return 16 if cut or image.mode == "I" else 8
    return 8


def stretched(image: Image) -> tuple[int, int]:
    """The largest value that the file of a grayscale image may have, and what Pillow makes of it; not loaded yet."""
    full = 65535 if image.mode in WIDE else 255
    if not _tiles(image):
        return full, full
    decoder, _, _, arguments = _tiles(image)[0]
    if decoder.startswith("ppm"):
        return int(arguments[-1]), full
    raw = arguments if isinstance(arguments, str) else str(arguments[0]) if arguments else ""
    return {"L;2": 3, "L;4": 15}.get(raw[:3], full), full


def _tiles(image: Image) -> list[Any]:
    """How the file's parts are to be decoded: decoder, (left, top, right, bottom), offset, arguments."""
    return getattr(image, "tile", [])


def transparent(image: Image) -> bool:
    if image.mode not in TRANSPARENT and "transparency" not in image.info:
        return False
    if image.mode in WIDE:
        return bool((np.asarray(image) == image.info["transparency"]).any())
    visible = image.convert("LA") if image.mode == "La" else image
    return bool(visible.convert("RGBA").getchannel("A").getextrema()[0] != 255)


def _plain(image: Image) -> Image:
    """The same values as L, RGB, or I for 16 bits; an opaque alpha channel is left out."""
    from PIL import Image

    if image.mode in WIDE:
        return Image.fromarray(np.asarray(image).astype(np.int32))
    if image.mode == "La":
        image = image.convert("LA")
    wanted = "L" if image.mode in GREY else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def upright(image: Image, read: Image) -> Image:
    """Turned as the file that was read says that it is to be shown."""
    from PIL.Image import Transpose

    ways: dict[object, Transpose] = {
        **{2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM},
        **{5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90},
    }
    orientation = read.getexif().get(ORIENTATION)
    return image.transpose(ways[orientation]) if orientation in ways else image


def _webp_size(content: bytes) -> tuple[int, int]:
    """Height and width that a WebP file claims, read as its specification gives them; 0 where it claims none."""
    kind, begin = content[12:16], content[20:30].ljust(10, b"\0")
    if kind == b"VP8 ":
        return int.from_bytes(begin[8:10], "little") & 0x3FFF, int.from_bytes(begin[6:8], "little") & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(begin[1:5], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(begin[7:10], "little") + 1, int.from_bytes(begin[4:7], "little") + 1
    return 0, 0
