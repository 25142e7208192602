"""IDX files and CIFAR's binary batches: what is in them, and what damage is called."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from splitimpera.core.errors import DataError
from splitimpera.models.datasets import load_data
from splitimpera.models.packed_images import is_packed, read_packed
from splitimpera.scenario import DataSection

RNG = np.random.default_rng(3)
IMAGES = {"train": RNG.integers(0, 256, (40, 6, 5), np.uint8), "t10k": RNG.integers(0, 256, (20, 6, 5), np.uint8)}
LABELS = {part: np.arange(len(images), dtype=np.uint8) % 4 for part, images in IMAGES.items()}


def idx(array, kind=8):
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder, packed=False, **changes):
    for part in IMAGES:
        for name, array in ((f"{part}-images-idx3-ubyte", IMAGES[part]), (f"{part}-labels-idx1-ubyte", LABELS[part])):
            content = changes.get(name, idx(array))
            if content is not None:
                path = folder / (name + ".gz" if packed else name)
                path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    return folder


def cifar_records(count, label_bytes, classes, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 3, 32, 32), np.uint8)
    labels = rng.integers(0, classes, (count, label_bytes)).astype(np.uint8)
    labels[:, -1] = rng.permutation(count) % classes
    return images, labels, np.concatenate([labels, images.reshape(count, -1)], axis=1).tobytes()


def load(folder, **keys):
    return load_data(DataSection(source=str(folder), **keys), Path())


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_images_of_one_channel(tmp_path, packed):
    data = load(write_idx(tmp_path, packed), validation=0.25, mean=[0.5], std=[0.25])
    assert [len(part) for part in (data.train, data.validation, data.test)] == [30, 10, 20]
    wanted = (torch.from_numpy(IMAGES["t10k"][:, None] / 255).float() - 0.5) / 0.25
    torch.testing.assert_close(data.test.inputs, wanted)
    assert data.test.labels.tolist() == LABELS["t10k"].tolist()
    whole = torch.cat([data.train.inputs, data.validation.inputs])
    assert {tuple(image.flatten().tolist()) for image in whole} == {
        tuple(image.flatten().tolist())
        for image in (torch.from_numpy(IMAGES["train"][:, None] / 255).float() - 0.5) / 0.25
    }
    assert data.pixels is not None


def test_names_of_other_sets_and_a_validation_part_of_their_own(tmp_path):
    for part, own in (("train", "train"), ("validation", "train"), ("test", "t10k")):
        start = 20 if part == "validation" else 0
        rows = slice(start, start + 20)
        (tmp_path / f"letters-{part}-images-idx3-ubyte").write_bytes(idx(IMAGES[own][rows]))
        (tmp_path / f"letters-{part}-labels-idx1-ubyte").write_bytes(idx(LABELS[own][rows]))
    data = load(tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [20, 20, 20]
    with pytest.raises(DataError, match="comes with its own parts"):
        load(tmp_path, validation=0.5)


@pytest.mark.parametrize(("name", "label_bytes", "classes"), [("CIFAR-10", 1, 10), ("CIFAR-100", 2, 100)])
def test_cifars_batches_are_planes_of_colours(tmp_path, name, label_bytes, classes):
    files = (
        ["data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"] if label_bytes == 1 else ["train.bin", "test.bin"]
    )
    made = {}
    for seed, file in enumerate(files):
        images, labels, content = cifar_records(300, label_bytes, classes, seed)
        made[file] = images, labels[:, -1]
        (tmp_path / file).write_bytes(content)
    names = [f"class {place}" for place in range(classes)]
    (tmp_path / ("batches.meta.txt" if label_bytes == 1 else "fine_label_names.txt")).write_text(
        "\n".join(names) + "\n"
    )
    data = load(tmp_path, validation=0.2)
    assert data.classes == tuple(names)
    images, labels = made[files[-1]]
    torch.testing.assert_close(data.test.inputs, torch.from_numpy(images).float() / 255)
    assert data.test.labels.tolist() == labels.tolist()
    trained = np.concatenate([made[file][0] for file in files[:-1]])
    assert len(data.train) + len(data.validation) == len(trained)
    assert float(data.train.inputs.sum() + data.validation.inputs.sum()) == pytest.approx(trained.sum() / 255, rel=1e-4)


def test_a_share_of_a_set_can_be_taken(tmp_path):
    data = load(write_idx(tmp_path), limit=30, seed=1)
    assert len(data.train) + len(data.validation) + len(data.test) == 30


def test_whatever_else_is_in_a_folder_it_is_no_such_set(tmp_path):
    assert not is_packed(tmp_path)
    (tmp_path / "train.bin").write_bytes(b"x")
    assert not is_packed(tmp_path)
    assert not is_packed(tmp_path / "train.bin")
    assert not is_packed(tmp_path / "nowhere")


TRAIN = idx(IMAGES["train"])
DAMAGE = {
    "cut": (TRAIN[:-1], "claims the shape .40, 6, 5., for which it is too small"),
    "long": (TRAIN + b"x", "claims the shape .40, 6, 5., for which it is too large"),
    "empty": (b"", "begins with nothing"),
    "header": (TRAIN[:9], "ends in its header"),
    "other numbers": (idx(IMAGES["train"], kind=0x0D), "no IDX file of bytes: it begins with 00 00 0d 03"),
    "many dimensions": (bytes([0, 0, 8, 200]) + bytes(800), "no IDX file of bytes"),
    "four gigabytes": (bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**10, 2**10), "(too small|shape .2147483648)"),
    "none of a great many": (
        bytes([0, 0, 8, 3]) + struct.pack(">3I", 0, 2**32 - 1, 2**32 - 1),
        "there is nothing in it",
    ),
    "flat": (idx(IMAGES["train"].reshape(40, 30)), r"has the shape \(40, 30\)"),
    "fewer": (idx(IMAGES["train"][:39]), r"has the shape \(39, 6, 5\)"),
    "missing": (None, "has no images of 'train'"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_idx_files_are_named(tmp_path, kind, packed):
    content, told = DAMAGE[kind]
    write_idx(tmp_path, packed, **{"train-images-idx3-ubyte": content})
    with pytest.raises(DataError, match=told) as refused:
        load(tmp_path)
    assert kind == "missing" or "train-images-idx3-ubyte" in str(refused.value)


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(TRAIN, mtime=0)[:-9], gzip.compress(TRAIN, mtime=0)[:40]]
)
def test_damaged_gzip_files_are_named(tmp_path, content):
    write_idx(tmp_path, packed=True)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz.*(cannot be unpacked|too small)"):
        load(tmp_path)


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    write_idx(tmp_path, packed=True)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(TRAIN + bytes(200_000_000), 1, mtime=0))
    with pytest.raises(DataError, match="too large"):
        load(tmp_path)


def test_damaged_batches_are_named_with_their_record(tmp_path):
    _, _, content = cifar_records(20, 1, 10, 0)
    (tmp_path / "test_batch.bin").write_bytes(content)
    (tmp_path / "data_batch_1.bin").write_bytes(content[:-5])
    with pytest.raises(
        DataError, match=r"data_batch_1.bin' ends in its record 19 \(from 0\), after 3068 of 3073 bytes"
    ):
        read_packed(tmp_path)
    wrong = bytearray(content)
    wrong[7 * 3073] = 10
    (tmp_path / "data_batch_1.bin").write_bytes(wrong)
    with pytest.raises(DataError, match=r"record 7 \(from 0\) of .*data_batch_1.bin' has the label 10, there are 10"):
        read_packed(tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(content)
    (tmp_path / "batches.meta.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match="has 2 names, there are 10 classes"):
        read_packed(tmp_path)


def test_two_files_of_one_part_are_refused(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "fashion-train-images-idx3-ubyte").write_bytes(TRAIN)
    with pytest.raises(DataError, match="two files of images of 'train'"):
        load(tmp_path)


def test_its_own_test_part_is_taken(tmp_path):
    with pytest.raises(DataError, match="comes with its own test part"):
        load(write_idx(tmp_path), test=0.3)
    with pytest.raises(DataError, match="too few"):
        load(tmp_path, validation=0.001)
