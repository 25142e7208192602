"""Where inputs come from, and what is said where they do not."""

from __future__ import annotations

import io
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small_bundle import make_bundle, network, samples

from splitimpera.core.errors import DataError
from splitimpera.deploy import image_sources
from splitimpera.deploy.input_preparation import prepared
from splitimpera.deploy.sources import open_source


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle"))


def all_of(source, wanted=None):
    return list(source.frames(wanted))


def test_the_bundles_own_samples(bundle):
    source = open_source("samples", bundle)
    found = all_of(source)
    np.testing.assert_array_equal([one.x for one in found], samples())
    assert [one.label for one in found] == network(samples()).argmax(1).tolist()
    assert (source.name, source.count, source.live) == ("samples", 20, False)


def test_more_frames_than_inputs_begin_anew(bundle):
    rows = [one.row for one in all_of(open_source("samples", bundle), 45)]
    assert rows == [*range(20), *range(20), *range(5)]


def test_arrays_in_files(bundle, tmp_path):
    x = samples(4)
    np.save(tmp_path / "x.npy", x)
    np.savez_compressed(tmp_path / "xy.npz", x=x, y=np.array([2, 1, 0, 1]))
    plain = open_source(str(tmp_path / "x.npy"), bundle)
    np.testing.assert_array_equal([one.x for one in all_of(plain)], x)
    assert {one.label for one in all_of(plain)} == {None}
    assert [one.label for one in all_of(open_source(str(tmp_path / "xy.npz"), bundle))] == [2, 1, 0, 1]


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npy", b"", "cannot be read"),
        ("a.npy", b"\x93NUMPY\x01\x00", "cannot be read"),
        ("a.npz", b"PK", "cannot be read"),
        ("a.npz", npz(z=np.zeros(3)), "has z; x, and y"),
        ("a.npz", npz(x=np.zeros((3, 1)), y=np.zeros((3, 1), int)), "3 class indices are expected"),
        ("a.npz", npz(x=np.array(["text"])), "numbers with one row a sample"),
        ("a.npz", npz(x=np.array([{}], dtype=object)), "cannot be read"),
    ],
)
def test_damaged_and_strange_arrays_are_refused(bundle, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        open_source(str(tmp_path / name), bundle)


def test_a_member_that_claims_more_than_may_be_is_not_read(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("splitimpera.deploy.sources.MOST_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(100_000))
    with pytest.raises(DataError, match="more than 1000 bytes"):
        open_source(str(tmp_path / "bomb.npz"), bundle)


def test_images_of_a_folder_get_the_inputs_size_and_their_folders_class(bundle, tmp_path):
    for place in ("dog/1.png", "emu/2.png", "else/3.png", "4.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 30), 100, np.uint8)).save(tmp_path / place)
    (tmp_path / "notes.txt").write_text("no image")
    source = open_source(str(tmp_path), bundle)
    found = all_of(source)
    assert [one.label for one in found] == [None, 1, None, 2]
    assert source.count == 4
    assert {one.x.shape for one in found} == {(8, 8, 1)}
    (x,) = prepared(found[0].x, bundle.manifest.input)
    np.testing.assert_allclose(x, np.full((1, 8, 8), 100 / 255, np.float32), rtol=1e-6)


def test_an_image_that_is_none_is_named(bundle, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png"):
        all_of(open_source(str(tmp_path), bundle))


def test_a_folder_without_images(bundle, tmp_path):
    with pytest.raises(DataError, match="no images"):
        open_source(str(tmp_path), bundle)


FACTORY = """
import numpy as np
def inputs():
    for label in range(3):
        yield np.full((1, 8, 8), label, np.float32), label
def plain():
    return [np.zeros((1, 8, 8), np.float32)] * 2
def nothing():
    return 3
def fails():
    raise SystemExit("gone")
def later():
    yield np.zeros((1, 8, 8), np.float32)
    1 / 0
"""


def test_a_factory_of_the_user(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(FACTORY)
    found = all_of(open_source(f"{tmp_path}/mine.py:inputs", bundle))
    assert [(float(one.x[0, 0, 0]), one.label) for one in found] == [(0, 0), (1, 1), (2, 2)]
    assert [one.label for one in all_of(open_source(f"{tmp_path}/mine.py:plain", bundle), 5)] == [None, None]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "returns int"),
        ("fails", "SystemExit: gone .*line 11"),
        ("later", "ZeroDivisionError.*line 14"),
        ("input", "has no function 'input'; did you mean 'inputs'"),
    ],
)
def test_a_factory_that_fails_ends_in_a_message(bundle, tmp_path, monkeypatch, name, words):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(FACTORY)
    with pytest.raises(DataError, match=words):
        all_of(open_source(f"{tmp_path}/mine.py:{name}", bundle))


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (1, 8, 8)])
def test_arrays_on_standard_input(bundle, monkeypatch, shape):
    stream = io.BytesIO()
    x = samples(4)
    for array in (x[:3].reshape(3, *shape[-3:]), x[3]) if len(shape) == 4 else x:
        np.save(stream, array)
    stream.seek(0)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    source = open_source("-", bundle)
    np.testing.assert_array_equal([one.x for one in all_of(source)], x)
    assert source.live


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"hello", "no .npy array"), (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fort", "no .npy array")],
)
def test_what_is_no_array_on_standard_input(bundle, monkeypatch, content, words):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    with pytest.raises(DataError, match=words):
        all_of(open_source("-", bundle))


def test_standard_input_that_ends_in_a_frame_or_announces_too_much(bundle, monkeypatch):
    whole = io.BytesIO()
    np.save(whole, samples(1))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2, 1 << 40)})
    for content, words in ((whole.getvalue()[:-1], "in the middle"), (header.getvalue(), "larger than any")):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        with pytest.raises(DataError, match=words):
            all_of(open_source("-", bundle))


class Capture:
    """A camera of OpenCV, with three frames."""

    def __init__(self, place):
        self.left, self.place = 3, place

    def isOpened(self):  # noqa: N802  (OpenCV's)
        return self.place == 0

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((48, 64, 3), 60, np.uint8)

    def release(self):
        self.left = 0


def test_a_camera(bundle, monkeypatch):
    cv2 = pytest.importorskip("cv2")
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    source = open_source("camera:0", bundle)
    found = all_of(source, 5)
    assert [one.row for one in found] == [0, 1, 2]
    assert {(one.x.shape, int(one.x.max())) for one in found} == {((8, 8, 1), 60)}
    assert source.live
    with pytest.raises(DataError, match="cannot be opened"):
        open_source("camera:1", bundle)


def test_a_camera_without_opencv(bundle, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(image_sources, "import_module", missing)
    with pytest.raises(DataError, match=r"split-et-impera\[video\]"):
        open_source("camera:0", bundle)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("camera:x", "no camera"),
        ("none.mp4", "does not exist"),
        ("none.npy", "does not exist"),
        ("none.npz", "does not exist"),
        ("none.py:f", "does not exist"),
        ("no such thing", "no source"),
    ],
)
def test_what_is_not_there(bundle, text, words):
    with pytest.raises(DataError, match=words):
        open_source(text, bundle)


def test_the_test_part_of_a_data_set_by_name(bundle):
    source = open_source("digits", bundle)
    first = next(source.frames())
    assert (source.count, first.row) == (540, 0)
    assert first.x.shape == (1, 32, 32)
    assert first.label is None  # "6" is none of this bundle's classes


def test_a_data_set_where_the_design_is_not_installed(bundle, monkeypatch):
    monkeypatch.setattr("splitimpera.deploy.sources.find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"split-et-impera\[design\]"):
        open_source("digits", bundle)
