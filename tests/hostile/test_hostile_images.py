"""Folders with a damaged or a made-up image in every format that is read."""

from __future__ import annotations

import struct
import tempfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from harness import attack, refused_or_taken
from hypothesis import strategies as st
from PIL import Image

from splitimpera.models.datasets import load_data
from splitimpera.scenario import DataSection

PLACE = tempfile.TemporaryDirectory()
SIDE = 12
RAMP = (np.arange(SIDE * SIDE) % 256).astype(np.uint8).reshape(SIDE, SIDE)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=2)
DEEP = RAMP.astype(np.uint16) * 257
EXIF = Image.Exif()
EXIF[0x0112] = 6


def file(suffix, image, **options):
    content = BytesIO()
    name = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())
    image.save(content, name, **options)
    return suffix, content.getvalue()


grey, colour, deep = (Image.fromarray(values) for values in (RAMP, COLOURS, DEEP))
FILES = [
    *(file(suffix, image) for suffix in ("png", "bmp", "tif", "ppm") for image in (grey, colour)),
    *(file(suffix, deep) for suffix in ("png", "tif", "ppm")),
    *(
        file("tif", image, compression=kind)
        for image in (grey, colour)
        for kind in ("tiff_lzw", "tiff_deflate", "jpeg")
    ),
    file("tif", grey.convert("1"), compression="group4"),
    *(file("jpg", image, exif=EXIF, progressive=True) for image in (grey, colour)),
    file("jpg", colour.convert("CMYK")),
    *(file("webp", colour, lossless=kind, exif=EXIF) for kind in (True, False)),
    file("webp", colour.convert("RGBA"), save_all=True, append_images=[colour.convert("RGBA").rotate(90)]),
    *(file(suffix, colour.convert("P")) for suffix in ("gif", "png", "bmp", "tif")),
    file("gif", grey, save_all=True, append_images=[grey.rotate(90)]),
    file("png", colour.convert("RGBA"), exif=EXIF),
    file("png", colour, transparency=(0, 132, 0)),
    file("bmp", grey.convert("1")),
    ("ppm", b"P3 # plain\n12 12 255\n" + b" ".join(b"%d" % value for value in COLOURS.flat)),
    ("pgm", b"P2 12 12 4095\n" + b" ".join(b"%d" % value for value in DEEP.ravel() // 16)),
]

extreme = st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 10**6, 2**31 - 1, 2**31, 2**32 - 1])
number = st.one_of(st.integers(0, 40), extreme, st.integers(0, 2**32 - 1))


@st.composite
def mutated(draw):
    suffix, content = draw(st.sampled_from(FILES))
    damaged = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        # headers are where the harm is done
        place = draw(st.one_of(st.integers(0, min(64, len(damaged))), st.integers(0, len(damaged))))
        match draw(st.sampled_from(["byte", "number", "cut", "twice", "gone", "noise"])):
            case "byte" if place < len(damaged):
                damaged[place] = draw(st.integers(0, 255))
            case "number":
                order = draw(st.sampled_from("<>"))
                damaged[place : place + 4] = struct.pack(f"{order}I", draw(number))
            case "cut":
                del damaged[place:]
            case "twice":
                damaged[place:place] = damaged[place : place + draw(st.integers(1, 64))]
            case "gone":
                del damaged[place : place + draw(st.integers(1, 16))]
            case "noise":
                damaged[place:place] = draw(st.binary(max_size=32))
    if suffix == "png" and draw(st.booleans()):
        damaged = checksummed(bytes(damaged))
    return suffix, bytes(damaged)


def checksummed(content):
    """The same PNG file with checksums that are right, so that the damage is read."""
    place, whole = 8, content[:8]
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunk = content[place + 4 : place + 8 + length]
        whole += content[place : place + 4] + chunk + struct.pack(">I", zlib.crc32(chunk))
        place += 12 + length
    return whole


def png(width, height, bits, colours, rest, rows):
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, rest)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return "png", b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def tiff(order, tags, data):
    body = b""
    for tag, kind, count, value in sorted(tags):
        body += struct.pack(f"{order}HHII", tag, kind, count, value)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return "tif", mark + struct.pack(f"{order}IH", 8, len(tags)) + body + bytes(4) + data


