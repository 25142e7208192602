"""Images from a folder `class name/image`, read truly or refused by name.

The files are hostile until they are read: only regular files of bounded size are opened, only in the formats below, and
what an image's header claims is checked before it is decoded.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splitimpera.core.array_types import Array
from splitimpera.core.errors import DataError, shown, shown_path
from splitimpera.core.files import read_file, reason
from splitimpera.models.numbers import check_amount
from splitimpera.scenario import check_pixels

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


def read_images(folder: Path, size: tuple[int, int] | None) -> tuple[Array, Array, tuple[str, ...]]:
    """Images (N, H, W, C), uint8 or uint16, labels (N,) and class names of a folder `class name/image`.

    Args:
        size: height and width that they get; None: all must have the same.

    Raises:
        DataError: a file cannot be read, or not truly; the images differ, or are too large or too many.
    """
    paths, labels, classes = _listing(folder)
    images: Array | None = None
    grey = True
    with _quiet():
        for index, path in enumerate(paths):
            image = _read(path, size, len(paths))
            grey = grey and image.shape[2] == 1
            if images is None:
                images = np.empty((len(paths), *image.shape[:2], 3), image.dtype)
            if image.shape[:2] != images.shape[1:3]:
                (height, width), (first_height, first_width) = image.shape[:2], images.shape[1:3]
                raise DataError(
                    f"the images differ in size: '{shown_path(path)}' has {height} x {width} pixels, "
                    f"'{shown_path(paths[0])}' {first_height} x {first_width}",
                    where="data.size",
                    hint="give the size [height, width] they get",
                )
            if image.dtype != images.dtype:
                raise DataError(
                    f"the images differ in depth: '{shown_path(path)}' has {8 * image.itemsize} bits, "
                    f"'{shown_path(paths[0])}' {8 * images.itemsize}",
                    hint="convert all of them to 8 or to 16 bits",
                )
            images[index] = image
    if images is None:
        raise DataError(f"the folder '{shown_path(folder)}' has no images")
    return images[..., :1] if grey else images, np.array(labels), classes


def _listing(folder: Path) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """The images of each class with their labels, and the classes' names, safe to print."""
    places = [place for place in _entries(folder) if _is_class(place)]
    if len(places) < 2:
        raise DataError(f"the folder '{shown_path(folder)}' has {len(places)} sub-folders, one a class is expected")
    paths, labels = [], []
    for label, place in enumerate(places):
        for path in _entries(place):
            if path.suffix.lower() in FOREIGN_SUFFIXES:
                raise DataError(
                    f"'{shown_path(path)}' is an image in a format that is not read",
                    hint="convert it to PNG, or move it elsewhere",
                )
            if path.suffix.lower() in SUFFIXES:
                paths.append(path)
                labels.append(label)
    return paths, labels, tuple(shown(place.name, 255) for place in places)


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, in order of names; what begins with a dot is left out."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (OSError, ValueError) as failure:
        raise DataError(f"the folder '{shown_path(folder)}' cannot be read: {reason(failure)}") from None


def _is_class(place: Path) -> bool:
    try:
        if place.is_symlink() and not place.exists():
            raise DataError(f"'{shown_path(place)}' is a link that leads nowhere", hint="remove it, or mend it")
        return place.is_dir()
    except OSError as failure:
        raise DataError(f"'{shown_path(place)}' cannot be read: {reason(failure)}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns and logs about what it finds in damaged files; what matters is raised as an error."""
    log = logging.getLogger("PIL")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


@contextmanager
def _mute() -> Iterator[None]:
    """libtiff writes what it finds in damaged files straight to the process's standard error."""
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


def _read(path: Path, size: tuple[int, int] | None, count: int) -> Array:
    """One of `count` images, (H, W, C), uint8 or uint16."""
    from PIL import Image, UnidentifiedImageError

    content = read_file(path, MOST_FILE_BYTES, DataError, what="image")
    try:
        if content[:4] == b"RIFF":
            check_pixels(*_webp_size(content))  # Pillow allocates a canvas before it tells the size
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            check_pixels(height, width)
            untrue = _untrue(image)
            if untrue:
                raise _refused(path, untrue)
            check_amount(count, (3 if image.mode in COLOUR else 1, *(size or (height, width))))
            with _mute() if image.format == "TIFF" else nullcontext():
                image.load()
            if _transparent(image):
                raise _refused(path, f"is transparent in places (mode {image.mode})")
            plain = _upright(_plain(image), image.getexif().get(ORIENTATION))
            if size is not None:
                plain = plain.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            values = np.asarray(plain)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(
            f"the image '{shown_path(path)}' cannot be read: it is damaged, or none of {', '.join(FORMATS)}"
        ) from None
    except Exception as failure:  # readers of hostile files fail with more kinds of errors than are documented
        words = (str(failure).splitlines() or [type(failure).__name__])[0]
        raise DataError(f"the image '{shown_path(path)}' cannot be read: {shown(words, 200)}") from None
    if plain.mode == "I":
        values = values.clip(0, 65535).astype(np.uint16)  # resizing does not exceed the range, rounding might
    return values.reshape(plain.height, plain.width, -1)


def _refused(path: Path, why: str) -> DataError:
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


def _tiles(image: Image) -> list[Any]:
    """How the file's parts are to be decoded: decoder, (left, top, right, bottom), offset, arguments."""
    return getattr(image, "tile", [])


def _transparent(image: Image) -> bool:
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


def _upright(image: Image, orientation: object) -> Image:
    """Turned as the file says that it is to be shown."""
    from PIL.Image import Transpose

    ways: dict[object, Transpose] = {
        **{2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM},
        **{5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90},
    }
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
