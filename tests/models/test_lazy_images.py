"""Folders of images of any size: read when they are asked for, a batch ahead, in parts that the folders say."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from splitimpera.core.errors import DataError, SplitImperaWarning
from splitimpera.models import image_sets
from splitimpera.models.datasets import load_data
from splitimpera.models.image_files import SILENCE
from splitimpera.models.samples import read_ahead
from splitimpera.scenario import DataSection


def fill(folder, count=6, names=("cat", "dog"), begin=0, mode="L"):
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            value = begin + label * count + index
            image = Image.new(mode, (8, 8), value if mode == "L" else (value, 0, 255 - value))
            image.save(folder / name / f"{index:03}.png")
    return folder


def loaded(folder, **options):
    return load_data(DataSection(source=folder.name, **options), folder.parent)


def values(samples):
    return [round(255 * float(x[0, 0, 0])) for batch in samples.batches(4) for x in batch]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_nothing_is_decoded_but_what_is_asked_for(tmp_path, monkeypatch, workers):
    decoded = []
    own = image_sets.read_image
    monkeypatch.setattr(image_sets, "read_image", lambda *args: (decoded.append(args[0]), own(*args))[1])
    data = loaded(fill(tmp_path / "pets", 50), workers=workers)
    assert len(decoded) <= 2
    data.test.take(slice(3, 9)).read(torch.tensor([1, 2]))
    assert len(decoded) <= 4
    batches = data.test.batches(5)
    next(batches)
    batches.close()
    assert len(decoded) <= 4 + 2 * 5
    whole = data.everything()
    assert sorted(values(whole)) == list(range(100))
    assert all((value >= 50) == label for value, label in zip(values(whole), whole.labels.tolist(), strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_no_more_than_three_batches_are_alive(tmp_path, monkeypatch, workers):
    """One is used, the next waits, and one is begun when the first is let go."""
    alive, most = weakref.WeakSet(), 0
    own = image_sets.ImageFiles.read

    def read(self, rows):
        batch = own(self, rows)
        alive.add(batch)
        return batch

    monkeypatch.setattr(image_sets.ImageFiles, "read", read)
    data = loaded(fill(tmp_path / "pets", 60), workers=workers)
    for _ in data.everything().batches(4):
        most = max(most, len(alive))
    assert 1 <= most <= 3


def test_the_next_batch_is_read_while_one_is_used():
    begun = []
    one = threading.Event()

    def read(rows):
        begun.append(rows)
        if len(begun) == 2:
            one.set()
        return rows

    batches = read_ahead(read, range(4))
    assert next(batches) == 0
    assert one.wait(5)
    time.sleep(0.05)
    assert begun == [0, 1]
    assert [*batches] == [1, 2, 3]


def test_many_threads_leave_the_process_as_it_was(tmp_path):
    folder = fill(tmp_path / "pets", 20)
    data = loaded(folder, workers=4)
    before = list(warnings.filters)
    threads = [threading.Thread(target=lambda: values(data.everything())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before
    assert SILENCE.readers == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("splitimpera")]


def parts_in(folder, validation="val"):
    for begin, part in ((0, "train"), (20, validation), (40, "test")):
        fill(folder / part, 6, begin=begin)
    return folder


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_folders_of_parts(tmp_path, validation):
    folder = parts_in(tmp_path / "pets", validation)
    fill(folder / "train", 6, ("ant",), begin=100)
    data = loaded(folder)
    assert data.classes == ("ant", "cat", "dog")
    assert values(data.train) == [*range(100, 106), *range(12)]
    assert values(data.validation) == [*range(20, 32)]
    assert values(data.test) == [*range(40, 52)]
    assert data.test.labels.tolist() == [1] * 6 + [2] * 6
    with pytest.raises(DataError, match=r"data\.test: the folder comes with its own parts"):
        loaded(folder, test=0.5)
    limited = loaded(folder, limit=21)
    assert [len(part) for part in (limited.train, limited.validation, limited.test)] == [9, 6, 6]
    assert limited.train.labels.bincount().tolist() == [3, 3, 3]
    assert set(values(limited.test)) < set(range(40, 52))


def test_folders_of_parts_without_train(tmp_path):
    folder = parts_in(tmp_path / "pets")
    (folder / "train").rename(tmp_path / "elsewhere")
    data = loaded(folder)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [0, 12, 12]


def test_classes_may_be_called_as_parts(tmp_path):
    data = loaded(fill(tmp_path / "vehicles", names=("bus", "train")))
    assert data.classes == ("bus", "train")
    data = loaded(fill(tmp_path / "words", names=("test", "train", "val")))
    assert data.classes == ("test", "train", "val")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: fill(folder / "test", 6, ("cow",), 90),
            "'test' has images of classes .* none: cow",
        ),
        (lambda folder: fill(folder / "val", 6, ("cow",), 90), "'validation' has images of classes .* none: cow"),
        (lambda folder: fill(folder / "validation", 6), "validation' is beside the folders of parts"),
        (lambda folder: fill(folder / "extra", 6), "extra' is beside the folders of parts, and none of them"),
        (lambda folder: (folder / "test").rename(folder.parent / "x"), "there is no folder 'test' beside train, val"),
        (lambda folder: [path.unlink() for path in folder.glob("test/*/*")], "the part 'test' is empty"),
        (lambda folder: [path.unlink() for path in folder.glob("*/*/*")], "has no images"),
    ],
)
def test_folders_that_are_no_parts(tmp_path, change, message):
    folder = parts_in(tmp_path / "pets")
    change(folder)
    with pytest.raises(DataError, match=message):
        loaded(folder)


@pytest.fixture
def broken(tmp_path):
    folder = fill(tmp_path / "pets", 10)
    (folder / "cat" / "003.png").write_bytes(b"")
    whole = (folder / "dog" / "007.png").read_bytes()
    (folder / "dog" / "007.png").write_bytes(whole[:-30])
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_decoded_may_be_left_out(broken, workers):
    with pytest.warns(SplitImperaWarning, match=r"2 of 20 images cannot be decoded .*: cat/003\.png, dog/007\.png$"):
        data = loaded(broken, skip_broken=True, workers=workers)
    assert sorted(values(data.everything())) == [value for value in range(20) if value not in (3, 17)]
    assert all((value >= 10) == label for value, label in zip(values(data.test), data.test.labels, strict=True))


def test_what_cannot_be_decoded_is_named_with_what_to_do(broken):
    with pytest.raises(
        DataError, match=r"cat/003\.png' cannot be read: it is damaged.*; `skip_broken: true` under"
    ) as caught:
        loaded(broken)
    assert caught.value.where == "data.source"
    (broken / "cat" / "003.png").unlink()
    data = loaded(broken)  # its header is whole
    with pytest.raises(DataError, match=r"dog/007\.png' cannot be read: .*; `skip_broken: true` under") as caught:
        values(data.everything())
    assert caught.value.where == "data.source"


def test_what_is_not_read_truly_is_not_left_out(tmp_path):
    folder = fill(tmp_path / "pets")
    Image.new("RGBA", (8, 8), (1, 2, 3, 4)).save(folder / "cat" / "clear.png")
    with pytest.raises(DataError, match=r"clear\.png' is transparent"):
        loaded(folder, skip_broken=True)
    (folder / "cat" / "clear.png").unlink()
    os.mkfifo(folder / "cat" / "pipe.png")
    with pytest.raises(DataError, match="is a pipe or a device"):
        loaded(folder, skip_broken=True)


def test_nothing_left(tmp_path):
    folder = fill(tmp_path / "pets")
    for path in folder.glob("*/*"):
        path.write_bytes(b"no image")
    with (
        pytest.warns(SplitImperaWarning, match="12 of 12"),
        pytest.raises(DataError, match="none of the images"),
    ):
        loaded(folder, skip_broken=True)


def test_a_part_that_skipping_leaves_empty(tmp_path):
    folder = parts_in(tmp_path / "pets")
    for path in folder.glob("test/*/*"):
        path.write_bytes(b"no image")
    with pytest.warns(SplitImperaWarning, match="12 of 36"), pytest.raises(DataError, match="the part 'test' is empty"):
        loaded(folder, skip_broken=True)


def test_color_that_the_headers_looked_at_do_not_show(tmp_path, monkeypatch):
    monkeypatch.setattr(image_sets, "HEADERS", 4)
    folder = fill(tmp_path / "pets")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(folder / "cat" / "001.png")
    data = loaded(folder)
    with pytest.raises(DataError, match=r"differ in color: '.*cat/001\.png' is in color, the 4 that"):
        values(data.everything())
    Image.new("RGB", (8, 8), (1, 2, 3)).save(folder / "cat" / "000.png")
    assert {x.shape[1] for x in loaded(folder).everything().batches(4)} == {3}


def test_sizes_that_the_headers_looked_at_do_not_show(tmp_path, monkeypatch):
    monkeypatch.setattr(image_sets, "HEADERS", 4)
    folder = fill(tmp_path / "pets")
    Image.new("L", (8, 9)).save(folder / "cat" / "001.png")
    data = loaded(folder)
    with pytest.raises(DataError, match=r"data.size: the images differ in size: '.*cat/001\.png' has 9 x 8 pixels"):
        values(data.everything())


def test_too_little_memory_is_told(tmp_path, monkeypatch):
    folder = fill(tmp_path / "pets")
    data = loaded(folder)

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", full)
    with pytest.raises(DataError, match=r"not enough memory to read the image '.*png'"):
        data.test.read(slice(1))


def test_tiff_is_read_by_the_callers_thread_alone(tmp_path):
    """Its reader writes to the standard error of the process, which is closed while it reads."""
    folder = fill(tmp_path / "pets")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "cat" / "9.tif")
    assert loaded(folder, workers=4).test.source.source.images.threads == 0
    sys.stderr.flush()
