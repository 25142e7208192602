"""`splitimpera profile`."""

from __future__ import annotations

import json

import pytest
from test_cli import here

from splitimpera.cost.devices import build_device
from splitimpera.scenario import DeviceSection

NETWORK = """
from torch import nn

def tiny():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))

def recurrent():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(6, 4, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0][:, -1].cumsum(1)

    return Last()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_profile_is_written_and_read_back_in_a_scenario(folder):
    run = here(
        "profile", "mine.py:tiny", "--input", "1,1,8,8", "--rounds", "3", "--threads", "1", "--codecs", "float32"
    )
    assert run.returncode == 0, run.stderr
    assert "The slowest of 2 layers" in run.stdout
    assert "The whole network takes" in run.stdout
    assert "float32 takes" in run.stdout
    assert "- {name: ..., profile: profile.json}" in run.stdout
    content = json.loads((folder / "profile.json").read_text())
    assert (content["schema_version"], content["network"], content["threads"]) == (2, "mine.py:tiny", 1)
    assert [layer["name"] for layer in content["layers"]] == ["0", "3"]
    assert [cut["cut"] for cut in content["cuts"]] == [0, 1, 2]
    device = build_device(DeviceSection(name="pi", profile="profile.json"), folder)
    assert device.profile is not None
    assert device.profile.cuts[1].head_s == content["cuts"][1]["head_s"]


def test_paths_and_names_are_printed_as_they_are(folder):
    (folder / "mine.py").write_text(
        NETWORK
        + """
def named():
    net = tiny()
    layers = nn.Sequential()
    layers.add_module("a[bold]\\x1b[2J", net)
    return layers
"""
    )
    out = "m[bold]x[/red].json"
    run = here("profile", "mine.py:named", "--input", "1,1,8,8", "--rounds", "3", "--codecs", "", "--out", out)
    assert run.returncode == 0, run.stderr
    assert f"Written to {out}." in run.stdout
    assert "\x1b" not in run.stdout
    assert (folder / out).exists()


def test_a_profile_at_a_frame_rate_has_both_kinds_of_times(folder):
    run = here(
        *("profile", "mine.py:tiny", "--input", "1,1,8,8", "--rounds", "3", "--threads", "1", "--codecs", ""),
        *("--fps", "100", "--out", "p.json"),
    )
    assert run.returncode == 0, run.stderr
    assert "Heads and tails, back to back" in run.stdout
    assert "Heads and tails at 100 frames/s" in run.stdout
    assert "At 100 frames/s it takes" in run.stdout
    profile = build_device(DeviceSection(name="d", profile="p.json"), folder).profile
    assert profile.best is profile.paced
    assert profile.paced.fps == 100
    assert len(profile.layers[0].samples_s) == 9
    assert len(profile.paced.layers[0].samples_s) >= 30


def test_what_is_there_is_not_overwritten_unless_it_is_named(folder):
    (folder / "profile.json").write_text("mine")
    arguments = ("profile", "mine.py:recurrent", "--input", "1,7,6", "--rounds", "3", "--codecs", "", "--cuts", "1")
    run = here(*arguments)
    assert run.returncode == 2
    assert "--out: 'profile.json' exists already; add --out profile.json to replace it" in run.stderr
    assert (folder / "profile.json").read_text() == "mine"
    run = here(*arguments, "--out", "profile.json")
    assert run.returncode == 0, run.stderr
    assert "MACs are unknown: cumsum." in run.stdout
    assert json.loads((folder / "profile.json").read_text())["codecs"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine.py:tiny"], "--input: give either --input or --data"),
        (["mine.py:tiny", "--input", "1,1,8,8", "--data", "digits"], "give either --input or --data"),
        (["mine.py:tiny", "--input", "8x8"], "--input: '8x8' is not a shape; write for example 1,3,224,224"),
        (["mine.py:tiny", "--input", "4,1,8,8"], "is a batch of 4 frames, a profile needs one frame; write 1,1,8,8"),
        (["mine.py:tiny", "--input", "1,100000,100000"], "is too large: 1e+10 elements, at most 5e+07 are allowed"),
        (["mine.py:tiny", "--input", "1,4294967296,4294967296"], "is too large: 1.845e+19 elements"),
        (["mine.py:tiny", "--input", "1," + "9" * 5000], "is not a shape"),
        (["mine.py:tiny", "--input", "1,1,8,8", "--fps", "often"], "--fps: 'often' is not a rate per second; write"),
        (["mine.py:tiny", "--input", "1,1,8,8", "--fps", "0"], "--fps: '0' is out of range, it must be 1e-05 to"),
        (["mine.py:tiny", "--threads", "99999999999"], "--threads: '99999999999' is not a whole number from 1 to 1024"),
        (
            ["mine.py:tiny", "--rounds", "9" * 5000],
            "--rounds: '" + "9" * 80 + "...' is not a whole number from 3 to 1000",
        ),
        (
            ["mine.py:tiny", "--input", "1,1,8,8", "--cuts", "9" * 5000],
            "--cuts: '" + "9" * 80 + "...' is not a list of cuts",
        ),
        (["mine.py:tiny", "--input", "1,3,8,8"], "the network refuses inputs of shape (2, 3, 8, 8)"),
        (["mine.py:tiny", "--input", "1,1,8,8", "--engine", "fast"], "--engine: no engine is called 'fast'; known: "),
        (["mine.py:tiny", "--input", "1,1,8,8", "--codecs", "uint9"], "--codecs: no codec is called 'uint9'"),
        (["mine.py:tiny", "--input", "1,1,8,8", "--codecs", "png"], "--codecs: 'png' encodes images only"),
        (["mine.py:tiny", "--input", "1,1,8,8", "--cuts", "last"], "--cuts: 'last' is not a list of cuts"),
        (["mine.py:tiny", "--input", "1,1,8,8", "--cuts", "9"], "--cuts: there is no cut 9"),
        (["mine.py:tiny", "--input", "1,1,8,8", "--out", "/proc/p.json"], "--out: '/proc' cannot be written"),
        (["vgg61", "--input", "1,3,224,224"], "did you mean 'vgg16'"),
    ],
)
def test_bad_input_gives_one_message(folder, arguments, message):
    run = here("profile", *arguments)
    assert run.returncode == 2
    assert message in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert not (folder / "profile.json").exists()
