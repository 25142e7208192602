"""COCO's files: boxes and masks go along with their images, and what is malformed is named by file and record."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splitimpera.core.errors import DataError
from splitimpera.models.datasets import is_source, load_data
from splitimpera.scenario import DataSection

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]


def load(source, kind="boxes", **keys):
    return load_data(DataSection(source=str(source), **keys), Path(), kind)


def write(path, *images, annotations=(), folder=None, **others):
    """A JSON file, and its images of 10 x 20 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder or path.parent).mkdir(parents=True, exist_ok=True)
    for number in images:
        value = np.full((10, 20, 3), number % 256, np.uint8)
        Image.fromarray(value).save((folder or path.parent) / f"{number}.png")
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 10, "width": 20} for n in images],
        "annotations": [*annotations],
        "categories": CATEGORIES,
    }
    path.write_text(json.dumps(content | others))
    return path


def box(image, bbox, category=3, number=1, **others):
    return {"id": number, "image_id": image, "category_id": category, "bbox": bbox, **others}


def by_image(data):
    """Targets by the value of the image's pixels."""
    everything = data.everything()
    values = (everything.inputs[:, 0, 0, 0] * 255).round().int().tolist()
    return dict(zip(values, everything.targets.rows(range(len(everything))), strict=True))


def test_boxes_are_corners_and_categories_follow_each_other(tmp_path):
    some = [box(1, [2, 3, 4, 5], 7), box(1, [0, 0, 20, 10], 3, 2, iscrowd=1), box(2, [-0.5, 9, 20.7, 2])]
    source = write(tmp_path / "all.json", 1, 2, 3, 4, annotations=some)
    assert is_source("all.json", tmp_path)
    data = load(source)
    assert data.classes == ("cat", "dog")
    found = by_image(data)
    np.testing.assert_array_equal(found[1][0], [[2, 3, 6, 8], [0, 0, 20, 10]])
    assert [part.tolist() for part in found[1][1:]] == [[1, 0], [False, True]]
    assert [part.dtype for part in found[1]] == [np.float32, np.int64, bool]
    np.testing.assert_array_equal(found[2][0], [[0, 9, 20, 10]])  # a pixel outside is cut off
    assert [part.shape for part in found[3]] == [(0, 4), (0,), (0,)]


def test_boxes_follow_resized_images(tmp_path):
    source = write(tmp_path / "all.json", 1, 2, 3, annotations=[box(1, [2, 4, 10, 5])])
    data = load(source, size=(30, 40))
    assert data.test.inputs.shape[1:] == (3, 30, 40)
    np.testing.assert_allclose(by_image(data)[1][0], [[4, 12, 24, 27]])


@pytest.mark.parametrize("images", ["", "images"])
def test_the_published_layout_has_its_own_parts(tmp_path, images):
    for part, numbers in (("train2017", range(1, 7)), ("val2017", range(11, 15))):
        some = [box(n, [n % 10, 1, 2, 3]) for n in numbers]
        file = tmp_path / "annotations" / f"instances_{part}.json"
        write(file, *numbers, annotations=some, folder=tmp_path / images / part)
        (tmp_path / "annotations" / f"captions_{part}.json").write_text("{}")
    data = load(tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [6, 2, 2]
    assert sorted(by_image(data)) == [1, 2, 3, 4, 5, 6, 11, 12, 13, 14]
    values = (data.validation.inputs[:, 0, 0, 0] * 255).round().int().tolist()
    assert values == [11, 13]  # validation and test are the images of one part in turn
    assert all(row[0][0, 0] == value % 10 for value, row in by_image(data).items())
    with pytest.raises(DataError, match="comes with its own parts"):
        load(tmp_path, test=0.3)
    assert len(load(tmp_path, limit=5).everything()) == 5
    only = load(tmp_path / "annotations" / "instances_val2017.json")
    assert len(only.everything()) == 4
    other = json.loads((tmp_path / "annotations" / "instances_val2017.json").read_text())
    other["categories"][0]["name"] = "wolf"
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(other))
    with pytest.raises(DataError, match=r"val2017.json' has other categories than '.*train2017.json'"):
        load(tmp_path)


def test_images_alone_need_no_annotations(tmp_path):
    source = write(tmp_path / "all.json", 1, 2, 3)
    content = json.loads(source.read_text())
    source.write_text(json.dumps({"images": content["images"]}))
    assert not load(source, "none").test.known
    with pytest.raises(DataError, match="has no list 'annotations'"):
        load(source)
    with pytest.raises(DataError, match="has boxes and masks; the task needs class labels"):
        load(source, "class")


