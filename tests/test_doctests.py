"""The examples in the docstrings of what the package exports print what they say."""

from __future__ import annotations

import doctest
import sys

import pytest

import splitimpera as sei
from splitimpera.codec.codecs import make_codec
from splitimpera.codec.framing import packetise

PUBLIC = {name: getattr(sei, name) for name in sei.__all__ if not name.startswith("_")}
PUBLIC |= {"make_codec": make_codec, "packetise": packetise}
WITH_EXAMPLES = {
    *(
        "Dataset",
        "Measurements",
        "build_plans",
        "cumulative_saliency",
        "divide",
        "evaluate",
        "load_scenario",
        "make_codec",
    ),
    *("Device", "Link", "Pixels", "Plan", "Samples", "Workload"),
    *("measure", "packetise", "recommend", "resolve", "simulate", "split", "trace"),
}


def examples(name):
    value = PUBLIC[name]
    names = vars(sys.modules[value.__module__])
    return [test for test in doctest.DocTestFinder(recurse=False).find(value, name, globs=dict(names)) if test.examples]


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_examples_print_what_they_say(name):
    runner = doctest.DocTestRunner()
    for example in examples(name):
        assert runner.run(example).failed == 0


def test_these_have_examples():
    assert {name for name in PUBLIC if examples(name)} >= WITH_EXAMPLES
