"""What runs a part keeps in memory."""

from __future__ import annotations

import sys

from small_language import program

from splitimpera.deploy.inference import load_program


def test_a_program_does_not_keep_the_file_that_it_was_made_of():
    content = program(0, 2, last=False)
    before = sys.getrefcount(content)
    loaded = load_program("onnx", content)
    assert callable(loaded)
    assert sys.getrefcount(content) == before
