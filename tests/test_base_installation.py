"""What works without the extras, and what says which line installs them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

from splitimpera.codec.codec_names import extras_of
from splitimpera.codec.codecs import Calibration, calibrate, codec_from
from splitimpera.core import extras
from splitimpera.core.errors import MissingExtraError
from splitimpera.records.graph import TensorSpec

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
IMPORTED_AS = {"opencv-python-headless": "cv2", "pyyaml": "yaml", "scikit-learn": "sklearn"}
LINE = "pip install 'split-et-impera[design]'"
COMMANDS = {
    "design": ["design", "x.yaml"],
    "profile": ["profile", "digits-vgg16", "--input", "1,3,32,32"],
    "saliency": ["saliency", "digits-vgg16", "--data", "digits"],
    "simulate": ["simulate", "--rate", "1 Mbit/s", "--bytes", "1000", "--fps", "10"],
    "scenario check": ["scenario", "check", "x.yaml"],
}


def names(texts):
    return {Requirement(text).name.lower() for text in texts} - {PROJECT["name"]}


# as if they were not installed, in a process that runs many commands
WITHOUT = f"""
import contextlib, io, json, sys
sys.modules.update(dict.fromkeys({sorted(extras.EXTRAS)}))
from splitimpera.cli import app
said = {{}}
for name, arguments in json.loads(sys.argv[1]).items():
    sys.argv = ["splitimpera", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        code = app.run()
    said[name] = [code, out.getvalue(), errors.getvalue()]
import splitimpera as sei
for name in sei.__all__:
    try:
        getattr(sei, name)
    except sei.SplitImperaError as error:
        said["sei." + name] = [2, "", str(error)]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Exit code, output and error messages of commands, and the errors of names, where all extras are missing."""
    asked = COMMANDS | {"help": ["--help"], "init": ["scenario", "init", "written.yaml"], "doctor": ["doctor"]}
    folder = tmp_path_factory.mktemp("without")
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT, json.dumps(asked)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_lacks_its_extra_says_the_line(said, command):
    code, _, errors = said[command]
    assert code == 2
    assert errors.startswith("error: this command needs ")
    assert errors.splitlines()[1:] == [LINE]


def test_a_name_that_lacks_its_extra_says_the_line(said):
    for name in ("design", "trace", "simulate", "save", "load_scenario"):
        assert said[f"sei.{name}"][2].splitlines()[1:] == [LINE]
    assert "sei.SplitImperaError" not in said


def test_what_needs_no_extra_works_without(said):
    assert said["help"][0] == said["init"][0] == said["doctor"][0] == 0
    assert "without filelock" in said["doctor"][1]
    assert "design" in said["help"][1]


def test_other_missing_modules_are_not_explained():
    assert extras.explained(ModuleNotFoundError("no", name="numpy"), "this") is None
    assert extras.explained(ModuleNotFoundError("no", name="torch.nowhere"), "this") is None
    assert extras.explained(ModuleNotFoundError("no"), "this") is None


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("uint8+rans", "constriction", "ans"),
        ("uint4+rans-packets", "constriction", "ans"),
        ("png+fec:20", "zfec", "fec"),
    ],
)
def test_a_codec_that_lacks_its_extra_says_the_line(name, library, extra, monkeypatch, rng):
    spec = TensorSpec("x", (3, 8, 8))
    constants = calibrate(name, Calibration((spec,), (rng.random((4, 3, 8, 8), "float32"),)))
    assert codec_from(constants, (spec,)).name == name
    assert extras_of(name) == [extra]
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError) as told:
        codec_from(constants, (spec,))
    assert str(told.value) == (
        f"the codec '{name}' needs {library}, which is not installed here; run\npip install 'split-et-impera[{extra}]'"
    )


def test_codecs_without_a_library_of_their_own_need_no_extra():
    assert extras_of("uint8+zstd") == extras_of("float32+interleaved+mean") == extras_of("jpeg:90") == []


def test_the_messages_know_what_the_extras_bring():
    brought = {
        IMPORTED_AS.get(name, name): extra
        for extra in ("design", "ans", "fec", "video", "ray", "language", "text")
        for name in names(OPTIONAL[extra])
    }
    assert brought == extras.EXTRAS


def test_the_base_brings_nothing_heavy():
    assert not names(PROJECT["dependencies"]) & names(OPTIONAL["design"] + OPTIONAL["ans"] + OPTIONAL["fec"])


def test_the_document_names_every_extra_and_what_it_brings():
    document = (ROOT / "docs" / "install.md").read_text()
    table = document[document.index("| installation | for | brings |") :].split("\n\n")[0]
    rows = dict(re.findall(r"^\| (\S+) \|(.*)\|$", table, re.MULTILINE))
    for extra in ("base", *OPTIONAL):
        row = rows[extra if extra == "base" else f"`[{extra}]`"]
        brought = set(re.findall(r"`([\w-]+)`", row.split("|")[1]))
        if extra != "dev":
            assert brought == names(PROJECT["dependencies"] if extra == "base" else OPTIONAL[extra]), extra
        texts = PROJECT["dependencies"] if extra == "base" else OPTIONAL[extra]
        asked = {other for text in texts for other in Requirement(text).extras}
        assert asked <= set(re.findall(r"`\[(\w+)\]`", row.split("|")[1])), extra