def usual_tags(width, height, bits, photometric, compression, planar, more):
    place = 8 + 2 + 12 * (9 + len(more)) + 4
    usual = {256: width, 257: height, 258: bits, 259: compression, 262: photometric, 273: place, 277: 1, 278: height}
    return [(tag, 4, 1, value) for tag, value in (usual | {279: 999}).items()] + more


def webp(kind, begin):
    body = b"WEBP" + kind + struct.pack("<I", len(begin)) + begin
    return "webp", b"RIFF" + struct.pack("<I", len(body)) + body


tag = st.tuples(
    st.sampled_from([254, 256, 266, 274, 277, 284, 317, 320, 322, 323, 324, 325, 338, 339, 529, 530, 34665]),
    *(st.integers(0, 16), st.one_of(st.just(1), number), number),
)
rows = st.one_of(st.binary(max_size=200), st.integers(0, 20_000).map(bytes))
side = st.one_of(st.integers(0, 20), st.just(SIDE), number)
made_up = st.one_of(
    st.builds(png, side, side, st.sampled_from([1, 2, 4, 8, 16, 3]), st.integers(0, 7), st.integers(0, 2), rows),
    st.builds(
        lambda kind, *parts: ("ppm", kind + b" %d %d %d\n" % parts[:3] + parts[3]),
        st.sampled_from([b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf", b"PyRGBA", b"P0CMYK"]),
        *(side, side, st.one_of(st.sampled_from([1, 100, 255, 256, 4095, 65535]), number)),
        st.one_of(rows, st.lists(st.integers(-1, 70_000), max_size=500).map(lambda values: str(values)[1:-1].encode())),
    ),
    st.builds(
        lambda width, height, bits, kind, used, data: (
            "bmp",
            b"BM" + struct.pack("<IIIIIIHHIIIIII", 0, 0, 54, 40, width, height, 1, bits, kind, 0, 0, 0, used, 0) + data,
        ),
        *(side, side, st.sampled_from([1, 2, 4, 8, 16, 24, 32]), st.integers(0, 6), number, rows),
    ),
    st.builds(
        tiff,
        st.sampled_from("<>"),
        st.builds(
            usual_tags,
            *(side, side, st.sampled_from([1, 2, 4, 8, 12, 16, 32]), st.integers(0, 8)),
            st.sampled_from([1, 1, 1, 2, 3, 4, 5, 7, 8, 32773]),
            *(st.integers(0, 2), st.lists(tag, max_size=4)),
        ),
        rows,
    ),
    st.builds(webp, st.sampled_from([b"VP8 ", b"VP8L", b"VP8X", b"ALPH"]), st.binary(min_size=0, max_size=60)),
    st.builds(
        lambda width, height, flags, data: ("gif", b"GIF89a" + struct.pack("<HHB", width, height, flags) + data),
        *(st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 255), rows),
    ),
    st.tuples(st.sampled_from(["png", "jpg", "gif", "ppm", "tif", "webp", "bmp"]), st.binary(max_size=200)),
)
sizes = st.one_of(st.none(), st.tuples(st.integers(1, 64), st.integers(1, 64)))


def check(image, size):
    suffix, content = image
    folder = Path(PLACE.name)
    for name in ("cat", "dog"):
        (folder / "pets" / name).mkdir(parents=True, exist_ok=True)
        for old in (folder / "pets" / name).iterdir():
            old.unlink()
    (folder / "pets" / "cat" / f"p.{suffix}").write_bytes(content)
    (folder / "pets" / "dog" / f"p.{suffix}").write_bytes(content)
    found = refused_or_taken(lambda: load_data(DataSection(source="pets", size=size), folder))
    if found is None:
        return
    whole = found.everything()
    assert whole.inputs.dtype == torch.float32
    assert torch.isfinite(whole.inputs).all()
    assert 0 <= float(whole.inputs.min()) <= float(whole.inputs.max()) <= 1
    assert sorted(whole.labels.tolist()) == [0, 1]
    assert torch.equal(whole.inputs[0], whole.inputs[1])
    assert size is None or whole.inputs.shape[2:] == size
    assert found.pixels is None or found.pixels.made(whole.inputs)


test_damaged_images, test_damaged_images_long = attack(check, mutated(), sizes, quick=50, long=1050)
test_made_up_images, test_made_up_images_long = attack(check, made_up, sizes, quick=50, long=1050)
