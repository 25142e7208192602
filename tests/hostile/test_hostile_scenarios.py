"""Scenario files with bytes, lines, words and structures replaced by what nobody should write."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

import yaml
from conftest import ROOT, SCENARIOS
from harness import attack, refused_or_taken
from hypothesis import strategies as st
from pydantic import ValidationError

from splitimpera.scenario import Scenario, load_scenario
from splitimpera.setting import resolve

SOURCES = [path.read_text() for path in (*SCENARIOS, ROOT / "src" / "splitimpera" / "cli" / "scenario.yaml")]
MEANT = [yaml.safe_load(source) for source in SOURCES]
FOLDER = Path(tempfile.mkdtemp())
DOCUMENTS = [Scenario.model_validate(meant).document() for meant in MEANT]

nasty = st.sampled_from(
    """
    true|null|~|yes|on|0|-1|1.0|1e3|1e999|-0.0|.inf|.nan|0x1F|0o17|010|1_000|1:30|2020-01-01|<<|"5"|'null'|""|[]|{}|[[]]
    !!bool foo|!!timestamp foo|!!int ""|!!float ""|!!binary x|!!set {a}|!!omap [a: 1]|!!python/name:os.system|!x y|! 5
    &a [*a]|*a|&a {<<: *a}|{<<: [{a: 1}, 2]}|{? [1] : 2}|{1: 2}|{null: 3}|%TAG ! x
    --- a|... |a: b: c|"\\x1b[2J"|"\\ud800"
    "\\0"|"\\UFFFFFFFF"|1e-999|1e308 GB|1e300 s|-5 ms|5 parsec|٣ ms|120 %|1 / 0|../../etc|/dev/zero|[/bold]|a.py:f|:|@
    """.strip()
    .replace("\n", "|")
    .split("|")
)
long = st.tuples(
    st.sampled_from(["x", "9", "[", "{a: ", "- ", "x/", "é", " ", "\n", "# ", "a, ", "<= ", "+fec"]),
    st.integers(1, 9000),
)
words = st.one_of(nasty, long.map(lambda pair: pair[0] * pair[1]), st.text(max_size=20), st.integers().map(str))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=5), words),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)


@st.composite
def texts(draw):
    """A file with up to three places changed."""
    source = draw(st.sampled_from(SOURCES))
    for _ in range(draw(st.integers(1, 3))):
        lines = source.split("\n")
        row = draw(st.integers(0, len(lines) - 1))
        line = lines[row]
        kind = draw(st.sampled_from(["value", "value", "piece", "repeat", "drop", "indent", "insert", "swap"]))
        if kind == "value":
            lines[row] = line.partition(":")[0] + ": " + draw(words)
        elif kind == "piece":
            at = draw(st.integers(0, len(line)))
            lines[row] = line[:at] + draw(words) + line[at + draw(st.integers(0, 3)) :]
        elif kind == "repeat":
            lines[row:row] = lines[draw(st.integers(0, row)) : row + 1]
        elif kind == "drop":
            del lines[row]
        elif kind == "indent":
            lines[row] = " " * draw(st.integers(0, 6)) + line.lstrip()
        elif kind == "insert":
            lines.insert(row, draw(words))
        else:
            lines[row] = "\n".join(reversed(lines[row : row + 2]))
        source = "\n".join(lines)
    return _encoded(source)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw):
    """A file with some bytes changed."""
    raw = bytearray(draw(st.sampled_from(SOURCES)).encode())
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(raw) - 1))
        raw[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(raw)


def places(value, path=()):
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from places(inner, (*path, key))


@st.composite
def contents(draw):
    """What a file means, with up to three values replaced."""
    content = json.loads(json.dumps(draw(st.sampled_from(MEANT))))
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(sorted(places(content), key=str)))
        inner = content
        for part in path:
            inner = inner[part]
        if draw(st.booleans()) and isinstance(inner, dict):
            inner[draw(st.text(max_size=8))] = draw(values)
        inner[last] = draw(values)
    return content


def check_kept(scenario: Scenario) -> None:
    """What was read can be kept in a results file, and read from there."""
    assert Scenario.model_validate(json.loads(json.dumps(scenario.document(), allow_nan=False))) == scenario


def check_file(raw: bytes) -> None:
    path = FOLDER / "scenario.yaml"
    path.write_bytes(raw)
    scenario = refused_or_taken(lambda: load_scenario(path))
    if scenario is not None:
        check_kept(scenario)
        refused_or_taken(lambda: resolve(scenario))


@st.composite
def recorded(draw):
    """A results file whose scenario, seed or bytes somebody changed."""
    document = json.loads(json.dumps(draw(st.sampled_from(DOCUMENTS))))
    for _ in range(draw(st.integers(0, 3))):
        *path, last = draw(st.sampled_from(sorted(places(document), key=str)))
        inner = document
        for part in path:
            inner = inner[part] if isinstance(inner, (dict, list)) else inner
        if isinstance(inner, dict):
            inner[draw(st.sampled_from([last, "units", "folder", "x"]))] = draw(values)
    run = {"schema_version": 5, "scenario": document, "seed": 1, "replications": 5}
    run |= draw(st.dictionaries(st.sampled_from(["seed", "replications", "scenario"]), values, max_size=1))
    raw = bytearray(json.dumps(run, default=str).encode())
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(raw) - 1))
        piece = draw(st.one_of(st.binary(max_size=3), st.sampled_from([b"[" * 5000, b"NaN", b"1e999", b"9" * 5000])))
        raw[at : at + draw(st.integers(0, 4))] = piece
    return bytes(raw)


def check_written(content: object) -> None:
    """The same in Python, and from a file."""
    with contextlib.suppress(ValidationError):
        scenario = Scenario.model_validate(content)
        check_kept(scenario)
        refused_or_taken(lambda: resolve(scenario))
    check_file(json.dumps(content, default=str).encode())


resolve(load_scenario(ROOT / "examples" / "digits" / "scenario.yaml"))  # brings torch and the compiled kernels

test_lines, test_lines_long = attack(check_file, texts(), quick=40, long=1050)
test_bytes, test_bytes_long = attack(check_file, damaged(), quick=15, long=600)
test_contents, test_contents_long = attack(check_written, contents(), quick=40, long=1050)
test_whole_files, test_whole_files_long = attack(
    check_file,
    st.one_of(st.binary(max_size=200), words.map(_encoded), st.text(max_size=200).map(_encoded)),
    quick=15,
    long=500,
)
test_recorded, test_recorded_long = attack(check_file, recorded(), quick=40, long=1050)
test_many_values, _ = attack(
    check_file,
    st.sampled_from(["1,", "[", '{"a":', '"x",', "9" * 4000 + ",", " "]).map(
        lambda piece: f'{{"schema_version": 5, "scenario": [{piece * (3_900_000 // len(piece))}'.encode()
    ),
    quick=6,
)
