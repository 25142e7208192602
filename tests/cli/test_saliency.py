"""`splitimpera saliency`, on our networks and on those of other packages."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import ROOT
from other_packages import package
from PIL import Image
from test_cli import here, splitimpera
from typer.testing import CliRunner

from splitimpera.cli.app import app

DATA = """
import torch

def small():
    return torch.randn(6, 3, 64, 64), torch.arange(6) % 2

def large():
    return torch.randn(3, 3, 224, 224), torch.arange(3) % 2
"""

UNTRAINED = f"{ROOT / 'tests' / 'broken_scenarios' / 'broken_networks.py'}:untrained"
"""The built-in network, for whom a minute of training adds nothing."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(DATA)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_digits_network(tmp_path):
    numbers, picture = tmp_path / "s.json", tmp_path / "s.png"
    run = splitimpera(
        *("saliency", "digits-vgg16", "--data", "digits", "--classes", "3,8", "--score", "fisher"),
        *("--json", numbers, "--plot", picture),
    )
    assert run.returncode == 0, run.stderr
    assert "maximum" in run.stdout
    assert "(CDE)" in run.stdout
    assert "log10 fisher" in run.stdout
    values = json.loads(numbers.read_text())
    assert len(values["cs"]) == len(values["names"]) == len(values["scores"]["fisher"]) == 20
    assert values["samples"] == 357
    with Image.open(picture) as image:
        assert image.height > 800  # the classes' curves below the main one
    curves = np.array([values["per_class"][str(digit)] for digit in range(10)])
    peaks = {int(np.argmax(curve[:17])) for curve in np.log10(curves)}
    assert len(peaks) > 1 or np.ptp(np.log10(curves), axis=0).max() > 0.5  # classes differ


CASES = {
    "torchvision": [
        *("torchvision/resnet18", "torchvision/vit_b_16"),
        *("torchvision.models:resnet18", "torchvision.models:vit_b_16"),
    ],
    "timm": [
        *("timm/resnet18", "timm/vit_tiny_patch16_224"),
        *("timm.models.resnet:resnet18", "timm.models.vision_transformer:vit_tiny_patch16_224"),
    ],
    "transformers": [
        *("transformers/ResNetForImageClassification", "transformers/ViTForImageClassification"),
        *("hugging.py:resnet", "hugging.py:vit"),
    ],
}


QUICK = ("torchvision.models:resnet18", "timm/resnet18", "hugging.py:resnet")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "name"),
    [
        pytest.param(key, name, marks=() if name in QUICK else pytest.mark.slow)
        for key, names in CASES.items()
        for name in names
    ],
)
def test_networks_of_other_packages_by_name_and_by_import_path(library, name, folder):
    package(library)
    (folder / "hugging.py").write_text(
        "from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification\n"
        "def resnet():\n    return ResNetForImageClassification(ResNetConfig(depths=[1, 1, 1, 1]))\n"
        "def vit():\n    return ViTForImageClassification(ViTConfig(num_hidden_layers=3, hidden_size=48))\n"
    )
    large = "vit" in name.lower()
    run = CliRunner().invoke(
        app, ["saliency", name, "--data", f"mine.py:{'large' if large else 'small'}", "--json", "out.json"]
    )
    assert run.exit_code == 0, run.output
    values = json.loads((folder / "out.json").read_text())
    assert len(values["cuts"]) >= 7
    assert not values["not_finite"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([UNTRAINED, "--data", "digits", "--classes", "cat"], "no class is called 'cat'"),
        ([UNTRAINED, "--data", "digits", "--classes", "12"], "no sample belongs to the classes [12]"),
        ([UNTRAINED, "--data", "digits", "--score", "cds"], "no score is called 'cds'; did you mean 'cs'"),
        ([UNTRAINED, "--data", "digits", "--target", "best"], "no target is called 'best'"),
        (["digits-vgg61", "--data", "digits"], "did you mean 'digits-vgg16'"),
        (["resnet20", "--data", "digits"], "the network refuses inputs of shape (2, 1, 32, 32)"),
        (["digits-vgg16", "--data", "digitz"], "did you mean 'digits'"),
        (["digits-vgg16", "--data", "digits", "--size", "8"], "'8' is not a height and a width"),
        (["digits-vgg16", "--data", "digits", "--size", "8,8"], "--size: 'digits' comes as a network takes it"),
        (["digits-vgg16", "--data", "digits", "--size", "99999,99999"], "99999 x 99999 are 10 G pixels per image"),
        (["digits-vgg16", "--data", "digits", "--size", "9" * 5000 + ",8"], "...' is not a height and a width"),
        (["digits-vgg16", "--data", "digits", "--size", "٨,٨"], "is not a height and a width"),
        (["digits-vgg16", "--data", "digits", "--classes", "9" * 5000], "--classes: '9999"),
        (["digits-vgg16", "--data", "digits", "--output", "9" * 5000], "--output: '9999"),
        (
            ["digits-vgg16", "--data", "digits", "--device", "gpu"],
            "--device: no device is called 'gpu'; did you mean 'cpu'?",
        ),
        (["digits-vgg16", "--data", "digits", "--device", "cuda:9999"], "--device: 'cuda:9999' is asked for"),
        (
            ["digits-vgg16", "--data", "digits", "--autocast", "half"],
            "--autocast: no type of mixed precision is called",
        ),
        (["digits-vgg16", "--data", "x" * 300], "has a name of 300 bytes, at most 255 are allowed"),
        (["digits-vgg16", "--data", ""], "--data: string should have at least 1 character"),
        (["digits-vgg16", "--data", "digits", "--json", "/proc/x.json"], "--json: '/proc' cannot be written"),
        (["torchvision/resnet18@trained", "--data", "digits"], "only '@pretrained' may follow"),
    ],
)
def test_bad_input_gives_one_message(arguments, message):
    run = here("saliency", *arguments)
    assert run.returncode == 2
    assert message in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_the_device_and_mixed_precision_reach_the_curve(folder):
    (folder / "net.py").write_text(
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 62 * 62, 2))\n"
    )
    found = {}
    for name, options in {"plain": [], "cpu": ["--device", "cpu"], "mixed": ["--autocast", "bfloat16"]}.items():
        (folder / "mine.py").write_text("import torch\ntorch.manual_seed(0)\n" + DATA)
        arguments = ["saliency", "net.py:net", "--data", "mine.py:small", "--json", "s.json", *options]
        torch.manual_seed(0)
        run = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert run.exit_code == 0, run.output
        found[name] = json.loads((folder / "s.json").read_text())["cs"][0]
    assert found["cpu"] == found["plain"] != found["mixed"]
    assert found["mixed"] == pytest.approx(found["plain"], rel=0.05)


