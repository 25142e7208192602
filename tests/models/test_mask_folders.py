"""Folders of images and masks: indices and colors become classes, and what is no class is named."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splitimpera.core.errors import DataError
from splitimpera.models.datasets import load_data
from splitimpera.models.mask_files import ClassNames, read_mask
from splitimpera.scenario import DataSection

COLORS = [(0, 0, 0), (128, 64, 0), (0, 0, 255)]
CVAT = "# label:color_rgb:parts:actions\nsky:0,0,0::\nroad:128,64,0::\n\ncar:0,0,255::\n"
CAMVID = "0 0 0\t\tsky\n128 64 0 road\n0 0 255  car\n"
VALUES = np.random.default_rng(0).integers(0, 3, (6, 8, 10)).astype(np.uint8)


def load(folder, kind="mask", **keys):
    return load_data(DataSection(source=str(folder), **keys), Path(), kind)


def write(folder, places, mask, suffix="png"):
    """An image for each place, and what `mask(values)` makes of its classes."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for place in places:
        Image.new("RGB", (10, 8), (place + 1,) * 3).save(folder / "images" / f"{place}.bmp")
        mask(VALUES[place]).save(folder / "masks" / f"{place}.{suffix}")
    return folder


def grey(values):
    return Image.fromarray(values)


def deep(values):
    return Image.fromarray(values.astype(np.uint16))


def palette(values):
    image = Image.fromarray(values)
    image.putpalette([channel for color in COLORS for channel in color])
    return image


def color(values):
    return Image.fromarray(np.array(COLORS, np.uint8)[values])


def masks(data):
    everything = data.everything()
    values = (everything.inputs[:, 0, 0, 0] * 255).round().int().tolist()
    found = dict(zip(values, (row[0] for row in everything.targets.rows(range(len(everything)))), strict=True))
    assert all(mask.dtype == np.uint8 for mask in found.values())
    return np.stack([found[place + 1] for place in range(len(found))])


@pytest.mark.parametrize("mask", [grey, deep, palette])
def test_indices_are_classes(tmp_path, mask):
    data = load(write(tmp_path, range(6), mask))
    np.testing.assert_array_equal(masks(data), VALUES)
    assert data.classes == ()
    with pytest.raises(DataError, match="has masks; the task needs class labels"):
        load(tmp_path, "class")
    assert not load(tmp_path, "none").test.known


