"""Folders of images: what is read gives the file's values, all else is refused by name."""

from __future__ import annotations

import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from splitimpera.core.errors import DataError
from splitimpera.models import numbers
from splitimpera.models.datasets import Pixels, load_data
from splitimpera.models.image_files import read_image
from splitimpera.models.image_folders import list_images
from splitimpera.models.image_sets import look
from splitimpera.scenario import DataSection

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=2)
DEEP = (np.arange(64, dtype=np.uint16) * 1040 + 3).reshape(8, 8)


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    return tmp_path / "pets"


def fill(folder, save, suffix="png", count=2):
    """`save(path)` writes each of the images of both classes."""
    for name in ("cat", "dog"):
        for index in range(count):
            save(folder / name / f"{index}.{suffix}")
    return folder


def read_images(folder, size):
    listing = list_images(folder)
    return look(listing.paths, size, 2).read(slice(None)).numpy(), listing.strata, listing.classes


def first(folder, size=None):
    return read_images(folder, size)[0][0]


def saved(image, **options):
    return lambda path: image.save(path, **options)


def written(content):
    return lambda path: path.write_bytes(content)


def png(header, rows, *extra):
    """A PNG file of a given IHDR and its raw rows, filter bytes included."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*entry) for entry in ((b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def tiff(path, tags):
    """Changes tags of a little-endian TIFF file that have a single 16-bit value."""
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", content, place)
        if tag in tags:
            struct.pack_into("<H", content, place + 8, tags.pop(tag))
    assert not tags
    path.write_bytes(content)


def tiff_of(strips, bits, **tags):
    """A little-endian TIFF file of 8 x 8 pixels, with one value a pixel unless `tags` say otherwise."""
    values = {256: [8], 257: [8], 258: bits, 259: [1], 262: [1], 273: [], 277: [len(bits)], 278: [8], 279: []}
    values |= {int(key[1:]): [value] for key, value in tags.items()}
    values[279] = [len(strip) for strip in strips]
    later = 8 + 2 + 12 * len(values) + 4  # where what does not fit into the tags goes
    size = sum(2 * len(entry) for entry in values.values() if len(entry) > 2)
    size += 2 * len(strips) if len(strips) > 2 else 0
    values[273] = [later + size + sum(map(len, strips[:index])) for index in range(len(strips))]
    tags_, more = b"", b""
    for tag, entry in sorted(values.items()):
        data = struct.pack(f"<{len(entry)}H", *entry)
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", later + len(more))
        more += data if len(data) > 4 else b""
        tags_ += struct.pack("<HHI", tag, 3, len(entry)) + place
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + tags_ + bytes(4) + more + b"".join(strips)


def deep_png(array):
    height, width = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    return png(struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0), rows)


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("png", deep_png(DEEP)),
        ("pgm", b"P5 8 8 65535\n" + DEEP.astype(">u2").tobytes()),
        ("pgm", b"P2 8 8 65535\n" + b" ".join(b"%d" % value for value in DEEP.flat)),
        ("tif", None),
        ("tif", tiff_of([DEEP.astype("<u2").tobytes()], [16])),
    ],
)
def test_grey_images_of_16_bits_keep_every_value(folder, suffix, content):
    """Once 64 different values became 0 and 255."""
    image = Image.fromarray(DEEP)
    fill(folder, written(content) if content else saved(image), suffix)
    values = first(folder)
    assert values.dtype == np.uint16
    assert np.array_equal(values[..., 0], DEEP)
    data = load_data(DataSection(source="pets", mean=(0.25,), std=(0.5,)), folder.parent)
    expected = (torch.from_numpy(DEEP.astype(np.float32)) / 65535 - 0.25) / 0.5
    assert torch.equal(data.test.inputs[0, 0], expected)
    assert data.test.inputs.dtype == torch.float32
    assert data.pixels is None  # no 8-bit codec writes them exactly
    resized = first(folder, (4, 4))
    assert resized.dtype == np.uint16
    assert len(np.unique(resized)) == 16


def test_a_tiff_of_separate_planes(folder):
    planes = [COLOURS[:8, :8, band].tobytes() for band in range(3)]
    whole = tiff_of(planes, [8] * 3, k262=2, k284=2)
    assert np.array_equal(first(fill(folder, written(whole), "tif")), COLOURS[:8, :8])
    part = tiff_of(planes[:1], [8] * 3, k262=2, k284=2)  # the red one alone
    with pytest.raises(DataError, match="parts for which it gives no values"):
        first(fill(folder, written(part), "tif"))


def test_a_12_bit_pgm_is_scaled_to_16(folder):
    content = b"P5 2 2 4095\n" + np.array([0, 1, 2048, 4095], ">u2").tobytes()
    assert first(fill(folder, written(content), "pgm")).ravel().tolist() == [0, 16, 32776, 65535]


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm", "gif"])
def test_eight_bit_images_keep_every_value(folder, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    image = Image.fromarray(RAMP if suffix == "gif" else COLOURS)
    values = first(fill(folder, saved(image, **options), suffix))
    assert np.array_equal(values, RAMP[..., None] if suffix == "gif" else COLOURS)
    data = load_data(DataSection(source="pets"), folder.parent)
    assert data.pixels == Pixels((0.0,) * values.shape[2], (1.0,) * values.shape[2])


def truly(mode, suffix, **options):
    return pytest.param(mode, suffix, options, id=f"{mode}-{suffix}")


@pytest.mark.parametrize(
    ("mode", "suffix", "options"),
    [
        *(truly("1", suffix) for suffix in ("png", "bmp", "tif", "pbm")),
        *(truly("LA", suffix) for suffix in ("png", "tif")),
        *(truly("P", suffix) for suffix in ("png", "gif", "bmp", "tif")),
        *(truly("RGBA", suffix) for suffix in ("png", "tif")),
        truly("RGBA", "webp", lossless=True),
        truly("L", "jpg", quality=100),
    ],
)
def test_modes_that_are_read_truly(folder, mode, suffix, options):
    grey = mode in ("1", "L", "LA")
    source = Image.fromarray(RAMP if grey else COLOURS).convert(mode)
    values = first(fill(folder, saved(source, **options), suffix))
    expected = np.asarray(source.convert("L" if grey else "RGB")).reshape(16, 16, -1)
    assert values.shape == expected.shape
    assert np.abs(values.astype(int) - expected).max() <= (1 if suffix == "jpg" else 0)


def half_transparent(mode):
    image = Image.fromarray(COLOURS).convert("RGBA")
    image.putalpha(Image.fromarray(RAMP))
    return image.convert(mode)


def deep_colour(path):
    rows = b"".join(b"\0" + bytes(range(8 * 3 * 2)) for _ in range(8))
    path.write_bytes(png(struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0), rows))


def with_tags(image, **tags):
    def save(path):
        image.save(path)
        tiff(path, {int(key[1:]): value for key, value in tags.items()})

    return save


def two_frames(path):
    Image.fromarray(RAMP).save(path, save_all=True, append_images=[Image.fromarray(RAMP.T)])


REFUSED = {
    "grey-alpha": ("png", saved(half_transparent("LA")), r"transparent in places \(mode LA\)"),
    "colour-alpha": ("png", saved(half_transparent("RGBA")), r"transparent in places \(mode RGBA\)"),
    "webp-alpha": ("webp", saved(half_transparent("RGBA"), lossless=True), "transparent in places"),
    "palette-alpha": ("png", saved(Image.fromarray(RAMP).convert("P"), transparency=3), "transparent in places"),
    "a-grey-that-is-none": ("png", saved(Image.fromarray(RAMP), transparency=7), r"transparent in places \(mode L\)"),
    "a-colour-that-is-none": ("png", saved(Image.fromarray(COLOURS), transparency=(0, 240, 0)), "transparent"),
    "a-deep-grey-that-is-none": (
        "png",
        lambda path: path.write_bytes(
            png(
                struct.pack(">IIBBBBB", 8, 8, 16, 0, 0, 0, 0),
                b"".join(b"\0" + row.astype(">u2").tobytes() for row in DEEP),
                (b"tRNS", struct.pack(">H", int(DEEP[3, 3]))),
            )
        ),
        "transparent in places",
    ),
    "float-tiff": ("tif", saved(Image.fromarray(RAMP / np.float32(255))), r"floating-point values \(mode F\)"),
    "whole-tiff": ("tif", saved(Image.fromarray(RAMP.astype(np.int32))), r"32 bits a value \(mode I\)"),
    "float-pfm": ("ppm", lambda path: path.write_bytes(b"Pf\n2 2\n-1.0\n" + bytes(16)), r"\(mode F\)"),
    "cmyk": ("jpg", saved(Image.fromarray(COLOURS).convert("CMYK")), r"no values of grey or RGB \(mode CMYK\)"),
    "cmyk-tiff": ("tif", saved(Image.fromarray(COLOURS).convert("CMYK")), r"\(mode CMYK\)"),
    "ycbcr": ("tif", saved(Image.fromarray(COLOURS).convert("YCbCr")), r"\(mode YCbCr\)"),
    "lab": ("tif", saved(Image.frombytes("LAB", (16, 16), COLOURS.tobytes())), r"\(mode LAB\)"),
    "deep-colour-png": ("png", deep_colour, r"16 bits a value, of which 8 would be read \(mode RGB\)"),
    "deep-colour-ppm": (
        "ppm",
        lambda path: path.write_bytes(b"P6 2 2 65535\n" + bytes(range(24))),
        "16 bits a value, of which 8 would be read",
    ),
    "signed-tiff": ("tif", saved(Image.fromarray(RAMP), tiffinfo={339: 2}), "signed or floating"),
    "a-tiff-without-its-end": ("tif", with_tags(Image.fromarray(RAMP), k278=3), "for which it gives no values"),
    "deep-planes": ("tif", written(tiff_of([bytes(128)] * 3, [16] * 3, k262=2, k284=2)), "16 bits a value"),
    "12-bit-tiff": ("tif", written(tiff_of([bytes(96)], [12])), r"12 bits a value \(mode I;16\)"),
    "signed-deep-tiff": ("tif", written(tiff_of([bytes(128)], [16], k339=2)), r"signed or .*\(mode I\)"),
    "inverted-deep-tiff": ("tif", with_tags(Image.fromarray(DEEP), k262=0), "whose 0 is white"),
    "animated-gif": ("gif", two_frames, "several frames"),
    "two-pages": ("tif", two_frames, "several frames"),
    "animated-png": ("png", two_frames, "several frames"),
    "animated-webp": ("webp", two_frames, "several frames"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_truly_is_refused_by_name(folder, name):
    suffix, save, message = REFUSED[name]
    fill(folder, save, suffix)
    with pytest.raises(DataError, match=message) as caught:
        first(folder)
    assert f"0.{suffix}'" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_images_stand_as_their_files_say(folder):
    """A viewer shows them so; TIFF files were turned before, JPEG files were not."""
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :16] = 255
    turns = {1: upright, 3: upright[::-1, ::-1], 6: np.rot90(upright), 8: np.rot90(upright, -1), 2: upright[:, ::-1]}
    turns |= {4: upright[::-1], 5: upright.T, 7: upright[::-1, ::-1].T}
    for orientation, stored in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        for suffix in ("png", "jpg", "webp", "tif"):
            image = Image.fromarray(np.ascontiguousarray(stored))
            options = {"tiffinfo": {274: orientation}} if suffix == "tif" else {"exif": exif, "quality": 95}
            path = folder / f"p.{suffix}"
            image.save(path, **options)
            values = read_image(path)[..., 0]
            assert values.shape == (16, 32), (orientation, suffix)
            assert np.abs(values.astype(int) - upright).max() < 60, (orientation, suffix)


def test_depths_are_not_mixed(folder):
    fill(folder, saved(Image.fromarray(DEEP)))
    Image.fromarray(RAMP[:8, :8]).save(folder / "dog" / "9.png")
    with pytest.raises(DataError, match=r"differ in depth: '.*9\.png' has 8 bits, '.*0\.png' 16"):
        first(folder)


def test_grey_and_coloured_images_go_together(folder):
    fill(folder, saved(Image.fromarray(RAMP)))
    Image.fromarray(COLOURS).save(folder / "dog" / "9.png")
    values, labels, _ = read_images(folder, None)
    assert values.shape == (5, 16, 16, 3)
    assert np.array_equal(values[0], np.stack([RAMP] * 3, axis=2))
    assert np.array_equal(values[4], COLOURS)
    assert labels.tolist() == [0, 0, 1, 1, 1]


def huge(side):
    return png(struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0), b"\0" * 100)


def webp(kind, begin):
    body = b"WEBP" + kind + struct.pack("<I", len(begin)) + begin
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("png", huge(13_000)),
        ("png", huge(100_000)),
        ("bmp", b"BM" + struct.pack("<IIIIiiHHIIIIII", 0, 0, 54, 40, 13_000, 13_000, 1, 24, 0, 0, 0, 0, 0, 0)),
        ("ppm", b"P6 13000 13000 255\n"),
        ("gif", b"GIF89a" + struct.pack("<HH", 13_000, 13_000) + bytes(3) + b"," + bytes(9) + b"\x02\0;"),
        ("webp", webp(b"VP8X", bytes(4) + (12_999).to_bytes(3, "little") * 2)),
        ("webp", webp(b"VP8L", b"/" + (12_999 | 12_999 << 14).to_bytes(4, "little") + bytes(5))),
        ("webp", webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 13_000, 13_000) + bytes(9))),
    ],
)
def test_an_image_of_169_million_pixels_is_refused_by_its_header(folder, suffix, content, monkeypatch):
    fill(folder, written(content), suffix, count=6)
    monkeypatch.setattr(Image.Image, "load", None)  # not even tried
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=r"pixels per image, at most 50 M are loaded|pixels\) exceeds limit"):
            first(folder)


def test_what_is_read_at_once_is_bounded_before_it_is_decoded(folder, monkeypatch):
    """A set may be of any size, what is in memory at a time may not."""
    fill(folder, saved(Image.fromarray(RAMP)), count=3)
    monkeypatch.setattr(numbers, "MOST_BYTES", 3 * 16 * 16 * 4)
    data = load_data(DataSection(source="pets"), folder.parent)
    assert data.everything().read(slice(1, 4)).shape == (3, 1, 16, 16)
    assert sum(map(len, data.everything().batches(2))) == 6
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(DataError, match=r"4 inputs of 1 x 16 x 16 take 4.096 kB as float32, at most 3.072 kB"):
        data.everything().read(slice(4))
    monkeypatch.undo()
    monkeypatch.setattr(numbers, "MOST_BYTES", 5 * 16 * 16 * 4)
    with pytest.raises(DataError, match="6 inputs of 1 x 16 x 16"):
        _ = data.everything().inputs


def test_only_regular_files_are_opened(folder):
    fill(folder, saved(Image.fromarray(RAMP)))
    pipe, loop, place, device = (folder / "dog" / f"{name}.png" for name in ("pipe", "loop", "place", "device"))
    os.mkfifo(pipe)
    with pytest.raises(DataError, match=r"pipe\.png' is a pipe or a device, an image is expected"):
        first(folder)
    pipe.unlink()
    loop.symlink_to(loop)
    with pytest.raises(DataError, match=r"loop\.png' cannot be read: .*symbolic links"):
        first(folder)
    loop.unlink()
    place.mkdir()
    with pytest.raises(DataError, match=r"place\.png' is a folder, an image is expected"):
        first(folder)
    place.rmdir()
    device.symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"device\.png' is a pipe or a device"):
        first(folder)


def test_folders_that_cannot_be_read(folder, monkeypatch):
    fill(folder, saved(Image.fromarray(RAMP)))
    (folder / "lost").symlink_to("nowhere")
    with pytest.raises(DataError, match="lost' is a link that leads nowhere"):
        first(folder)
    (folder / "lost").unlink()
    (folder / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="loop' is a link that leads nowhere"):
        first(folder)
    (folder / "loop").unlink()

    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(folder), "iterdir", refused)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        first(folder)


def test_what_is_hidden_is_no_class_and_no_image(folder):
    fill(folder, saved(Image.fromarray(RAMP)))
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / "cat" / "._0.png").write_bytes(b"a resource fork")
    values, _, classes = read_images(folder, None)
    assert classes == ("cat", "dog")
    assert len(values) == 4


def test_images_in_other_formats_are_not_left_out_without_a_word(folder):
    fill(folder, saved(Image.fromarray(RAMP)))
    (folder / "cat" / "9.HEIC").write_bytes(b"")
    with pytest.raises(DataError, match=r"9\.HEIC' is an image in a format that is not read"):
        first(folder)


def test_names_of_classes_are_harmless(folder):
    fill(folder, saved(Image.fromarray(RAMP)))
    (folder / "cat").rename(folder / "c\x1b]0;owned\x07\nat")
    (folder / "dog").rename(folder / os.fsdecode(b"d\xffog"))
    classes = load_data(DataSection(source="pets"), folder.parent).classes
    assert classes == ("c\\x1b]0;owned\\x07\\nat", "d\\udcffog")
    (folder / "d\\udcffog").mkdir()
    with pytest.raises(DataError, match="several classes are called"):
        load_data(DataSection(source="pets"), folder.parent)


def test_errors_show_paths_that_are_printable_and_short(folder):
    fill(folder, saved(Image.fromarray(RAMP)))
    (folder / "dog" / ("\x1b[2J" + "x" * 200 + ".png")).write_bytes(b"no image")
    with pytest.raises(DataError, match="damaged, or none of BMP") as caught:
        first(folder)
    assert "\x1b" not in caught.value.problem
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "content",
    [
        b"P6 2 2 255\n" + bytes(3),
        b"P6 two 2 255\n" + bytes(12),
        b"P6 " + b"9" * 5000,
        b"P6 2 2 70000\n" + bytes(24),
        b"P3 2 2 255\n1 2 999 " + b"0 " * 9,
        b"P3 2 2 255\n" + b"1" * 50,
        b"P1 2 2\n0 1 2 3",
        b"P5 0 0 255\n",
        b"P6 2 2 254\n",
        b"P6#",
        b"P7 2 2",
    ],
)
def test_damaged_ppm_images_are_named(folder, content):
    with pytest.raises(DataError, match=r"0\.ppm' cannot be read"):
        first(fill(folder, written(content), "ppm"))


def test_what_pillow_warns_of_or_logs_never_reaches_the_user(folder, capfd):
    image = Image.fromarray(COLOURS)
    fill(folder, saved(image), "tif")
    path = folder / "cat" / "0.tif"
    tiff(path, {277: 200})  # more samples a pixel than anybody has: Pillow logs an error
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=r"0\.tif' cannot be read"):
            first(folder)
        image.save(path)
        content = path.read_bytes()
        path.write_bytes(content[:4] + struct.pack("<I", len(content) - 2) + content[8:])
        with pytest.raises(DataError, match=r"0\.tif' cannot be read"):
            first(folder)
        # libtiff writes to the standard error of the process
        path.write_bytes(tiff_of([b"\x80" * 9], [8], k259=5))
        with pytest.raises(DataError, match=r"0\.tif' cannot be read"):
            first(folder)
    os.write(2, b"heard")
    assert capfd.readouterr() == ("", "heard")
