"""What a task needs to be told of each sample, and what a source can tell: one fits, all else is refused in words."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from splitimpera.core.errors import DataError
from splitimpera.models.datasets import Dataset, Samples, load_data
from splitimpera.models.labelled import returned_data
from splitimpera.models.targets import Listed, Nothing, Stacked, boxes_of
from splitimpera.scenario import DataSection

X = np.random.default_rng(0).random((10, 3, 6, 5)).astype(np.float32)
MASKS = np.random.default_rng(1).integers(0, 3, (10, 6, 5)).astype(np.uint8)
ARRAYS = np.random.default_rng(2).random((10, 4)).astype(np.float32)
BOXES = [{"boxes": [[0.0, 1.0, 2.0, 3.0]] * (n % 3), "labels": [1] * (n % 3)} for n in range(10)]


def load(source, kind="class", **keys):
    return load_data(DataSection(source=str(source), **keys), Path(), kind)


def returned(made, kind, **keys):
    return returned_data(made, DataSection(source="own:data", **keys), kind)


def rows_by_input(data, wanted):
    """Whether each sample of all parts has the target that goes with its input."""
    everything = data.everything()
    found = everything.targets.rows(range(len(everything)))
    places = [int(np.flatnonzero((x.numpy() == X).all((1, 2, 3)))[0]) for x in everything.inputs]
    assert len({*places}) == len(X)
    return all(np.array_equal(row[0], wanted[place]) for row, place in zip(found, places, strict=True))


# Arrays in files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "y"), [("mask", MASKS), ("array", ARRAYS), ("array", ARRAYS[:, 0])])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.filterwarnings("ignore:.*is compressed")
def test_arrays_in_a_file_are_targets(tmp_path, save, kind, y):
    save(tmp_path / "data.npz", x=X, y=y)
    data = load(tmp_path / "data.npz", kind)
    assert rows_by_input(data, y)
    assert data.test.targets.rows([0])[0][0].dtype == (np.uint8 if kind == "mask" else np.float32)


def test_without_labels_only_inputs_are_needed(tmp_path):
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "y.npy").write_bytes(b"nobody reads this")
    data = load(tmp_path, "none")
    assert isinstance(data.test.targets, Nothing)
    assert data.test.targets.rows([0]) == [()]
    (tmp_path / "y.npy").unlink()
    with pytest.raises(DataError, match="has no labels"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("kind", "y", "why"),
    [
        ("boxes", ARRAYS, "has class labels and masks and arrays of numbers; the task needs boxes"),
        ("mask", ARRAYS, r"are float32 of shape \(10, 4\), masks of class indices"),
        ("mask", MASKS[:7], "10 inputs need as many targets, .* are 7"),
        ("array", ARRAYS[:7], "10 inputs need as many targets, .* are 7"),
        ("class", MASKS, "as many labels in one dimension"),
    ],
)
def test_other_arrays_are_refused(tmp_path, kind, y, why):
    np.savez(tmp_path / "data.npz", x=X, y=y)
    with pytest.raises(DataError, match=why):
        load(tmp_path / "data.npz", kind)


@pytest.mark.parametrize(
    ("kind", "y", "why"),
    [
        ("mask", np.where(MASKS == 2, -2, MASKS).astype(np.int8), r"row \d+, have the class index -2"),
        ("array", np.where(ARRAYS > 0.9, np.nan, ARRAYS), r"row \d+, contain NaN"),
    ],
)
def test_faulty_targets_are_named_by_row_when_they_are_read(tmp_path, kind, y, why):
    np.savez(tmp_path / "data.npz", x=X, y=y)
    everything = load(tmp_path / "data.npz", kind).everything()
    with pytest.raises(DataError, match=why):
        everything.targets.rows(range(10))


# What users return ----------------------------------------------------------------------------------------------------


class Items:
    def __init__(self, targets=None):
        self.targets_of_items = targets

    def __len__(self):
        return len(X)

    def __getitem__(self, place):
        if place >= len(X):
            raise IndexError
        return X[place] if self.targets_of_items is None else (X[place], self.targets_of_items[place])


ANNOTATIONS = [[{"bbox": [0, 1, 2, 2], "category_id": 1, "iscrowd": 0}] * (n % 3) for n in range(10)]


@pytest.mark.parametrize(
    "given", [BOXES, ANNOTATIONS, [entry if entry["labels"] else {"image_id": 3} for entry in BOXES]]
)
@pytest.mark.parametrize("beside", [True, False])
def test_boxes_of_items(given, beside):
    data = returned((X, given), "boxes") if beside else returned(Items(given), "boxes", workers=0)
    assert rows_by_input(data, [np.array(entry["boxes"], np.float32).reshape(-1, 4) for entry in BOXES])
    counts = [len(labels) for _, labels, _ in data.everything().targets.rows(range(10))]
    assert sorted(counts) == sorted(n % 3 for n in range(10))


SQUARE = [[0.0, 1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("entry", "shapes"),
    [
        ({"boxes": [[0, 1, 2]], "labels": [1]}, r"\(1, 3\), \(1,\), \(1,\)"),
        ({"boxes": SQUARE, "labels": 1}, r"\(1, 4\), \(\), \(1,\)"),
        ({"boxes": np.zeros((2, 8)), "labels": [1] * 4}, r"\(2, 8\), \(4,\), \(2,\)"),
        ({"boxes": SQUARE, "labels": []}, r"\(1, 4\), \(0,\), \(1,\)"),
        ({"boxes": SQUARE, "labels": [1], "iscrowd": 0}, r"\(1, 4\), \(1,\), \(\)"),
        ({"boxes": 3, "labels": [1]}, r"\(\), \(1,\), \(0,\)"),
    ],
)
def test_boxes_of_other_shapes_are_refused(entry, shapes):
    with pytest.raises(DataError, match=rf"of shapes {shapes}; \(n, 4\), \(n,\) and \(n,\) are expected"):
        boxes_of(entry, "entry 0")


def test_other_targets_say_which_task_they_are_for():
    with pytest.raises(DataError, match="list of the labels has boxes; the task needs class labels"):
        returned((X, BOXES), "class")
    with pytest.raises(DataError, match=r"have shape \(10, 6, 5\); name the task that they are for"):
        returned((X, MASKS), "class")
    with pytest.raises(DataError, match="without labels, `task: agreement`"):
        returned(X, "mask")


def test_masks_of_items():
    data = returned(Items(MASKS), "mask", workers=0)
    assert rows_by_input(data, MASKS)


@pytest.mark.parametrize("made", [Items(), Items(MASKS), Items(BOXES), Items([object()] * 10), X, (X, ARRAYS)])
def test_targets_are_left_unread_where_none_are_needed(made):
    data = returned(made, "none", **({"workers": 0} if isinstance(made, Items) else {}))
    assert isinstance(data.test.targets, Nothing)
    assert len(data.everything()) == 10
    assert data.everything().inputs.shape == X.shape


def test_items_of_another_kind_are_refused():
    with pytest.raises(DataError, match=r"item 0 .* has boxes; the task needs class labels"):
        returned(Items(BOXES), "class", workers=0)
    with pytest.raises(DataError, match="'boxes' and 'labels' is expected"):
        returned(Items(MASKS), "boxes", workers=0)


def test_a_dataset_has_the_kind_that_it_was_made_with():
    x = torch.from_numpy(X)
    labels = Samples(x, torch.arange(10))
    boxes = Samples(x, Listed(tuple(boxes_of(entry, "") for entry in BOXES)))
    masks = Samples(x, Stacked(torch.from_numpy(MASKS)))
    numbers = Samples(x, Stacked(torch.from_numpy(ARRAYS)))
    given = {"class": labels, "boxes": boxes, "mask": masks, "array": numbers, "none": Samples(x)}

    def whole(part):
        none = part.take(slice(0))
        return Dataset(none, part.take(slice(5)), part.take(slice(5, None)))

    for kind, samples in given.items():
        found = returned(whole(samples), kind)
        assert len(found.test) == 5
        assert found.test.known == (kind != "none")
        for other in given.keys() - {kind, "none"}:
            with pytest.raises(DataError, match=r"the part 'validation' has .*; the task needs"):
                returned(whole(samples), other)
    assert not returned(whole(labels), "none").test.known


# Known formats --------------------------------------------------------------------------------------------------------


def image(path, seed, shape=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)


def test_the_digits_need_no_labels():
    data = load("digits", "none")
    assert not data.test.known
    assert len(data.classes) == 10
    with pytest.raises(DataError, match="'digits' has class labels; the task needs masks"):
        load("digits", "mask")


def test_a_flat_folder_of_images_needs_no_labels(tmp_path):
    for number in range(6):
        image(tmp_path / f"{number}.png", number)
    image(tmp_path / "more" / "6.png", 6)
    assert len(load(tmp_path, "none").everything()) == 7
    with pytest.raises(DataError, match="one a class is expected"):
        load(tmp_path)
    with pytest.raises(DataError, match="has class labels; the task needs boxes"):
        load(tmp_path, "boxes")


def test_parts_of_images_need_no_labels(tmp_path):
    for place, name in enumerate(["train", "val", "test"]):
        image(tmp_path / name / "a.png", 2 * place)
        image(tmp_path / name / "deeper" / "b.png", 2 * place + 1)
    data = load(tmp_path, "none")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [2, 2, 2]
    assert data.classes == ()
    (tmp_path / "val").rename(tmp_path / "other")
    with pytest.raises(DataError, match=r"'.*other' is beside the folders of parts"):
        load(tmp_path, "none")


def test_idx_files_without_labels(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (20, 4, 4), np.uint8)
    for part in ("train", "t10k"):
        content = b"\0\0\x08\x03" + struct.pack(">3I", *values.shape) + (values ^ (part == "train")).tobytes()
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    data = load(tmp_path, "none")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [14, 6, 20]
    assert not data.test.known
    with pytest.raises(DataError, match="has no labels of 't"):
        load(tmp_path)
    with pytest.raises(DataError, match="has class labels; the task needs arrays"):
        load(tmp_path, "array")


# Sets that are much used ----------------------------------------------------------------------------------------------


def test_chest_xray_with_what_a_mac_leaves_behind(tmp_path):
    for place, part in enumerate(["train", "val", "test"]):
        for label, name in enumerate(["NORMAL", "PNEUMONIA"]):
            for number in range(3):
                image(tmp_path / part / name / f"{number}.jpeg", 100 * place + 10 * label + number, (9 + number, 12))
            (tmp_path / part / name / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (tmp_path / part / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (tmp_path / "__MACOSX" / "train").mkdir(parents=True)
    data = load(tmp_path, size=(8, 8))
    assert data.classes == ("NORMAL", "PNEUMONIA")
    assert data.validation.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.inputs.shape == (6, 1, 8, 8)


def test_notmnist_with_its_empty_files(tmp_path):
    for label, name in enumerate("ABC"):
        for number in range(8):
            image(tmp_path / name / f"{number}.png", 10 * label + number, (28, 28))
    (tmp_path / "A" / "RGVtb2NyYXRpY2FCb2xkT2xkc3R5bGUgQm9sZC50dGY=.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 25 images cannot be decoded and are left out: A/RGV"):
        data = load(tmp_path, skip_broken=True)
    assert data.classes == ("A", "B", "C")
    assert data.everything().labels.bincount().tolist() == [8, 8, 8]
