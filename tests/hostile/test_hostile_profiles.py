"""Profiles that somebody changed or made up, and what `splitimpera profile` may be told."""

from __future__ import annotations

import json
import os
import tempfile
from functools import cache
from pathlib import Path

from harness import attack, commanded, refused_or_taken
from hypothesis import strategies as st

from splitimpera.cost.profiles import read_profile, write_profile
from splitimpera.records.device import CodecTime, CutTime, LayerTime, Profile

PROFILE = Profile(
    machine="a machine",
    network="tiny",
    input_shape=(3, 8, 8),
    fingerprint="0123456789abcdef",
    engine="eager",
    threads=2,
    call_s=1e-6,
    layers=(LayerTime("body.0", "conv2d", 1e-3, 1e-5), LayerTime("head", "linear", 1e-4, 0.0)),
    cuts=(CutTime(0, 0.0, 0.0, 2e-3, 1e-5), CutTime(1, 1e-3, 1e-5, 2e-3, 1e-5)),
    codecs=(CodecTime("float32", 1e-5, 1e-10, 2e-5, 2e-10),),
    peak_bytes=123_456_789,
)


@cache
def folder():
    return Path(tempfile.mkdtemp())


@cache
def text():
    write_profile(PROFILE, folder() / "good.json")
    return (folder() / "good.json").read_text()


def read(content):
    path = folder() / "p.json"
    path.write_bytes(content)
    found = refused_or_taken(lambda: read_profile(path))
    assert found is None or isinstance(found, Profile)


edits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=3), st.integers(0, 9)), max_size=4)


def check_bytes(changes, repeated):
    data = text().encode()
    for place, content, length in changes:
        at = int(place * len(data))
        data = data[:at] + content + data[at + length :]
    read(data * repeated)


test_bytes, test_bytes_long = attack(check_bytes, edits, st.sampled_from([1, 1, 1, 2]))

nonsense = st.one_of(
    st.sampled_from([None, True, -1, 0, 1.5, 1e400, float("nan"), 10**400, "", "x" * 100_000, "\ud800", "\x1b[2J", {}]),
    st.recursive(st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=5),
    st.sampled_from([[0] * 50_000, [{}] * 19_000, {str(key): 0 for key in range(5_000)}, [[]] * 30_000]),
    st.integers(1, 20_000).map(lambda depth: "DEEP" * depth),
)
keys = st.sampled_from([*sorted(json.loads(text())), "more", "\ud800", "x" * 100_000])


def check_values(what, inner):
    content = json.loads(text())
    for key, value in what.items():
        if inner and isinstance(content.get(key), list) and content[key]:
            first = content[key][0]
            content[key][0] = first | {"seconds": value, "codec": value} if isinstance(first, dict) else value
        else:
            content[key] = value
    written = json.dumps(content)
    depth = written.count("DEEP")
    read(written.replace('"' + "DEEP" * depth + '"', "[" * depth + "]" * depth).encode() if depth else written.encode())


test_values, test_values_long = attack(
    check_values, st.dictionaries(keys, nonsense, min_size=1, max_size=3), st.booleans(), long=650
)


def test_what_is_no_file():
    pipe = folder() / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), folder(), folder() / "nothing", folder() / ("x" * 300), Path("a\0b")):
        assert refused_or_taken(lambda path=path: read_profile(path)) is None


# The command line; what it takes ends at a network that there is not -------------------------------------------------

words = st.one_of(
    st.sampled_from(
        [
            "",
            "0",
            "-1",
            "1",
            "3",
            "1e9",
            "99999999999",
            "9" * 5000,
            "٣",
            "1,4294967296,4294967296",
            "1,3,8,8",
            "x" * 9999,
        ]
    ),
    st.sampled_from(["1," * 3000 + "1", "1,-3", "4,1,8,8", "1,1" + "0" * 400, "single", "blocks", "float32", "uint9"]),
    st.sampled_from(["uint8:channel+fec:" + "9" * 5000, "uint8," * 3000, "[bold]x[/red]", "\x1b[2J", "/dev/null/x"]),
    st.text(max_size=20).filter(lambda word: not word.startswith("-")),
)
options = st.sampled_from(["--input", "--threads", "--rounds", "--cuts", "--codecs", "--engine"])


def check_commands(given, out):
    place = folder() / "out.json" if out is None else out
    arguments = [part for option, word in given.items() for part in (f"{option}={word}",)]
    commanded("profile", "no-such-network", *arguments, "--out", place)
    assert not (folder() / "out.json").exists()


test_commands, test_commands_long = attack(
    check_commands,
    st.dictionaries(options, words, min_size=1, max_size=3),
    st.sampled_from([None, None, "/dev/null/x.json", "\x1b[2J/" + "x" * 300, "[/bold]"]),
    quick=30,
    long=650,
)
