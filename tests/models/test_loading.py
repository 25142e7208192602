from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from splitimpera.core.errors import DataError, ModelError
from splitimpera.models.datasets import Dataset, Pixels, Samples, digits, divide, load_data
from splitimpera.models.networks import load_network
from splitimpera.scenario import DataSection, NetworkSection

CODE = """
import torch
from torch import nn
import neighbour

def network():
    return nn.Linear(4, 3)

def pair():
    return torch.randn(40, 4), torch.arange(40) % 3

def parts():
    return {"validation": pair(), "test": pair()}

def images():
    return torch.arange(40 * 8 * 8 * 3).reshape(40, 8, 8, 3).to(torch.uint8), torch.arange(40) % 3

def sorted_by_class():
    return torch.randn(90, 4), torch.arange(90) // 30

def broken():
    return torch.full((40, 4), float("nan")), torch.arange(40)

def lopsided():
    return torch.randn(40, 4), torch.arange(39)

def floating_labels():
    return torch.randn(40, 4), torch.randn(40)

def empty():
    return torch.randn(0, 4), torch.arange(0)

def triple():
    return 1, 2, 3
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "neighbour.py").write_text("")
    return tmp_path


def network(folder, model, weights=None):
    return load_network(NetworkSection(model=model, weights=weights), folder)


def data(folder, source, **options):
    return load_data(DataSection(source=source, **options), folder)


@pytest.mark.parametrize("name", ["mine.py:network", "mine:network"])
def test_a_factory_by_file_or_by_module(folder, name):
    assert network(folder, name).weight.shape == (3, 4)


def test_weights_are_filled_in(folder):
    state = {"weight": torch.ones(3, 4), "bias": torch.zeros(3)}
    save_file(state, folder / "w.safetensors")
    torch.save(state, folder / "w.pt")
    for file in ("w.safetensors", "w.pt"):
        assert network(folder, "mine.py:network", file).weight.sum() == 12


def test_weights_that_do_not_fit_or_could_run_code_are_refused(folder):
    save_file({"weight": torch.ones(3, 4), "extra": torch.ones(1)}, folder / "other.safetensors")
    save_file({"weight": torch.ones(3, 5), "bias": torch.zeros(3)}, folder / "shape.safetensors")
    torch.save({"weight": print}, folder / "code.pt")
    (folder / "noise.safetensors").write_bytes(b"\xff" * 100)
    for file, message in (
        ("other.safetensors", "lacks bias and adds extra"),
        ("shape.safetensors", r"weight has shape \(3, 5\), \(3, 4\) is expected"),
        ("code.pt", "no state dict of tensors"),
        ("noise.safetensors", "no state dict of tensors"),
    ):
        with pytest.raises(ModelError, match=message):
            network(folder, "mine.py:network", file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine.py:netwrok", "did you mean 'network'"),
        ("nowhere:network", "cannot be imported"),
        ("mine.py:pair", "returns is tuple, an nn.Module is expected"),
    ],
)
def test_networks_that_cannot_be_loaded(folder, name, message):
    with pytest.raises(ModelError, match=message):
        network(folder, name)


def test_code_that_fails_to_import_names_the_line(folder):
    (folder / "bad.py").write_text("x = 1\ny = x / 0\n")
    with pytest.raises(ModelError, match=r"ZeroDivisionError.*bad\.py, line 2"):
        network(folder, "bad.py:network")


def test_digits_are_real_shuffled_and_apart():
    parts = digits()
    assert len(parts.test) >= 500
    assert parts.test.inputs.shape[1:] == (1, 32, 32)
    rows = torch.cat([part.inputs for part in (parts.train, parts.validation, parts.test)]).flatten(1)
    assert len(rows) == 1797
    assert len(torch.unique(rows, dim=0)) == 1797  # no image is in two parts
    for part in (parts.train, parts.validation, parts.test):
        assert len(part.labels[:50].unique()) > 5  # never in class order


def test_a_pair_is_shuffled_and_divided(folder):
    parts = data(folder, "mine.py:sorted_by_class", validation=0.4, test=0.4)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [18, 36, 36]
    assert set(parts.test.labels[:12].tolist()) == {0, 1, 2}
    again = data(folder, "mine.py:sorted_by_class", validation=0.4, test=0.4)
    assert torch.equal(again.test.labels, parts.test.labels)


def test_parts_are_taken_as_they_are(folder):
    parts = data(folder, "mine.py:parts")
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [0, 40, 40]
    assert parts.calibration() is parts.validation
    with pytest.raises(DataError, match="comes with its own parts; leave this key out"):
        data(folder, "mine.py:parts", test=0.2)
    with pytest.raises(DataError, match="comes with its own parts"):
        data(folder, "digits", seed=3)


def test_eight_bit_images_become_normalised_floats(folder):
    parts = data(folder, "mine.py:images", mean=(0.5,) * 3, std=(0.25,) * 3)
    assert parts.pixels == Pixels((0.5,) * 3, (0.25,) * 3)
    assert parts.test.inputs.shape == (20, 3, 8, 8)
    assert parts.test.inputs.min() >= -2
    assert parts.test.inputs.max() <= 2
    with pytest.raises(DataError, match="2 values are given for 3 channels"):
        data(folder, "mine.py:images", mean=(0.5,) * 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine.py:broken", "NaN"),
        ("mine.py:lopsided", "40 inputs need as many labels"),
        ("mine.py:floating_labels", "labels are class indices"),
        ("mine.py:empty", "empty"),
        ("mine.py:triple", r"a pair \(inputs, labels\) is expected"),
        ("digitz", "did you mean 'digits'"),
    ],
)
def test_data_that_cannot_be_used(folder, name, message):
    with pytest.raises(DataError, match=message):
        data(folder, name)


def image_folder(folder, sizes=((8, 8),), mode="RGB"):
    for label, name in enumerate(("cat", "dog")):
        (folder / "pets" / name).mkdir(parents=True)
        for i in range(6):
            size = sizes[i % len(sizes)]
            Image.new(mode, size, 40 * label + i if mode == "L" else (40 * label + i,) * 3).save(
                folder / "pets" / name / f"{i}.png"
            )
    (folder / "pets" / "cat" / "notes.txt").write_text("no image")


def test_a_folder_of_images(folder):
    image_folder(folder)
    parts = data(folder, "pets", validation=0.25, test=0.5)
    assert parts.classes == ("cat", "dog")
    assert parts.test.inputs.shape == (6, 3, 8, 8)
    assert all((x.max() * 255 >= 40) == bool(y) for x, y in zip(parts.test.inputs, parts.test.labels, strict=True))


def test_images_of_several_sizes_need_one(folder):
    image_folder(folder, ((8, 8), (8, 10)), "L")
    with pytest.raises(DataError, match="differ in size"):
        data(folder, "pets")
    assert data(folder, "pets", size=(4, 6)).test.inputs.shape[1:] == (1, 4, 6)


def test_damaged_images_and_folders_without_classes(folder):
    image_folder(folder)
    (folder / "pets" / "dog" / "9.png").write_bytes(b"no png")
    with pytest.raises(DataError, match=r"9\.png' cannot be read"):
        data(folder, "pets")
    (folder / "flat").mkdir()
    with pytest.raises(DataError, match="0 sub-folders"):
        data(folder, "flat")


def test_too_few_images_to_divide():
    samples = Samples(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(DataError, match="2 samples are too few"):
        divide(samples, validation=0.1, test=0.5)


def test_pixels_and_arrays_agree():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    x = Pixels((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)).inputs(images)
    assert x[1, 2, 3, 0].item() == pytest.approx((images[1, 3, 0, 2] / 255 - 0.3) / 0.7, abs=1e-6)
    assert isinstance(Dataset(*(Samples(x, torch.zeros(2, dtype=torch.int64)),) * 3), Dataset)
