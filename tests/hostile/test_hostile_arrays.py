"""Files of arrays, stored and compressed, with damage anywhere and with headers that claim anything."""

from __future__ import annotations

import struct
import tempfile
import warnings
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from harness import attack, refused_or_taken
from hypothesis import strategies as st

from splitimpera.models.datasets import load_data
from splitimpera.scenario import DataSection

PLACE = tempfile.TemporaryDirectory()
N = 12
ARRAYS = [
    np.arange(N * 6, dtype=np.float32).reshape(N, 6),
    np.arange(N * 12, dtype=np.uint8).reshape(N, 2, 2, 3),
    np.asfortranarray(np.arange(N * 4, dtype=">f8").reshape(N, 4)),
]


def npy(array):
    content = BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def npz(inputs, labels, kind):
    content = BytesIO()
    with zipfile.ZipFile(content, "w", kind) as archive:
        archive.writestr("x.npy", inputs)
        archive.writestr("y.npy", labels)
    return content.getvalue()


def claimed(shape, descr, order, data):
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) % 65536) + header + data


number = st.one_of(st.integers(-2, 40), st.sampled_from([2**31, 2**62, 2**63, 10**30]))
made_up = st.builds(
    claimed,
    st.one_of(st.lists(number, max_size=5).map(tuple), st.text(max_size=8), st.just("(((")),
    st.one_of(
        st.sampled_from(["'<f4'", "'|O'", "'<U4'", "'>u2'", "'|V8'", "[('a', '<f4')]", "'<f4,<f4'", "'<m8'", "None"]),
        st.text(max_size=6).map(repr),
    ),
    *(st.sampled_from(["True", "False", "None", "1"]), st.binary(max_size=600)),
)


@st.composite
def damaged(draw, contents):
    content = bytearray(draw(contents))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(["byte", "number", "cut", "gone", "noise"])):
            case "byte" if place < len(content):
                content[place] = draw(st.integers(0, 255))
            case "number":
                content[place : place + 4] = struct.pack("<I", draw(st.integers(0, 2**32 - 1)))
            case "cut":
                del content[place:]
            case "gone":
                del content[place : place + draw(st.integers(1, 16))]
            case "noise":
                content[place:place] = draw(st.binary(max_size=32))
    return bytes(content)


inputs = st.one_of(st.sampled_from(ARRAYS).map(npy), made_up, damaged(st.sampled_from(ARRAYS).map(npy)))
archives = st.builds(
    npz, inputs, st.just(npy(np.arange(N) % 3)), st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
)


def check(content, folder):
    place = Path(PLACE.name)
    (place / "data").mkdir(exist_ok=True)
    (place / "data" / "x.npy").write_bytes(content)
    (place / "data" / "y.npy").write_bytes(npy(np.arange(N) % 3))
    (place / "data.npz").write_bytes(content)

    def read():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load_data(DataSection(source="data" if folder else "data.npz"), place).everything().inputs

    found = refused_or_taken(read)
    if found is not None:
        assert len(found) == N
        assert not found.is_floating_point() or torch.isfinite(found).all()


test_archives, test_archives_long = attack(check, damaged(archives), st.just(False), long=1000)
test_folders, test_folders_long = attack(check, inputs, st.just(True), long=600)
