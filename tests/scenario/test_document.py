"""YAML that is damaged, endless or sly."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.core.errors import ScenarioError
from splitimpera.scenario import load_scenario
from splitimpera.scenario.document import DEEPEST, MOST_VALUES, read_document


def refused(text):
    begun_s = time.process_time()
    with pytest.raises(ScenarioError) as caught:
        read_document(text, "file")
    assert time.process_time() - begun_s < 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "file:3: a: this key is given twice, in line 1 and in line 3; remove one"),
        ("a:\n  b: 1\nc:\n- d: 1\n  e: 2\n  d: 1", "file:6: c[0].d: this key is given twice, in line 4 and in line 6"),
        ("a: {b: 1, 'b': 2}", "file:1: a.b: this key is given twice"),
        (
            "network: {a: 1}\ndata: 2\nnetwork: {b: 2}",
            "file:3: network: this key is given twice, in line 1 and in line 3",
        ),
        ("a: {<<: {x: 1}, <<: {y: 1}}", "a.<<: this key is given twice"),
        ("a: {<<: {x: 1, x: 2}}", "a.x: this key is given twice"),
    ],
)
def test_a_key_given_twice(text, message):
    assert message in refused(text)


keys = st.sampled_from(["a", "b", "c", "on", "1"])


@given(st.lists(keys, min_size=2, max_size=6), st.sampled_from(["{}: 1", "- x\n- {}: 1", "x:\n  {}: 1"]))
def test_keys_are_read_or_given_twice(names, form):
    head, _, line = form.rpartition("\n")
    indent = " " * (len(line) - len(line.lstrip("- ")))
    rows = [line.format(names[0]), *(indent + f"{name}: 1" for name in names[1:])]
    text = "\n".join([head, *rows]).lstrip("\n")
    if len(set(names)) < len(names):
        assert "given twice" in refused(text)
    else:
        _, lines = read_document(text, "file")
        first = head.count("\n") + 1 + bool(head)
        assert [next(line for place, line in lines.items() if place[-1] == name) for name in names] == list(
            range(first, first + len(names))
        )


def bomb(levels, width, form):
    lines = [f"k0: &a0 {form[0]}1{form[1]}"] if form[0] == "[" else ["k0: &a0 {x: 1}"]
    for level in range(1, levels):
        inner = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"k{level}: &a{level} [{inner}]" if form[0] == "[" else f"k{level}: &a{level} {{<<: [{inner}]}}")
    return "\n".join(lines)


@pytest.mark.parametrize("form", ["[]", "{}"])
@pytest.mark.parametrize(("levels", "width"), [(9, 9), (20, 2), (300, 2), (2, 9000), (4, 100)])
def test_few_bytes_do_not_become_many_values(levels, width, form):
    message = refused(bomb(levels, width, form))
    assert str(MOST_VALUES) in message or f"deeper than {DEEPEST}" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]", "file:1: this value contains itself"),
        ("a: 1\nb: &b {c: {d: *b}}", "file:2: this value contains itself"),
        ("a: &a {<<: *a}", "contains itself"),
        ("&a [&b [*a, *b]]", "contains itself"),
        ("[" * 21 + "]" * 21, f"nested deeper than {DEEPEST} levels"),
        ("[" * 500_000, f"nested deeper than {DEEPEST} levels"),
        ("- " * 500_000, f"nested deeper than {DEEPEST} levels"),
        ("a: &a [[[[[[[[[[1]]]]]]]]]]\nb: [[[[[[[[[[*a]]]]]]]]]]", f"nested deeper than {DEEPEST} levels"),
        ("\n".join(f"k{place}: 1" for place in range(20_000)), f"more than {MOST_VALUES} values"),
        ("x: 1\na: " + "9" * 41, "file:2: a number of 41 characters, at most 40 are read"),
        ("a: " + "9" * 100_000, "a number of 100000 characters"),
        ("a: 1e999", "1e999 is out of the range of floating-point numbers"),
        ("a: -1e-999", "-1e-999 is out of the range of floating-point numbers"),
        ("? [a]\n: 1", "file:1: a key must be text, this is a list or a mapping"),
        ("a: {<<: 5}", "'<<' takes a mapping"),
        ("a: {<<: [5]}", "'<<' takes a mapping"),
        ("a: 1\n--- \nb: 1", "not valid YAML: but found another document"),
        ("a: *nowhere", "found undefined alias 'nowhere'"),
        ("a: 1\nb: \x1b", "file:2: the character '\\x1b' is not allowed"),
        ("a: \0", "the character '\\x00' is not allowed"),
        ('a: "\\UFFFFFFFF"', "not valid YAML"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: 1", "not valid YAML"),
        ("a: " + "*" + "x" * 10**5, "found undefined alias"),
    ],
    ids=lambda part: part[:20],
)
def test_what_is_endless_or_strange_is_refused_with_its_line(text, message):
    said = refused(text)
    assert message in said
    assert len(said) < 400


@pytest.mark.parametrize(
    "tag",
    [
        *("!!bool foo", "!!timestamp foo", '!!int ""', '!!float ""', "!!int 5", "!!binary x", "!!set {a}"),
        *("!!omap [a: 1]", "!!python/object/apply:os.system [ls]", "!own x", "! 5", "!!str 5", "!!map {a: 1}"),
    ],
)
def test_tags_are_refused(tag):
    assert "file:2: the tag '" in refused(f"a: 1\nb: {tag}")
    assert "file:2: the tag '" in refused(f"a: 1\n{tag.partition(' ')[0]} b: 1")


def test_plain_words_are_read_as_they_look():
    text = "[true, False, null, ~, , 1, -1, +1, 0, 1.5, .5, 1., 1e3, -1E-3, 2.5e+1, 'true', \"1\"]".replace(
        "~, ,", "~,"
    )
    assert read_document(text, "file")[0] == [
        *(True, False, None, None, 1, -1, 1, 0, 1.5, 0.5, 1.0, 1000.0, -0.001, 25.0, "true", "1")
    ]
    words = (
        "on off yes no y n 010 -010 0x1F 0o17 0b1 1_000 1:30 12:30:45 2020-01-01 .inf -.inf .nan .NaN = tRUE 1e 1.2.3 +"
    )
    assert read_document(f"[{', '.join(words.split())}]", "file")[0] == words.split()


def test_merged_keys_give_way_to_ones_own_and_keep_their_lines():
    content, lines = read_document("a: &a\n  x: 1\n  y: 2\nb:\n  <<: [*a, {x: 9, z: 3}]\n  y: 5", "file")
    assert content["b"] == {"x": 1, "y": 5, "z": 3}
    assert [lines["b", key] for key in "xyz"] == [2, 6, 5]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_devices_and_large_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * 1_000_001)
    for path, message in (
        (tmp_path / "pipe.yaml", "is a pipe or a device"),
        ("/dev/zero", "is a pipe or a device"),
        (large, "is larger than 1 MB"),
    ):
        with pytest.raises(ScenarioError, match=message):
            load_scenario(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    [
        "# x\n",
        "\n",
        " \n",
        "a ",
        '"\\x41',
        "x",
        "'",
        "? ",
        "[",
        "{",
        "%",
        "\\",
        "k: |\n",
        "!",
        "&",
        "a: b: ",
        "é",
        "\t",
    ],
)
def test_a_megabyte_of_anything_takes_its_time_only(unit, tmp_path):
    begun_s = time.process_time()
    path = tmp_path / "large.yaml"
    path.write_text((unit * (10**6 // len(unit.encode())))[:999_990])
    with pytest.raises(ScenarioError):
        load_scenario(path)
    assert time.process_time() - begun_s < 4


FILE = "network: {model: digits-vgg16}\n"


def test_a_few_faults_are_named_and_the_others_counted(tmp_path):
    path = tmp_path / "case.yaml"
    path.write_text(FILE + "\n".join(f"{'x' * 20}{place}: {'y' * 85}" for place in range(4900)))
    begun_s = time.process_time()
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert time.process_time() - begun_s < 2
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "and 4895 more"
    assert all(len(line) < 600 for line in lines)


@pytest.mark.parametrize("fault", ["data: {source: [%s]}", "plans: {cuts: %s}", "seed: %s", "requirements: [%s]"])
def test_values_are_quoted_short(fault, tmp_path):
    path = tmp_path / "case.yaml"
    path.write_text(FILE + fault % ("'" + "z" * 100_000 + "'"))
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert "zzzzz..." in str(caught.value)
    assert all(len(line) < 600 for line in str(caught.value).splitlines())
