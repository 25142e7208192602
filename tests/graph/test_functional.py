from __future__ import annotations

import pytest
import torch
from networks import inputs, make

from splitimpera.graph.functional import operation_name, remove_in_place


def program(name):
    model = make(name).eval()
    return torch.export.export(
        model, inputs(name, 2), dynamic_shapes=({0: torch.export.Dim.AUTO},), strict=False
    ).module()


@pytest.mark.parametrize("name", ["Skip", "Chain"])
def test_plain_in_place_steps_become_functional(name):
    module = program(name)
    assert remove_in_place(module.graph)
    assert not [n for n in module.graph.nodes if n.op == "call_function" and operation_name(n).endswith("_")]


def test_a_write_that_a_view_must_see_is_left_to_torch():
    assert not remove_in_place(program("WriteSeenThroughView").graph)
