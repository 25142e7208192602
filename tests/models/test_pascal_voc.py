"""Pascal VOC's folders: boxes from XML that nobody need trust, masks by palette index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splitimpera.core.errors import DataError
from splitimpera.models.datasets import load_data
from splitimpera.scenario import DataSection

SIZE = "<size><width>20</width><height>10</height><depth>3</depth></size>"


def load(folder, kind="boxes", **keys):
    return load_data(DataSection(source=str(folder), **keys), Path(), kind)


def thing(name, left, top, right, bottom, more=""):
    corners = f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
    return f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>"


def record(*objects, size=SIZE):
    return f"<annotation><filename>another name</filename>{size}{''.join(objects)}</annotation>"


@pytest.fixture
def folder(tmp_path):
    """Six images of 10 x 20 pixels, all of the value that their name says, without objects."""
    for name in ("JPEGImages", "Annotations"):
        (tmp_path / name).mkdir()
    for number in range(1, 7):
        Image.new("RGB", (20, 10), (number,) * 3).save(tmp_path / "JPEGImages" / f"{number}.png")
        (tmp_path / "Annotations" / f"{number}.xml").write_text(record())
    return tmp_path


def write(folder, number, *objects, **others):
    (folder / "Annotations" / f"{number}.xml").write_text(record(*objects, **others))


def lists(folder, kind="Main", **parts):
    (folder / "ImageSets" / kind).mkdir(parents=True, exist_ok=True)
    for part, lines in parts.items():
        (folder / "ImageSets" / kind / f"{part}.txt").write_text("\n".join(map(str, lines)) + "\n")


def by_image(data):
    everything = data.everything()
    values = (everything.inputs[:, 0, 0, 0] * 255).round().int().tolist()
    return dict(zip(values, everything.targets.rows(range(len(everything))), strict=True))


def test_pixels_count_from_one_and_both_ends_are_inside(folder):
    write(folder, 1, thing("dog", 1, 1, 20, 10), thing("cat", 3, 4, 3, 4, "<difficult>1</difficult>"))
    write(folder, 2, thing("dog", 0, 1.5, 20.5, 10, "<truncated>1</truncated>"))
    data = load(folder)
    assert data.classes == ("cat", "dog")
    found = by_image(data)
    np.testing.assert_array_equal(found[1][0], [[0, 0, 20, 10], [2, 3, 3, 4]])
    assert [part.tolist() for part in found[1][1:]] == [[1, 0], [False, True]]
    np.testing.assert_array_equal(found[2][0], [[0, 0.5, 20, 10]])  # what is a pixel outside is cut off
    assert found[3][0].shape == (0, 4)
    np.testing.assert_allclose(by_image(load(folder, size=(20, 10)))[1][0], [[0, 0, 10, 20], [1, 6, 1.5, 8]])
    (folder / "classes.txt").write_text("dog\nwolf\ncat\n")
    assert by_image(load(folder))[1][1].tolist() == [0, 2]
    (folder / "classes.txt").write_text("dog\nwolf\n")
    with pytest.raises(DataError, match=r"1.xml', object 1 \(from 0\): there is no class 'cat'; known: dog, wolf"):
        load(folder)


def test_lists_say_which_part_an_image_belongs_to(folder):
    lists(folder, train=[1, 2], val=[3, 4, 5], trainval=[1, 2, 3, 4, 5], dog_train=["1 -1"])
    data = load(folder)
    assert [
        sorted(by_image(type(data)(part.take(slice(0)), part, part.take(slice(0)))))
        for part in (data.train, data.validation, data.test)
    ] == [[1, 2], [3, 5], [4]]
    lists(folder, test=[6])
    data = load(folder, "none")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [2, 3, 1]
    lists(folder, val=[3, 3])
    with pytest.raises(DataError, match=r"val.txt', line 2: '3' is there twice"):
        load(folder)
    lists(folder, val=["../1"])
    with pytest.raises(DataError, match=r"val.txt', line 1: '../1' is no name of a file"):
        load(folder)
    lists(folder, val=[9])
    with pytest.raises(DataError, match=r"9.xml' does not exist"):
        load(folder)
    with pytest.raises(DataError, match="there is no image '9'"):
        load(folder, "none")


def test_published_with_a_test_part(folder):
    lists(folder, trainval=[1, 2, 3, 4], test=[5, 6])
    data = load(folder)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [4, 1, 1]
    lists(folder, test=[5])
    with pytest.raises(DataError, match="the part 'test' has one sample"):
        load(folder)
    lists(folder, test=[4, 5])
    with pytest.raises(DataError, match="the parts overlap: 1 of 4 samples of 'train', 1 of 1 samples of 'validation'"):
        load(folder)


def test_masks_are_palette_indices(folder):
    (folder / "SegmentationClass").mkdir()
    values = np.arange(200, dtype=np.uint8).reshape(10, 20)
    values[0] = 255
    for number in range(1, 6):
        mask = Image.fromarray((values + number * (values < 255)).astype(np.uint8), "L")
        mask.putpalette([(7 * value) % 256 for value in range(768)])
        assert mask.mode == "P"
        mask.save(folder / "SegmentationClass" / f"{number}.png")
    lists(folder, "Segmentation", train=[1, 2], val=[3, 4, 5])
    data = load(folder, "mask")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [2, 2, 1]
    np.testing.assert_array_equal(by_image(data)[3][0][0], 255)
    np.testing.assert_array_equal(by_image(data)[3][0][1:], values[1:] + 3)
    with pytest.raises(DataError, match="has boxes and masks; the task needs class labels"):
        load(folder, "class")
    Image.new("L", (10, 20)).save(folder / "SegmentationClass" / "3.png")
    with pytest.raises(DataError, match=r"3.png' has 20 x 10 pixels, its image 10 x 20"):
        load(folder, "mask")
    (folder / "SegmentationClass" / "3.png").unlink()
    with pytest.raises(DataError, match=r"3.png' does not exist"):
        load(folder, "mask")


BOMB = (
    '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<annotation><filename>&b;</filename></annotation>"
)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("<annotation>", "is not valid XML"),
        ("", "is not valid XML"),
        ("<annotation></size></annotation>", "is not valid XML"),
        ("\0\1\2", "is not valid XML"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "is not valid XML"),
        ("<size/>", "begins with <size>, <annotation> is expected"),
        (BOMB, "declares a document type"),
        (BOMB.encode("utf-16"), "declares a document type"),
        ("<a>" * 1000, "is nested more than 20 levels deep"),
        ("<annotation/>", ": height is missing"),
        (record(size="<size><width>20</width><height>ten</height></size>"), ": height is 'ten'"),
        (record(size="<size><width>20</width><height>0</height></size>"), ": height and width are 0 and 20"),
        (record(size="<size><width>1e6</width><height>1e6</height></size>"), ".*pixels per image"),
        (record(thing("", 1, 1, 2, 2)), r", object 0 \(from 0\): it has no name"),
        (record(thing("a", 1, 1, 2, 2), thing("b", 1, 1, "nan", 2)), r", object 1 \(from 0\): xmax is 'nan'"),
        (record("<object><name>a</name></object>"), r", object 0 \(from 0\): xmin is missing"),
        (record(thing("a", 1, 1, 2, 2, "<difficult>yes</difficult>")), ".*: difficult is 'yes'"),
        (record(thing("a", 5, 1, 3, 2)), r", object 0 \(from 0\) has the box .*has no area"),
        (record(thing("a", 5, 1, 23, 2)), r", object 0 \(from 0\) has the box .*leaves its image"),
    ],
)
def test_malformed_files_are_named(folder, content, why):
    content = content if isinstance(content, bytes) else content.encode()
    (folder / "Annotations" / "2.xml").write_bytes(content)
    with pytest.raises(DataError, match=rf"2.xml'( ?){why}"):
        load(folder)


def test_a_file_without_bounds_is_not_read(folder, monkeypatch):
    monkeypatch.setattr("splitimpera.models.pascal_voc.MOST_BYTES", 500)
    write(folder, 2, "<!-- " + "x" * 500 + " -->")
    with pytest.raises(DataError, match=r"2.xml' is larger than 500 B"):
        load(folder)


def test_faulty_boxes_can_be_left_out(folder):
    write(folder, 1, thing("cat", 5, 1, 3, 2), thing("cat", 1, 1, 3, 2))
    with pytest.warns(UserWarning, match=r"1 of 2 boxes are faulty and are left out: .*1.xml', object 0"):
        assert len(by_image(load(folder, skip_broken=True))[1][0]) == 1


def test_records_and_images_go_together(folder):
    (folder / "JPEGImages" / "3.png").unlink()
    with pytest.raises(DataError, match=r"there is no image '3' in '.*JPEGImages'"):
        load(folder)
    Image.new("RGB", (20, 30)).save(folder / "JPEGImages" / "3.png")
    with pytest.raises(DataError, match=r"3.png' has 30 x 20 pixels, its record says 10 x 20"):
        load(folder, size=(4, 4))
    for path in (folder / "Annotations").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"Annotations' has no .xml files"):
        load(folder)


def test_two_images_of_one_name_are_refused(folder):
    Image.new("RGB", (20, 10)).save(folder / "JPEGImages" / "3.jpg")
    with pytest.raises(DataError, match=r"JPEGImages' has two files called '3'"):
        load(folder)
