"""Bad data, too little memory and damaged files under a whole design: one message, exit code 2, nothing lost."""

from __future__ import annotations

import json
import math
import sqlite3
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile.harness import command, readable
from PIL import Image

from splitimpera.cli.design import KEPT
from splitimpera.core import kept, memory
from splitimpera.core.memory import free_bytes, shortage
from splitimpera.graph import footprint
from splitimpera.graph.footprint import footprint_bytes
from splitimpera.report.writing import PROVISIONAL
from splitimpera.saliency import cumulative

CODE = """
import os, torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels=1):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(channels, 4, 3)
        self.head = nn.Linear(4, 3)
        self.head.weight.data *= 20
    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))

class Color(Net):
    def __init__(self):
        super().__init__(3)

class Wide(Net):
    def forward(self, x):
        return self.head(self.conv(x).relu().repeat(1, 1, 10**6, 10**6).mean((2, 3)))

class Keeps(Net):
    # computes something once
    scale = None
    def forward(self, x):
        if self.scale is None:
            self.scale = torch.ones(4, 1, 1) * 2
        return self.head((self.conv(x) * self.scale).relu().mean((2, 3)))

class Values(Net):
    # cannot be followed without numbers
    def forward(self, x):
        if float(x.sum()) < 1e9:
            raise MemoryError
        return super().forward(x)

def arrays():
    x = torch.randn(120, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    x *= torch.linspace(0.1, 9, 120)[:, None, None, None]
    with torch.no_grad():
        return x, Net().eval()(x).argmax(1)

class Items:
    def __init__(self, length=120, dies=-1):
        self.length, self.dies, (self.x, self.y) = length, dies, arrays()
    def __len__(self):
        return self.length
    def __getitem__(self, index):
        if index == self.dies:
            os._exit(3)
        return self.x[index], int(self.y[index])

def lies(): return Items(130)

def dies(): return Items(dies=100)

def parts(train, validation, test):
    x, y = arrays()
    return {"train": (x[train], y[train]), "validation": (x[validation], y[validation]), "test": (x[test], y[test])}

def overlap(): return parts(slice(60), slice(40, 80), slice(80, None))

def empty(): return parts(slice(60), slice(0), slice(80, None))

def lacking():
    found = parts(slice(60), slice(60, 80), slice(80, None))
    return {part: (x, torch.arange(len(x)) % (2 if part == "train" else 3)) for part, (x, _) in found.items()}
"""

SCENARIO = """
network: {{model: "mine.py:{network}"}}
data: {{source: "{source}"{more}}}
devices: [{{name: camera, preset: raspberry-pi-4}}, {{name: server, preset: t4}}]
links: [{{rate: 5 Mbit/s, delay: 2 ms}}]
workload: {{fps: 20}}
plans: {{cuts: [conv], codecs: [float32], transports: [tcp]}}
requirements: [accuracy >= 90 %, latency_p95 <= 10 s]
"""
DIVIDED = ", validation: 40 %, test: 40 %"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """With results of an earlier run, and a file of the user's beside them."""
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "out").mkdir()
    for name in ("results.json", "notes.txt"):
        (tmp_path / "out" / name).write_text("from before")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def designed(network="Net", source="mine.py:arrays", more=DIVIDED, *options):
    Path("s.yaml").write_text(SCENARIO.format(network=network, source=source, more=more))
    return command("design", "s.yaml", "--no-explore", "--replications", "1", "--out", "out", *options)


def refused(run, *words):
    """One message with these words; all that was in the folder is as it was, beside what is known so far."""
    code, _, errors = run
    assert code == 2, errors
    readable(errors)
    assert len(errors.strip().splitlines()) == 1, errors
    for word in words:
        assert word in errors
    own = (KEPT, f"{KEPT}-journal", PROVISIONAL)
    held = {path.name: path.read_text() for path in Path("out").iterdir() if path.name not in own}
    assert held == {"results.json": "from before", "notes.txt": "from before"}