def test_masks_are_drawn_from_outlines(tmp_path):
    square = [[2, 2, 7, 2, 7, 5, 2, 5]]
    runs = {"size": [10, 20], "counts": [10, 20, 170]}  # the second and the third column
    some = [
        box(1, [2, 2, 5, 3], 7, 1, segmentation=square),
        box(1, [0, 0, 20, 10], 3, 2, segmentation=[[0, 0, 20, 0, 20, 10, 0, 10]]),  # larger: beneath
        box(2, [1, 0, 2, 10], 3, 3, segmentation=runs, iscrowd=1),
    ]
    data = load(write(tmp_path / "all.json", 1, 2, 3, annotations=some), "mask")
    assert data.classes == ("background", "cat", "dog")
    found = by_image(data)
    wanted = np.ones((10, 20), np.uint8)
    wanted[2:5, 2:7] = 2
    np.testing.assert_array_equal(found[1][0], wanted)
    crowd = np.zeros((10, 20), np.uint8)
    crowd[:, 1:3] = 255
    np.testing.assert_array_equal(found[2][0], crowd)
    assert not found[3][0].any()
    resized = by_image(load(tmp_path / "all.json", "mask", size=(20, 40)))
    np.testing.assert_array_equal(resized[1][0], wanted.repeat(2, 0).repeat(2, 1))


def test_a_pixel_is_inside_where_its_middle_is(tmp_path):
    star = [10.2, 0.1, 13, 9.9, 3.3, 3, 17.6, 3.5, 6, 9.7]  # its edges cross
    corners = np.reshape(star, (-1, 2))
    wanted = np.zeros((10, 20), int)
    for row in range(10):
        for column in range(20):
            for (x, y), (next_x, next_y) in zip(corners, np.roll(corners, -1, 0), strict=True):
                if (y > row + 0.5) != (next_y > row + 0.5):
                    crossing = x + (row + 0.5 - y) / (next_y - y) * (next_x - x)
                    wanted[row, column] ^= crossing <= column + 0.5
    some = [box(1, [3, 0, 15, 10], segmentation=[star, [-5, -5, 1, -5, 1, 1, -5, 1]])]
    found = by_image(load(write(tmp_path / "all.json", 1, 2, 3, annotations=some), "mask"))[1][0]
    assert found[0, 0] == 1  # of a polygon that leaves the image
    found = found.copy()
    found[0, 0] = 0
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("outline", "why"),
    [
        (None, "segmentation is None, polygons or run lengths"),
        ([[1, 2, 3, 4]], "three or more corners"),
        ([[1, 2, 3, 4, 5, "x"]], "three or more corners"),
        ({"size": [10, 20], "counts": [10, 20]}, "not those of an image of 10 x 20"),
        ({"size": [10, 20], "counts": [-10, 210]}, "not those of an image of 10 x 20"),
        ({"size": [10**9, 20], "counts": [10**10 * 2]}, "not those of an image of 10 x 20"),
        ({"size": [10, 20], "counts": "PYS"}, "compressed"),
    ],
)
def test_malformed_outlines_are_named(tmp_path, outline, why):
    source = write(tmp_path / "all.json", 1, 2, 3, annotations=[box(2, [1, 1, 2, 2], number=9, segmentation=outline)])
    with pytest.raises(DataError, match=rf"all.json', annotation 0 \(id 9\).*{why}"):
        load(source, "mask")
    assert load(source).test.known  # boxes do without


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (box(8, [1, 1, 2, 2]), "there is no image 8"),
        (box(1, [1, 1, 2, 2], 4), "there is no category 4; known: 3, 7"),
        (box(1, [1, 1, 2, 2], True), "there is no category True"),
        (box(1, [1, 1, 2, 2], [3]), "there is no category"),
        (box([1], [1, 1, 2, 2]), r"image_id is \[1\], a whole number is expected"),
        (box(1, [1, 1, 0, 2]), "has no area"),
        (box(1, [1, 1, 1e-30, 2]), "has no area"),
        (box(1, [3, 1, -2, 2]), "has no area"),
        (box(1, [1, 1, 25, 2]), r"leaves its image of 10 x 20 pixels"),
        (box(1, [20.5, 1, 0.4, 2]), "has no area"),
        (box(1, [1, 1, 2]), r"bbox is \[1, 1, 2\], \[left, top, width, height\]"),
        (box(1, [1, 1, 1e300, 2]), "bbox is"),
        (box(1, [1, 1, 10**400, 2]), "bbox is"),
        (box(1, "1 1 2 2"), "bbox is"),
        (box(1, [1, 1, 2, 2], iscrowd=7), "iscrowd is 7"),
    ],
)
def test_malformed_annotations_are_named(tmp_path, change, why):
    good = box(2, [1, 1, 2, 2], number=5)
    source = write(tmp_path / "all.json", 1, 2, 3, annotations=[good, change])
    with pytest.raises(DataError, match=rf"all.json', annotation 1 \(id 1\).*{why}"):
        load(source)


