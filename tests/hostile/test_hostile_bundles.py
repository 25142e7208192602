"""Manifests and archives with damage anywhere: a bundle that holds what it says, or a BundleError, and nothing else."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from random import Random

import pytest
from deploy.small_bundle import make_bundle
from harness import bounded, readable

from splitimpera.bundle.manifest import canonical
from splitimpera.bundle.opened import open_bundle
from splitimpera.core.errors import BundleError

CASES, TOGETHER = 1000, 50
NASTY = [
    *(None, True, False, 0, -1, 1, 2, 1.0, -0.0, 1e308, 1 << 16, 1 << 31, 1 << 32, 1 << 64, 10**400, "", "x" * 5000),
    *(
        [],
        {},
        [[]],
        [None],
        {"": None},
        "\0",
        "a\ud800",
        "../../etc/passwd",
        "/etc/passwd",
        "pi/../../x",
        "manifest.json",
    ),
    *("float32", "uint8", "uint4+rans", "uint8+zstd", "png", "float32+fec:200", "uint9", "bool", "complex64", "onnx"),
    *("udp-arq", "pi", "server", "sc", "0" * 64, [1 << 20] * 16, [0], [1 << 24, 1 << 24], list(range(2000))),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle"), codec="uint8+zstd").path


def zipped(folder, kind=zipfile.ZIP_DEFLATED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", kind) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return content.getvalue()


def anew(path, content):
    path.unlink(missing_ok=True)  # to cut a file short takes most systems longer than to make one
    path.write_bytes(content)


def look_into(path):
    """All that anybody may ask of a bundle before a program is loaded; whether nothing was refused."""
    try:
        bundle = open_bundle(path)
        for name, entry in bundle.manifest.files.items():
            content = bundle.read(name)
            assert (len(content), hashlib.sha256(content).hexdigest()) == (entry.bytes, entry.sha256)
        for plan in bundle.manifest.plans:
            for hop in plan.hops:
                bundle.codec(hop)
    except BundleError as error:
        readable(str(error))
        return False
    return True


def places(node, way=()):
    """Every place in a tree of JSON."""
    yield way
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from places(value, (*way, key))


def at(plain, way):
    """What stands at a place; None where nothing does."""
    for key in way:
        try:
            plain = plain[key]
        except (LookupError, TypeError):
            return None
    return plain


def changed(plain, ways, random):
    """A manifest with something else in some places, whose id is right again more often than not."""
    plain = json.loads(json.dumps(plain))
    for way in random.sample(ways, random.randint(1, 3)):
        node, last = at(plain, way[:-1]), way[-1] if way else None
        if last not in (node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()):
            continue  # a change before this one took it away
        match random.randrange(6):
            case 0:
                del node[last]
            case 1 if isinstance(node, list):
                node.insert(random.randint(0, len(node)), node[last])
            case 1:
                node[f"{last}2"] = node[last]
            case 2 if isinstance(node[last], int | float):
                node[last] = random.choice([-1, 1, 2, 1000]) * node[last] + random.randint(-1, 1)
            case 3:
                node[last] = json.loads(json.dumps(at(plain, random.choice(ways))))
            case _:
                node[last] = random.choice(NASTY)
    if random.random() < 0.8:
        plain.pop("bundle", None)
        content = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        plain["bundle"] = hashlib.sha256(content.encode(errors="replace")).hexdigest()
    return json.dumps(plain, ensure_ascii=random.random() < 0.5).encode(errors="replace")


def damaged(content, random, times=3):
    """Bytes with flips, gaps, repeats, noise and numbers that lie."""
    for _ in range(random.randint(1, times)):
        at = random.randrange(len(content) or 1)
        match random.randrange(6):
            case 0:
                content = content[:at] + bytes([content[at : at + 1][0] ^ 1 << random.randrange(8)]) + content[at + 1 :]
            case 1:
                content = (
                    content[:at] if random.random() < 0.2 else content[:at] + content[at + random.randint(1, 40) :]
                )
            case 2:
                content = content[:at] + content[at : at + random.randint(1, 200)] + content[at:]
            case 3:
                content = content[:at] + random.randbytes(random.randint(1, 16)) + content[at:]
            case 4:
                number = struct.pack("<I", random.choice([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
                content = content[:at] + number + content[at + 4 :]
            case 5:
                content = (
                    content[:at] + random.choice([b"PK\1\2", b"PK\3\4", b"PK\5\6", b"{", b"\xff\xfe"]) + content[at:]
                )
        content = content or b"\0"
    return content


def test_a_manifest_that_was_changed_is_a_bundle_or_is_refused(folder, tmp_path):
    random, plain = Random(14), json.loads((folder / "manifest.json").read_bytes())
    for file in folder.rglob("*.*"):
        place = tmp_path / file.relative_to(folder)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(file.read_bytes())
    assert look_into(tmp_path)
    ways, good = list(places(plain)), 0
    for begin in range(0, CASES, TOGETHER):
        with bounded():
            for case in range(begin, begin + TOGETHER):
                raw = damaged(canonical(plain), random) if case % 5 == 0 else changed(plain, ways, random)
                anew(tmp_path / "manifest.json", raw)
                good += look_into(tmp_path)
    assert 0 < good < CASES / 2  # other words for a name are no damage


def test_an_archive_that_was_changed_is_a_bundle_or_is_refused(folder, tmp_path):
    random, path = Random(15), tmp_path / "bundle.zip"
    contents = [zipped(folder, kind) for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)]
    for content in contents:
        path.write_bytes(content)
        assert look_into(path)
    good = 0
    for begin in range(0, CASES, TOGETHER):
        with bounded():
            for case in range(begin, begin + TOGETHER):
                content = contents[case % 3]
                at = content.index(b"PK\1\2")  # the directory is the smaller part, and says more
                anew(path, content[:at] + damaged(content[at:], random) if case % 4 else damaged(content, random))
                good += look_into(path)
    assert 0 < good < CASES / 2


def test_an_archive_of_very_many_entries_is_refused_before_they_are_counted(tmp_path):
    entry = struct.pack("<4s4B4H3L5H2L", b"PK\1\2", 20, 3, 20, 0, *[0] * 7, 4, *[0] * 6)
    directory = b"".join(entry + b"%04x" % (number & 0xFFFF) for number in range(200_000))
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)
    (tmp_path / "bundle.zip").write_bytes(directory + end)
    with bounded():
        assert not look_into(tmp_path / "bundle.zip")


def test_what_an_archive_expands_to_is_not_read_beyond_what_its_manifest_says(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "manifest.json", "manifest.json")
        with archive.open("pi/head.onnx", "w", force_zip64=True) as file:
            for _ in range(50):
                file.write(bytes(1 << 20))
    with bounded():
        assert not look_into(tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * (6 << 20) + (folder / "manifest.json").read_bytes())
    with bounded():
        assert not look_into(tmp_path / "bundle.zip")