def images(place, classes="abc", count=8):
    rng = np.random.default_rng(len(str(place)))
    for name in classes:
        (place / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(place / name / f"{number}.png")
    return place


def bomb(side):
    """A PNG of a few bytes that says it has side x side pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


# Data ----------------------------------------------------------------------------------------------------------------


def test_an_image_that_cannot_be_decoded(folder):
    path = images(folder / "images") / "b" / "3.png"
    path.write_bytes(path.read_bytes()[:60])
    refused(designed("Color", "images"), "data.source: the image '", "b/3.png' cannot be read", "`skip_broken: true`")
    code, _, errors = designed("Color", "images", f"{DIVIDED}, skip_broken: true")
    assert (code, errors) == (0, "warning: 1 of 24 images cannot be decoded and are left out: b/3.png\n")
    assert Path("out/notes.txt").read_text() == "from before"


@pytest.mark.parametrize("skip", ["", ", skip_broken: true"])
def test_a_decompression_bomb(folder, skip):
    (images(folder / "images") / "b" / "3.png").write_bytes(bomb(13_000))
    run = designed("Color", "images", DIVIDED + skip)
    refused(run, "b/3.png' cannot be read: 13000 x 13000 are 169 M pixels", "at most 50 M", "scale it down")


def test_folders_of_parts(folder):
    for part, classes in (("train", "ab"), ("val", "ab"), ("test", "abc")):
        images(folder / "lacking" / part, classes)
    for part in ("train", "validation", "test"):
        images(folder / "empty" / part, "ab")
    for path in (folder / "empty" / "validation").glob("*/*"):
        path.unlink()
    refused(designed("Color", "lacking", ""), "'test' has images of classes of which 'train' has none: c; add some")
    refused(designed("Color", "empty", ""), "data.source: the part 'validation' is empty; put samples there")
    (folder / "empty" / "validation" / "a" / "0.png").hardlink_to(folder / "empty" / "train" / "a" / "0.png")
    refused(designed("Color", "empty", ""), "the parts overlap: 1 of 16 samples of 'train'", "the same file")


@pytest.mark.parametrize(
    ("source", "more", "words"),
    [
        ("lies", DIVIDED, ("item 120 of the data set (Items), which says that it has 130", "let __len__ say")),
        ("dies", DIVIDED, ("a worker process failed while items ", "`workers: 0` under `data`")),
        ("overlap", "", ("the parts overlap: 20 of 60 samples of 'train'", "leave each sample in one part")),
        ("empty", "", ("the part 'validation' is empty; put samples there",)),
        ("lacking", "", ("has samples of classes of which 'train' has none: 2; add some to 'train'")),
    ],
)
def test_data_of_a_factory(folder, source, more, words):
    refused(designed("Net", f"mine.py:{source}", more), "data.source: ", *words)


def test_a_device_that_nobody_has(folder):
    refused(designed("Net", "mine.py:arrays", DIVIDED, "--device", "gpu"), "--device: no device is called 'gpu'")
    run = designed("Net", "mine.py:arrays", DIVIDED, "--autocast", "half")
    refused(run, "--autocast: no type of mixed precision is called 'half'")


# Memory --------------------------------------------------------------------------------------------------------------


def test_one_sample_takes_more_memory_than_there_is(folder):
    """Said before it is tried."""
    words = "network.model: one sample takes 5.76e+05 GB of memory or more", "run together", "are free; give smaller"
    refused(designed("Wide"), *words)
    code, _, errors = command("saliency", "mine.py:Wide", "--data", "mine.py:arrays")
    assert code == 2
    assert all(word in errors for word in words)


def test_gradients_of_one_sample_take_more_memory_than_there_is(folder, monkeypatch):
    monkeypatch.setattr(cumulative, "free_bytes", lambda: 500.0)
    refused(designed(), "the gradients of one sample take", "of memory or more, and 500 B are free; give smaller")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems promise memory that they do not have")
def test_an_allocation_that_fails_is_told(folder, monkeypatch):
    """Where it could not be foreseen."""
    monkeypatch.setattr(footprint, "free_bytes", lambda: math.inf)
    told = "network.model: ", "memory does not suffice: ", "are free (mine.py, line ", "close other programs"
    refused(designed("Wide"), *told, " GB more are asked for")
    refused(designed("Values"), *told, "more is asked for")
    assert shortage(ValueError("cannot allocate memory")) == ""


def test_memory_that_does_not_suffice_anywhere_ends_with_2(folder, monkeypatch):
    monkeypatch.setattr("splitimpera.method.space_of", lambda *_: np.empty(1 << 60, np.uint8))
    refused(designed(), "error: memory does not suffice: more is asked for")


def test_how_much_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUPS", {str(tmp_path): ("max", "current", "inactive_file")})
    assert free_bytes() == math.inf
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:  500 kB\nSwapFree: 100 kB\n")
    assert free_bytes() == 600 * 1024
    for name, text in (("max", "500000"), ("current", "300000"), ("memory.stat", "anon 1\ninactive_file 1000\n")):
        (tmp_path / name).write_text(text)
    assert free_bytes() == 201_000
    (tmp_path / "max").write_text("max\n")
    assert free_bytes() == 600 * 1024


def test_a_network_is_as_it_was_after_it_was_looked_at(folder):
    code: dict[str, type[torch.nn.Module]] = {}
    exec(CODE, code)
    model, x = code["Keeps"](), torch.rand(2, 1, 8, 8)
    assert footprint_bytes(model, (x,)) >= 2 * 2 * 4 * 6 * 6 * 4
    assert model.scale is None
    assert model.training
    assert footprint_bytes(code["Values"](), (x,)) == 0


# What is kept --------------------------------------------------------------------------------------------------------


def test_a_damaged_file_of_an_interrupted_run_is_begun_anew(folder):
    (folder / "out" / KEPT).write_bytes(b"no database " * 400)
    code, _, errors = designed("Net", "mine.py:arrays", DIVIDED, "--resume")
    assert code == 0, errors
    assert errors.startswith("warning: '")
    assert f"{KEPT}' is damaged and begun anew" in errors
    assert not (folder / "out" / KEPT).exists()
    assert json.loads(Path("out/results.json").read_text())["plans"]


@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_a_folder_that_another_run_is_using(folder, options):
    code = (
        "import sys; from pathlib import Path; from splitimpera.core.kept import KeptFile\n"
        "kept = KeptFile(Path(sys.argv[1])); kept.put({'a': b'1'}); print('open', flush=True); sys.stdin.read()"
    )
    path = folder / "out" / KEPT
    arguments = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "open\n"
        refused(designed("Net", "mine.py:arrays", DIVIDED, *options), "--out: '", "is in use by another run; wait")
        other.stdin.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT key FROM kept").fetchall() == [("a",)]
    connection.close()


def test_a_disk_that_fills_up_while_something_is_kept(folder, monkeypatch):
    opened = kept._opened

    def small(path):
        connection = opened(path)
        connection.execute("PRAGMA max_page_count = 4")
        return connection

    monkeypatch.setattr(kept, "_opened", small)
    code, out, errors = designed()
    refused((code, out, errors), "--out: '", f"{KEPT}' cannot be written: ", "full; make room there")
    assert "run the same again with --resume" in " ".join(out.split())
    with sqlite3.connect(folder / "out" / KEPT) as connection:
        (before,) = connection.execute("SELECT count(*) FROM kept").fetchone()
    connection.close()
    assert before > 0
    monkeypatch.setattr(kept, "_opened", opened)
    code, _, errors = designed("Net", "mine.py:arrays", DIVIDED, "--resume")
    assert (code, errors) == (0, "")
