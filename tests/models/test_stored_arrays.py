"""Arrays in files: mapped, read in part, and never believed."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch

from splitimpera.core.errors import DataError
from splitimpera.models import datasets, numbers
from splitimpera.models.datasets import Pixels, Samples, divide, is_source, load_data
from splitimpera.models.stored_arrays import StoredArray, read_stored
from splitimpera.scenario import DataSection

N = 40
X = np.random.default_rng(0).standard_normal((N, 3, 4)).astype(np.float32)
Y = np.arange(N) % 4


def loaded(folder, source, **options):
    return load_data(DataSection(source=source, **options), folder)


def everything(data, size=7):
    return torch.cat(list(data.everything().batches(size)))


def expected(x=X, y=Y):
    return divide(Samples(torch.as_tensor(x), torch.as_tensor(y)), validation=0.3, test=0.5).everything()


@pytest.mark.parametrize("names", [("x", "y"), ("inputs", "labels"), ("X", "labels")])
@pytest.mark.parametrize("save", ["npz", "compressed", "npy"])
def test_arrays_by_their_names(tmp_path, names, save):
    arrays = dict(zip(names, (X, Y), strict=True))
    source = "data.npz"
    if save == "npy":
        (tmp_path / "data").mkdir()
        source = "data"
        for name, array in arrays.items():
            np.save(tmp_path / "data" / f"{name}.npy", array)
    elif save == "npz":
        np.savez(tmp_path / source, **arrays)
    else:
        np.savez_compressed(tmp_path / source, **arrays)
    assert is_source(source, tmp_path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = loaded(tmp_path, source)
    assert ["is compressed and is read into memory" in str(one.message) for one in said] == [True] * 2 * (
        save == "compressed"
    )
    assert torch.equal(everything(data), expected().inputs)
    assert torch.equal(data.everything().labels, expected().labels)
    assert data.test.read(slice(0)).shape == (0, 3, 4)


def test_what_is_stored_is_mapped_and_not_read(tmp_path):
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    np.savez(tmp_path / "other.npz", x=np.asfortranarray(X.astype(">f8")), y=Y.astype(">u2"))
    for name in ("data.npz", "other.npz"):
        inputs, _ = read_stored(tmp_path / name)[""]
        assert isinstance(inputs, StoredArray)
        assert inputs.mapped is not None
        assert torch.equal(everything(loaded(tmp_path, name)), expected().inputs)


def test_more_than_fits_into_memory_is_read_in_parts(tmp_path, monkeypatch):
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    monkeypatch.setattr(numbers, "MOST_BYTES", 8 * X[0].nbytes)
    data = loaded(tmp_path, "data.npz")
    assert torch.equal(everything(data, 8), torch.from_numpy(X)[expected_order()])
    with pytest.raises(DataError, match="9 inputs of 3 x 4 take 432 B as float32, at most 384 B"):
        data.everything().read(slice(9))
    with pytest.raises(DataError, match="40 inputs of 3 x 4"):
        _ = data.everything().inputs


def expected_order():
    order = torch.from_numpy(np.random.default_rng(0).permutation(N))
    return torch.cat([order[32:], order[20:32], order[:20]])


@pytest.mark.parametrize("dtype", [np.uint8, ">u2"])
def test_stored_images_become_floats_as_they_are_read(tmp_path, monkeypatch, dtype):
    images = np.random.default_rng(0).integers(0, 255, (N, 6, 5, 3)).astype(dtype)
    np.savez(tmp_path / "data.npz", x=images, y=Y)
    look = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    data = loaded(tmp_path, "data.npz", **look)
    monkeypatch.setattr(datasets, "run_factory", lambda *_: (images, Y))
    array = loaded(tmp_path, "mine.py:data", **look)
    assert torch.equal(everything(data), array.everything().inputs)
    assert data.pixels == array.pixels == (Pixels((0.5,) * 3, (0.25,) * 3) if dtype == np.uint8 else None)


def test_parts_by_their_names(tmp_path):
    parts = {"x_train": X[:20], "y_train": Y[:20], "val_x": X[20:30], "val_y": Y[20:30]}
    np.savez(tmp_path / "data.npz", **parts, x_test=X[30:], y_test=Y[30:], made_by=np.array("hand"))
    data = loaded(tmp_path, "data.npz")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [20, 10, 10]
    assert torch.equal(everything(data), torch.from_numpy(X))
    np.savez(tmp_path / "two.npz", **parts)
    with pytest.raises(DataError, match=r"two\.npz' has no test part"):
        loaded(tmp_path, "two.npz")
    with pytest.raises(DataError, match=r"data.test: .* comes with its own parts"):
        loaded(tmp_path, "data.npz", test=0.3)


def test_a_factory_may_map_arrays_itself(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    monkeypatch.setattr(datasets, "run_factory", lambda *_: (mapped, Y))
    monkeypatch.setattr(numbers, "MOST_BYTES", 8 * X[0].nbytes)
    assert torch.equal(everything(loaded(tmp_path, "mine.py:data")), torch.from_numpy(X)[expected_order()])


def npy(shape, dtype="<f4", data=b"", version=b"\x01\x00"):
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


BROKEN = {
    "more-than-there-is": (npy("(10**15, 3)".replace("10**15", str(10**15))), "claims the shape .* too small"),
    "one-row-too-many": (npy("(40, 3)", data=bytes(39 * 12)), "claims the shape .* too small"),
    "overflow": (npy(f"({2**62}, 4)"), "too small"),
    "negative": (npy("(-40, 3)", data=bytes(480)), "one row a sample is expected"),
    "single": (npy("()", data=bytes(4)), "one row a sample is expected"),
    "objects": (npy("(40,)", "|O", bytes(320)), "it has objects, numbers are expected"),
    "text": (npy("(40,)", "<U3", bytes(480)), "it has text, numbers are expected"),
    "records": (npy("(40,)", [("a", "<f4")], bytes(160)), "it has records, numbers are expected"),
    "code": (npy("(__import__('os').getpid(),)"), "cannot be read"),
    "deep": (npy("(" * 3000), "cannot be read"),
    "long": (npy("(40, 3)" + " " * 20_000), "cannot be read"),
    "version-2": (npy("(40, 3)", version=b"\x02\x00"), "version 2.0 of the format is for records"),
    "noise": (b"\x93NUMPX" * 20, "cannot be read"),
    "empty": (b"", "cannot be read"),
}


@pytest.mark.filterwarnings("ignore:.*is compressed")
@pytest.mark.parametrize("where", ["npy", "npz", "compressed"])
@pytest.mark.parametrize("name", BROKEN)
def test_headers_are_not_believed(tmp_path, name, where):
    content, message = BROKEN[name]
    labels = io.BytesIO()
    np.save(labels, Y)
    if where == "npy":
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "x.npy").write_bytes(content)
        (tmp_path / "data" / "y.npy").write_bytes(labels.getvalue())
    else:
        kind = zipfile.ZIP_STORED if where == "npz" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(tmp_path / "data.npz", "w", kind) as archive:
            archive.writestr("x.npy", content)
            archive.writestr("y.npy", labels.getvalue())
    if where == "compressed" and name in ("more-than-there-is", "overflow"):
        message = "at most 4 GB are loaded"
    with pytest.raises(DataError, match=message) as caught:
        loaded(tmp_path, "data" if where == "npy" else "data.npz")
    assert caught.value.where == "data.source"
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.filterwarnings("ignore:.*is compressed")
def test_archives_are_not_believed(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=X, y=Y)
    whole, messages = path.read_bytes(), []
    for place in range(0, len(whole), 97):
        for damage in (whole[:place], whole[:place] + b"\xff" * 4 + whole[place + 4 :]):
            path.write_bytes(damage)
            try:
                everything(loaded(tmp_path, "data.npz"))
            except DataError as error:
                messages.append(str(error))
    assert len(messages) > 10
    assert all(len(message.splitlines()) == 1 for message in messages)
    np.savez_compressed(path, x=X, y=Y)
    damaged = bytearray(path.read_bytes())
    damaged[300] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"data\.npz' cannot be read"):
        loaded(tmp_path, "data.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, r"data\.npz' has no labels"),
        ({"y": Y}, r"data\.npz' has no inputs"),
        ({"a": X}, "no arrays that are known by their names; call them x and y, or x_train"),
        ({"x": X, "inputs": X, "y": Y}, "has two arrays of inputs"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y}, "has arrays of parts, and others besides: inputs, labels"),
        ({"x_test": X, "y_test": Y, "x_val": X}, "has no labels of 'validation'"),
        ({"x": X, "y": Y[:30]}, "40 inputs need as many labels"),
        ({"x": X, "y": Y * 0.5}, "labels are class indices"),
        ({"x": X[:0], "y": Y[:0]}, "the data set is empty"),
        ({"x": X * np.nan, "y": Y}, "contain NaN"),
    ],
)
def test_arrays_that_do_not_go_together(tmp_path, arrays, message):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(DataError, match=message):
        everything(loaded(tmp_path, "data.npz"))


def test_only_regular_files_are_mapped(tmp_path):
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "y.npy", Y)
    os.mkfifo(tmp_path / "data" / "x.npy")
    with pytest.raises(DataError, match=r"x\.npy' is a pipe or a device, an array is expected"):
        loaded(tmp_path, "data")


@pytest.mark.parametrize("key", [{"size": (2, 2)}, {"workers": 1}, {"skip_broken": True}])
def test_keys_that_stored_arrays_do_not_need(tmp_path, key):
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    with pytest.raises(DataError, match="leave this key out"):
        loaded(tmp_path, "data.npz", **key)