def few_bits(values, bits):
    """A grayscale PNG of 2 or 4 bits a pixel, which Pillow does not write."""
    rows = np.zeros((len(values), -(-values.shape[1] * bits // 8)), np.uint8)
    for column, value in enumerate(values.T):
        place = column * bits
        rows[:, place // 8] |= value << (8 - bits - place % 8)
    body = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    head = struct.pack(">IIBBBBB", values.shape[1], len(values), bits, 0, 0, 0, 0)
    parts = {b"IHDR": head, b"IDAT": body, b"IEND": b""}
    made = b"\x89PNG\r\n\x1a\n"
    for kind, content in parts.items():
        made += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return made


@pytest.mark.parametrize("white", [2, 4, 20, 255, 300, 65535])
def test_few_bits_are_indices_too(tmp_path, white):
    """What readers of images stretch to white is put back."""
    values = VALUES[0]
    path = tmp_path / "mask"
    if white < 5:
        path.write_bytes(few_bits(values, white))
    else:
        path.write_bytes(b"P5\n10 8\n%d\n" % white + values.astype(">u1" if white < 256 else ">u2").tobytes())
    np.testing.assert_array_equal(read_mask(path, ClassNames()), values)


def test_masks_are_turned_as_their_images_are(tmp_path):
    write(tmp_path, range(6), grey)
    turned = Image.Exif()
    turned[0x0112] = 3
    for path in (tmp_path / "masks").iterdir():
        Image.open(path).save(path, exif=turned)
    np.testing.assert_array_equal(masks(load(tmp_path)), VALUES[:, ::-1, ::-1])


def test_colors_may_have_an_opaque_alpha_channel(tmp_path):
    write(tmp_path, range(6), lambda values: color(values).convert("RGBA"))
    (tmp_path / "labelmap.txt").write_text(CVAT)
    np.testing.assert_array_equal(masks(load(tmp_path)), VALUES)
    Image.new("RGBA", (10, 8)).save(tmp_path / "masks" / "0.png")
    with pytest.raises(DataError, match=r"transparent in places \(mode RGBA\)"):
        masks(load(tmp_path))


@pytest.mark.parametrize("file", [("labelmap.txt", CVAT), ("label_colors.txt", CAMVID), ("classes.txt", CAMVID)])
@pytest.mark.parametrize("mask", [color, palette, grey])
def test_colors_are_looked_up(tmp_path, file, mask):
    # in another order than the palette's own
    name, text = file
    (tmp_path / name).write_text(text)
    data = load(write(tmp_path, range(6), mask))
    assert data.classes == ("sky", "road", "car")
    np.testing.assert_array_equal(masks(data), VALUES)


def test_a_color_counts_more_than_its_place_in_the_palette(tmp_path):
    (tmp_path / "labelmap.txt").write_text("car:0,0,255::\nroad:128,64,0::\nsky:0,0,0::\n")
    data = load(write(tmp_path, range(6), palette))
    np.testing.assert_array_equal(masks(data), 2 - VALUES)


def test_a_palette_may_leave_pixels_out(tmp_path):
    (tmp_path / "labelmap.txt").write_text(CVAT)
    values = VALUES.copy()
    values[:, 0] = 255

    def void(classes):
        image = Image.fromarray(classes)
        image.putpalette([*(channel for color in COLORS for channel in color), *[9] * (768 - 9)])
        return image

    folder = write(tmp_path, range(6), palette)
    for place in range(6):
        void(values[place]).save(folder / "masks" / f"{place}.png")
    np.testing.assert_array_equal(masks(load(tmp_path)), values)


def test_names_alone_say_how_many_classes_there_are(tmp_path):
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    assert load(write(tmp_path, range(6), grey)).classes == ("sky", "road", "car")
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    everything = load(tmp_path).everything()
    with pytest.raises(DataError, match=r"png' has the class index 2, 'classes.txt' names 2 classes"):
        everything.targets.rows(range(6))


def test_parts_are_folders(tmp_path):
    for part, places in (("train", [0, 1, 2]), ("val", [3, 4]), ("test", [5])):
        write(tmp_path / part, places, grey)
    data = load(tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [3, 2, 1]
    np.testing.assert_array_equal(masks(data), VALUES)
    assert [len(part) for part in (load(tmp_path, limit=4).train, load(tmp_path, limit=4).test)] == [2, 1]
    with pytest.raises(DataError, match="comes with its own parts"):
        load(tmp_path, validation=0.1)


def test_masks_are_resized_to_the_nearest_class(tmp_path):
    data = load(write(tmp_path, range(6), grey), size=(16, 20))
    np.testing.assert_array_equal(masks(data), VALUES.repeat(2, 1).repeat(2, 2))
    assert data.test.inputs.shape[1:] == (3, 16, 20)


def changed(path, image):
    return lambda folder: image.save(folder / path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (changed("masks/3.png", Image.new("L", (8, 10))), r"masks/3.png' has 10 x 8 pixels, its image 8 x 10"),
        (changed("masks/3.png", color(VALUES[0])), r"masks/3.png' has colors \(mode RGB\), and no file says"),
        (
            changed("masks/3.png", deep(VALUES[0].astype(int) * 200)),
            r"masks/3.png' has the class index 400, at most 255",
        ),
        (lambda folder: (folder / "masks" / "3.png").unlink(), r"images/3.bmp' has no mask of the same name"),
        (lambda folder: (folder / "images" / "3.bmp").unlink(), r"masks/3.png' has no image of the same name"),
        (changed("masks/3.bmp", grey(VALUES[0])), "two files called '3'"),
        (lambda folder: (folder / "masks" / "3.png").write_bytes(b"png"), "masks/3.png' cannot be read"),
        (lambda folder: (folder / "classes.txt").write_text("\n"), "classes.txt' has 0 classes"),
        (lambda folder: (folder / "classes.txt").write_text("\n".join(map(str, range(300)))), "has 300 classes"),
        (lambda folder: (folder / "classes.txt").write_text("a\nb\na\n"), "line 3: the class 'a' is there twice"),
        (lambda folder: (folder / "labelmap.txt").write_text("a:1,2,3::\nb:1,2,3::\n"), "line 2: the color .* twice"),
        (lambda folder: (folder / "labelmap.txt").write_text("a:1,2,333::\n"), "line 1: the color .* no color"),
        (lambda folder: (folder / "labelmap.txt").write_text("a:1,2,3::\nb\n"), "gives colors to 1 of its 2 classes"),
    ],
)
def test_what_is_malformed_is_named(tmp_path, change, why):
    write(tmp_path, range(6), grey)
    change(tmp_path)
    with pytest.raises(DataError, match=why):
        load(tmp_path).everything().targets.rows(range(6))


def test_a_color_without_a_class_is_named(tmp_path):
    (tmp_path / "labelmap.txt").write_text("sky:0,0,0::\nroad:128,64,0::\n")
    everything = load(write(tmp_path, range(6), color)).everything()
    with pytest.raises(DataError, match=r"png' has the color \(0, 0, 255\) in row \d, column \d .*known: sky, road"):
        everything.targets.rows(range(6))


def test_masks_that_were_compressed_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"masks/0.jpg' may have lost"):
        load(write(tmp_path, range(6), grey, "jpg"))


def test_broken_masks_are_left_out_with_their_images(tmp_path):
    write(tmp_path, range(6), grey)
    path = tmp_path / "masks" / "2.png"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 30])
    with pytest.warns(UserWarning, match=r"1 of 6 images cannot be decoded and are left out: images/2.bmp"):
        data = load(tmp_path, skip_broken=True)
    assert len(data.everything()) == 5