def test_names_of_classes_with_marks_of_their_own(folder):
    """Matplotlib reads mathematics between dollars, and leaves out what begins with an underscore."""
    (folder / "net.py").write_text(
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))\n"
    )
    for name in ("$x^$", "_\x1b]0;owned\x07[bold]"):
        (folder / "pets" / name).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (8, 8), (index * 50, 99, 7)).save(folder / "pets" / name / f"{index}.png")
    run = CliRunner().invoke(
        app, ["saliency", "net.py:net", "--data", "pets", "--plot", "s.png", "--json", "s.json"], catch_exceptions=False
    )
    assert run.exit_code == 0
    assert "\x1b]0" not in run.output
    per_class = json.loads((folder / "s.json").read_text())["per_class"]
    assert list(per_class) == ["$x^$", "_\\x1b]0;owned\\x07[bold]"]


def test_a_package_that_is_not_there_says_what_to_install(monkeypatch):
    import sys

    from splitimpera.core.errors import ModelError
    from splitimpera.models.libraries import load_from_library

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"needs the package timm.*pip install timm"):
        load_from_library("timm/resnet18")


def test_a_torchvision_of_another_torch_is_told(monkeypatch):
    from splitimpera.core.errors import ModelError
    from splitimpera.models import libraries

    def missing(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(libraries, "import_module", missing)
    with pytest.raises(ModelError, match="built for another torch") as caught:
        libraries.load_from_library("torchvision/mobilenet_v2")
    assert "pip install --force-reinstall torch torchvision" in str(caught.value)


@pytest.mark.slow
def test_unknown_networks_of_a_package():
    from splitimpera.core.errors import ModelError
    from splitimpera.models.libraries import load_from_library

    package("torchvision")
    with pytest.raises(ModelError, match="torchvision has no network 'resnet51'; did you mean 'resnet"):
        load_from_library("torchvision/resnet51")
    package("timm")
    with pytest.raises(ModelError, match="timm has no network"):
        load_from_library("timm/resnet51x")
    package("transformers")
    with pytest.raises(ModelError, match=r"no network class 'ViTForImageClasification'"):
        load_from_library("transformers/ViTForImageClasification")


@pytest.mark.parametrize(
    ("data", "more", "told"),
    [
        ("masks", ("--output", "features"), "has a mask with class 3, the network tells 3 classes apart"),
        ("large_masks", ("--target", "label"), "--data: sample 0 of 'train' has a mask of shape (24, 24)"),
    ],
)
def test_outputs_and_targets_of_other_tasks_are_looked_at(folder, data, more, told):
    tasks = ROOT / "tests" / "small_tasks.py"
    large = "import numpy as np\nfrom small_tasks import masks\n\n\ndef large_masks():\n"
    large += "    images, made = masks()\n    return images, np.pad(made, ((0, 0), (0, 8), (0, 8)))\n"
    (folder / "large.py").write_text(f"import sys\nsys.path.append({str(tasks.parent)!r})\n" + large)
    source = f"{tasks}:masks" if data == "masks" else "large.py:large_masks"
    run = CliRunner().invoke(app, ["saliency", f"{tasks}:segmenter", "--data", source, "--task", "segmentation", *more])
    assert told in str(run.exception)
