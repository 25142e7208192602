from __future__ import annotations

from splitimpera.graph.cuts import INPUT, Value, crossing_values


def plain(**made):
    return {name: Value(layer, 4, name) for name, layer in made.items()}


def test_a_chain_sends_one_value_at_every_cut():
    values = plain(x=INPUT, a=0, b=1)
    uses = [("x", 0), ("a", 1), ("b", 2)]
    assert crossing_values(values, uses, 2) == [("x",), ("a",), ("b",)]


def test_a_skip_connection_crosses_beside_the_branch():
    values = plain(x=INPUT, a=0, b=1, c=2)
    uses = [("x", 0), ("a", 1), ("a", 2), ("b", 2), ("c", 3)]
    assert crossing_values(values, uses, 3) == [("x",), ("a",), ("a", "b"), ("c",)]


def test_a_tensor_crosses_instead_of_its_views_where_they_are_no_smaller():
    values = {"i": Value(INPUT, 8, "i"), "x": Value(0, 8, "x"), "v": Value(0, 4, "x"), "w": Value(0, 4, "x")}
    values["a"] = Value(1, 4, "a")
    before = [("i", 0), ("a", 2)]
    assert crossing_values(values, [*before, ("v", 1), ("w", 1)], 2)[1] == ("x",)
    assert crossing_values(values, [*before, ("v", 1)], 2)[1] == ("v",)
    assert crossing_values(values, [*before, ("v", 1), ("x", 1)], 2)[1] == ("x",)


def test_the_input_crosses_as_it_is_given():
    """Whatever part of it is used: nobody has made its views yet."""
    values = {"x": Value(INPUT, 8, "x"), "v": Value(INPUT, 4, "x"), "a": Value(0, 4, "a"), "b": Value(1, 4, "b")}
    uses = [("v", 0), ("v", 1), ("a", 1), ("b", 2)]
    assert crossing_values(values, uses, 2) == [("x",), ("v", "a"), ("b",)]


def test_an_early_result_crosses_until_the_end():
    values = plain(x=INPUT, a=0, b=1)
    uses = [("x", 0), ("a", 1), ("a", 2), ("b", 2)]
    assert crossing_values(values, uses, 2) == [("x",), ("a",), ("a", "b")]
