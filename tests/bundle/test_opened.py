"""A bundle on a disk: each file is what was exported, or is not read."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from bundle.small import files, keys, manifest
from safetensors.numpy import save

from splitimpera.bundle import opened
from splitimpera.bundle.manifest import canonical, identified, written
from splitimpera.bundle.opened import open_bundle, read_arrays
from splitimpera.core.errors import BundleError


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "bundle"
    for name, content in files().items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    (place / "manifest.json").write_bytes(written(manifest()))
    return place


def zipped(path, **changes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in ({"manifest.json": written(manifest())} | files() | changes).items():
            archive.writestr(name, content)
    return path


def test_a_folder_and_a_zip(folder, tmp_path):
    for bundle in (open_bundle(folder), open_bundle(zipped(tmp_path / "bundle.zip"))):
        assert bundle.manifest == manifest()
        assert bundle.read("camera/head.onnx") == b"a head"
        (decoded,) = bundle.codec(bundle.manifest.plan().hops[0]).decode(bytes(range(6)))
        assert np.allclose(decoded, np.arange(6).reshape(2, 3) / 10)
        with pytest.raises(BundleError, match=r"lists no file 'manifest\.json'"):
            bundle.read("manifest.json")


@pytest.mark.parametrize("content", [b"a heat", b"a head and more", b"", b"a"])
def test_a_file_that_was_changed(folder, tmp_path, content):
    (folder / "camera" / "head.onnx").write_bytes(content)
    for bundle in (open_bundle(folder), open_bundle(zipped(tmp_path / "b.zip", **{"camera/head.onnx": content}))):
        with pytest.raises(BundleError, match=r"not the file that was exported|larger than"):
            bundle.read("camera/head.onnx")


def test_a_manifest_that_was_changed(folder):
    content = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(content.replace(b'"small"', b'"large"'))
    with pytest.raises(BundleError, match="it was changed"):
        open_bundle(folder)
    (folder / "manifest.json").write_bytes(b" " * (5 << 20))
    with pytest.raises(BundleError, match=r"larger than 4\.194 MB"):
        open_bundle(folder)


def test_what_is_no_bundle(folder, tmp_path):
    (folder / "manifest.json").unlink()
    with pytest.raises(BundleError, match="does not exist"):
        open_bundle(folder)
    with pytest.raises(BundleError, match="is no bundle"):
        open_bundle(tmp_path / "nothing")
    (tmp_path / "text.zip").write_text("PK")
    with pytest.raises(BundleError, match="is no bundle"):
        open_bundle(tmp_path / "text.zip")
    whole = zipped(tmp_path / "cut.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError):
        open_bundle(tmp_path / "cut.zip")


def test_links_that_lead_out(folder, tmp_path):
    (tmp_path / "secret").write_bytes(b"a head")
    (folder / "camera" / "head.onnx").unlink()
    (folder / "camera" / "head.onnx").symlink_to(tmp_path / "secret")
    with pytest.raises(BundleError, match="leads out of the bundle"):
        open_bundle(folder).read("camera/head.onnx")
    (folder / "camera" / "head.onnx").unlink()
    (folder / "camera").rmdir()
    (folder / "camera").symlink_to(tmp_path)
    with pytest.raises(BundleError, match="leads out of the bundle"):
        open_bundle(folder).read("camera/head.onnx")


def test_a_zip_bomb_is_read_no_further_than_a_file_is_long(tmp_path):
    bomb = zipped(tmp_path / "bomb.zip", **{"server/tail.onnx": bytes(16 << 20)})
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(BundleError, match="larger than it may be"):
        open_bundle(bomb).read("server/tail.onnx")
    with pytest.raises(BundleError, match=r"'manifest\.json' is larger than it may be"):
        open_bundle(zipped(tmp_path / "large.zip", **{"manifest.json": bytes(16 << 20)}))


def test_a_zip_of_too_many_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(opened, "MOST_ENTRIES", 3)
    with pytest.raises(BundleError, match="more than 3 entries"):
        open_bundle(zipped(tmp_path / "bundle.zip"))


def test_a_zip_whose_entries_are_damaged_or_locked(tmp_path):
    path = zipped(tmp_path / "bundle.zip")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x03\x04")
    raw[at + 6] |= 1  # says that it is encrypted
    at = raw.index(b"PK\x01\x02")
    raw[at + 8] |= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(BundleError, match="cannot be read"):
        open_bundle(path)


def test_constants_of_another_plan(folder):
    other = {"0.low": np.array(0.0), "0.step": np.array(0.2)}
    content = save(other)
    plain = json.loads(written(manifest()))
    del plain["bundle"]
    from hashlib import sha256

    plain["files"]["codec.safetensors"] = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "codec.safetensors").write_bytes(content)
    (folder / "manifest.json").write_bytes(written(identified(plain)))
    bundle = open_bundle(folder)
    with pytest.raises(BundleError, match="those of another plan"):
        bundle.codec(bundle.manifest.plan().hops[0])


def test_arrays_that_are_damaged():
    content = save({"0.low": np.arange(4.0)})
    for damaged in (b"", content[:-1], b"\xff" * 40, content[:9] + b"x" + content[10:]):
        with pytest.raises(BundleError, match="damaged"):
            read_arrays(damaged)


def test_arrays_come_in_one_order():
    arrays = {f"{index}.low": np.zeros(index % 3 + 1) for index in range(9)}
    assert list(read_arrays(save(arrays))) == sorted(arrays)


def test_the_id_is_that_of_the_canonical_keys():
    from hashlib import sha256

    plain = json.loads(written(manifest()))
    id = plain.pop("bundle")
    assert sha256(canonical(plain)).hexdigest() == id
    assert set(plain) == set(keys())
