"""Names of layers where room is short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitimpera.report.layer_names import MOST_CHARACTERS, axis_words, common_prefix, short_labels, wrapped

PATHS = st.lists(st.text("ab_1-", min_size=1, max_size=12), min_size=1, max_size=6).map(".".join)


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["input", "features.0", "features.13"], "features."),
        (["model.layer1.0.conv1", "model.layer1.1.conv1", "model.layer1.1.add"], "model.layer1."),
        (["features.0", "classifier"], ""),
        (["features", "features.0"], ""),
        (["features.0"], ""),
        ([], ""),
    ],
)
def test_what_all_names_begin_with(names, prefix):
    assert common_prefix(names) == prefix


def test_labels_leave_out_what_all_share_and_the_axis_says_it():
    names = ["features.0", "features.13", "features.13"]
    assert short_labels(names, [1, 14, 15]) == ["0", "13 (14)", "13 (15)"]
    assert axis_words("cut after layer", names) == "cut after layer (features....)"
    assert axis_words("layer", ["stem", "head"]) == "layer"


@given(PATHS)
def test_a_name_is_wrapped_at_its_dots_and_nothing_is_lost(name):
    lines = wrapped(name, 12)
    assert "".join(lines) == name
    assert all(line[-1] in "._-" for line in lines[:-1])
    assert all(len(line) <= 12 or not any(letter in line[:-1] for letter in "._-") for line in lines)


def test_what_is_too_long_for_an_axis_begins_with_a_whole_part_and_stays_told_apart():
    names = [f"encoder.layers.encoder_layer_{i}.self_attention.out_proj.weights" for i in (10, 11)]
    labels = short_labels(["stem", *names], [1, 2, 3])
    assert labels[1:] == [
        "...layer_10.\nself_attention.out_proj.\nweights",
        "...layer_11.\nself_attention.out_proj.\nweights",
    ]
    alike = short_labels([f"{i}.{'x' * 100}" for i in range(3)], [4, 5, 6])
    assert len(set(alike)) == 3


def test_of_an_absurd_name_the_end_is_kept():
    assert wrapped("x" * 10_000 + ".conv1") == ["...conv1"]
    assert "".join(wrapped("x" * 10_000)) == "..." + "x" * MOST_CHARACTERS