def test_faulty_boxes_can_be_left_out(tmp_path):
    some = [box(1, [1, 1, 0, 2], number=11), box(1, [1, 1, 3, 3], number=12), box(2, [1, 1, 99, 3], number=13)]
    source = write(tmp_path / "all.json", 1, 2, 3, annotations=some)
    with pytest.warns(UserWarning, match=r"2 of 3 boxes are faulty and are left out: .*\(id 11\), .*\(id 13\)"):
        found = by_image(load(source, skip_broken=True))
    assert [len(found[number][0]) for number in (1, 2, 3)] == [1, 0, 0]


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ({"id": 1, "file_name": "1.png", "height": 10, "width": 20}, "the number is there twice"),
        ({"id": 9, "file_name": "1.png", "height": 10, "width": 20}, "the file is there twice"),
        ({"id": 9, "file_name": "9.png", "height": 10, "width": 20}, "there is no file '.*9.png'"),
        ({"id": 9, "file_name": "../9.png", "height": 10, "width": 20}, "file_name is ../9.png"),
        ({"id": 9, "file_name": "/etc/passwd", "height": 10, "width": 20}, "file_name is /etc/passwd"),
        ({"id": 9, "file_name": "a" * 5000, "height": 10, "width": 20}, "there is no file"),
        ({"id": 9, "height": 10, "width": 20}, "file_name is None"),
        ({"id": 2, "file_name": "2.png", "height": 10}, "height and width are 10 and None"),
        ({"id": 2, "file_name": "2.png", "height": 10, "width": 0}, "height and width are 10 and 0"),
        ({"id": 2, "file_name": "2.png", "height": 10**6, "width": 10**6}, "pixels per image"),
        ({"file_name": "2.png", "height": 10, "width": 20}, "id is None"),
        (["2.png"], "a JSON object is expected"),
    ],
)
def test_malformed_images_are_named(tmp_path, image, why):
    source = write(tmp_path / "all.json", 1, 2, 3)
    content = json.loads(source.read_text())
    content["images"] = [content["images"][0], image]
    source.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"all.json', image 1 .*{why}|all.json', image 1: {why}"):
        load(source)


def test_an_image_of_another_size_than_its_record_says_is_refused(tmp_path):
    source = write(tmp_path / "all.json", 1, 2, 3)
    Image.new("RGB", (30, 10)).save(tmp_path / "2.png")
    with pytest.raises(DataError, match=r"2.png' has 10 x 30 pixels, its record says 10 x 20"):
        load(source, size=(5, 5)).everything()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON: it is nested too deeply"),
        (b'{"images": NaN}', "is not valid JSON: NaN is no number"),
        (b"\xff\xfe\xfa", "is not valid JSON"),
        (b"[]", "has no list 'images'"),
        (b'{"images": 3}', "has no list 'images'"),
        (b'{"images": []}', "has no list 'annotations'"),
        (b'{"images": [], "annotations": [], "categories": []}', "has no images"),
    ],
)
def test_other_files_are_refused(tmp_path, content, why):
    (tmp_path / "all.json").write_bytes(content)
    with pytest.raises(DataError, match=f"all.json' {why}"):
        load(tmp_path / "all.json")


@pytest.mark.parametrize(
    "categories", [[], [{"id": 1}], [{"name": "x"}], [{"id": 1, "name": "x"}, {"id": 1, "name": "y"}], [3]]
)
def test_malformed_categories_are_named(tmp_path, categories):
    source = write(tmp_path / "all.json", 1, 2, 3, categories=categories)
    with pytest.raises(DataError, match=r"all.json'(, category \d| has no categories)"):
        load(source)
