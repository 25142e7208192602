"""Damaged records of boxes, masks and sounds: COCO, Pascal VOC, lists of classes, WAV files."""

from __future__ import annotations

import json
import tempfile
import warnings
import wave
from io import BytesIO
from pathlib import Path

import numpy as np
from harness import attack, refused_or_taken
from hypothesis import strategies as st
from PIL import Image

from splitimpera.models.datasets import load_data
from splitimpera.scenario import DataSection

PLACE = tempfile.TemporaryDirectory()
ROOT = Path(PLACE.name)
HEIGHT, WIDTH = 9, 12
NUMBERS = range(4)

VOC = (
    "<annotation><size><width>12</width><height>9</height></size><object><name>cat</name><difficult>0</difficult>"
    "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>6</xmax><ymax>7</ymax></bndbox></object></annotation>"
)
RUNS = {"size": [HEIGHT, WIDTH], "counts": [3, 5, 100]}
COCO = {
    "images": [{"id": n, "file_name": f"{n}.png", "height": HEIGHT, "width": WIDTH} for n in NUMBERS],
    "annotations": [
        {"id": n, "image_id": n % 4, "category_id": 1, "bbox": [1, 2, 3, 4.5], "iscrowd": 0}
        | {"segmentation": RUNS if n % 2 else [[1, 2, 4, 2, 4, 6]]}
        for n in range(6)
    ],
    "categories": [{"id": 1, "name": "cat"}],
}


def sound(channels, width, rate):
    content = BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(bytes(range(240)) * 40)
    return content.getvalue()


def laid_out():
    """A folder of each kind; returns what may be damaged: the file, its source, the kind of targets."""
    for folder in (
        "voc/JPEGImages",
        "voc/Annotations",
        "coco",
        "masked/images",
        "masked/masks",
        "sounds/a",
        "sounds/b",
    ):
        (ROOT / folder).mkdir(parents=True, exist_ok=True)
    for number in NUMBERS:
        for folder in ("voc/JPEGImages", "coco", "masked/images"):
            Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(ROOT / folder / f"{number}.png")
        mask = Image.fromarray((np.arange(HEIGHT * WIDTH) % 3).astype(np.uint8).reshape(HEIGHT, WIDTH))
        mask.putpalette([*range(9)])
        mask.save(ROOT / "masked" / "masks" / f"{number}.png")
        (ROOT / "voc" / "Annotations" / f"{number}.xml").write_text(VOC)
        for place, name in enumerate("ab"):
            (ROOT / "sounds" / name / f"{number}.wav").write_bytes(sound(1 + place, 1 + number, 8000 + 8000 * place))
    (ROOT / "masked" / "labelmap.txt").write_text("a:0,1,2::\nb:3,4,5::\nc:6,7,8::\n")
    (ROOT / "coco" / "all.json").write_text(json.dumps(COCO))
    return [
        *(("coco/all.json", "coco/all.json", kind) for kind in ("boxes", "mask", "none")),
        ("voc/Annotations/2.xml", "voc", "boxes"),
        ("masked/masks/2.png", "masked", "mask"),
        ("masked/labelmap.txt", "masked", "mask"),
        *((f"sounds/{name}/{number}.wav", "sounds", "class") for name in "ab" for number in NUMBERS),
    ]


WORDS = [b"-1", b"1e309", b"9" * 25, b"49999999", b"null", b"[]", b"{}", b'"x"', b"true", b"0", b"\0", b"NaN", b"../"]
WORDS += [b"<a>", b"</", b"&lt;", b"<!DOCTYPE a>", b"::", b",", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0\0\0"]


@st.composite
def damaged(draw):
    path, source, kind = draw(st.sampled_from(laid_out()))
    content = bytearray((ROOT / path).read_bytes())
    last = min(len(content), 60) if path.endswith("wav") else len(content)  # headers are where the harm is done
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, last))
        match draw(st.sampled_from(["byte", "word", "word", "cut", "gone", "twice"])):
            case "byte" if place < len(content):
                content[place] = draw(st.integers(0, 255))
            case "word":
                content[place : place + draw(st.integers(0, 4))] = draw(st.sampled_from(WORDS))
            case "cut":
                del content[place:]
            case "gone":
                del content[place : place + draw(st.integers(1, 16))]
            case "twice":
                content[place:place] = content[place : place + draw(st.integers(1, 64))]
    return path, source, kind, bytes(content)


def check(case, skip, size):
    path, source, kind, content = case
    keys = {"skip_broken": skip} | ({"size": (5, 7)} if size and kind != "class" else {})
    sound = (ROOT / path).read_bytes()
    (ROOT / path).write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = refused_or_taken(lambda: everything(source, kind, keys))
    finally:
        (ROOT / path).write_bytes(sound)
    if read is None:
        return
    inputs, rows = read
    assert inputs.isfinite().all()
    for row in rows:
        if kind == "boxes":
            assert np.isfinite(row[0]).all()
            assert (row[0][:, 2:] > row[0][:, :2]).all()
            assert len(row[0]) == len(row[1]) == len(row[2])
        if kind == "mask":
            assert row[0].shape == tuple(inputs.shape[2:])


def everything(source, kind, keys):
    section = DataSection(source=str(ROOT / source), validation=0.4, test=0.4, workers=0, **keys)
    data = load_data(section, Path(), kind).everything()
    return data.inputs, data.targets.rows(range(len(data)))


test_damaged_records, test_damaged_records_long = attack(check, damaged(), st.booleans(), st.booleans())
