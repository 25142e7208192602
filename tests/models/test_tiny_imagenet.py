"""Tiny-ImageNet's folders: a list says which class each validation image has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splitimpera.core.errors import DataError
from splitimpera.models.datasets import load_data
from splitimpera.scenario import DataSection

CLASSES = ("n01443537", "n01629819", "n01641577")
WORDS = "n01443537\tgoldfish, Carassius auratus\nn01629819\tfrog\nn01641577\tfrog, other\nn1\tnothing\n"


def image(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(value)
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path, format="PNG")


@pytest.fixture
def folder(tmp_path):
    lines = []
    for place, name in enumerate(CLASSES):
        for number in range(4):
            image(tmp_path / "train" / name / "images" / f"{name}_{number}.png", 10 * place + number)
        (tmp_path / "train" / name / f"{name}_boxes.txt").write_text("x")
        for number in range(3):
            file = f"val_{3 * number + place}.png"
            image(tmp_path / "val" / "images" / file, 100 + 10 * place + number)
            lines.append(f"{file}\t{name}\t0\t32\t44\t62")
    image(tmp_path / "test" / "images" / "test_0.png", 99)
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "words.txt").write_text(WORDS)
    return tmp_path


def load(folder, **keys):
    return load_data(DataSection(source=str(folder), **keys), Path())


def test_validation_and_test_take_turns(folder):
    data = load(folder)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [12, 6, 3]
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.validation.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.test.labels.tolist() == [0, 1, 2]
    assert data.classes == ("goldfish", "frog (n01629819)", "frog (n01641577)")
    wanted = np.asarray(Image.open(folder / "val" / "images" / "val_4.png")).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(data.test.inputs[1], wanted, atol=1e-6)
    with pytest.raises(DataError, match="comes with its own parts"):
        load(folder, test=0.3)


def test_without_words_classes_have_their_numbers(folder):
    (folder / "words.txt").unlink()
    assert load(folder).classes == CLASSES


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("val_0.png n01443537 0 32 44 62", "6 fields between tabs are expected, given 1"),
        ("val_0.png\tn99\t0\t1\t2\t3", "'train' has no class 'n99'"),
        ("val_99.png\tn01443537\t0\t1\t2\t3", "no image 'val_99.png'"),
        ("../words.txt\tn01443537\t0\t1\t2\t3", "no image '../words.txt'"),
        ("val_0.png\tn01443537\t0\t1\t2\t3", "is there twice"),
    ],
)
def test_a_damaged_line_is_named(folder, line, told):
    with (folder / "val" / "val_annotations.txt").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(DataError, match=told) as refused:
        load(folder)
    assert "val_annotations.txt', line 11" in str(refused.value)
