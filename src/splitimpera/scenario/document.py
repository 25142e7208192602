"""YAML text -> plain values within bounds, and the line of each.

Plain words are read as in YAML 1.2, so that no value has a hidden meaning: `on`, `010`, `1_000`, `0o17`, `1:30`, `.inf`
and dates are text.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from splitimpera.core.errors import ScenarioError, shown

MOST_VALUES = 10_000
"""Largest number of values in a document; an alias counts as all the values it stands for."""

DEEPEST = 20
LONGEST_NUMBER = 40
PROBLEM_CHARACTERS = 200

Place = tuple[str | int, ...]
"""The keys and list indices that lead to a value."""


class _Loader(yaml.SafeLoader):
    """Composes nodes, and stops at the first that is too deep, one too many, or tagged."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (added below, in place of YAML 1.1's)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise _at(event.start_mark, f"the tag '{shown(event.tag)}' is not supported, remove it")
        self.depth += 1
        self.nodes += 1
        if self.depth > DEEPEST:
            raise _at(event.start_mark, f"this is nested deeper than {DEEPEST} levels")
        if self.nodes > MOST_VALUES:
            raise _at(event.start_mark, f"more than {MOST_VALUES} values, the most that are read")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)\Z", list("-+0123456789")),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def read_document(text: str, name: str) -> tuple[object, dict[Place, int]]:
    """The values of a YAML document, and the line of every key and list item.

    Args:
        name: what messages call the document, its path.

    Raises:
        ScenarioError: it is no YAML, a key is given twice or is no text, or there is more than the bounds allow;
            names the line.
    """
    lines: dict[Place, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, lines
        _measure(node, {})
        return _value(node, (), lines), lines
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        # bytes would be given as such; this text was decoded before
        raise ScenarioError(
            f"the character {chr(int(error.character))!a} is not allowed", where=f"{name}:{line}"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        problem = shown(error.problem or error.context, PROBLEM_CHARACTERS)
        raise ScenarioError(
            problem if isinstance(error, _Refused) else f"this is not valid YAML: {problem}", where=where
        ) from None
    except (ValueError, OverflowError) as error:  # of numbers inside escapes and directives
        raise ScenarioError(f"this is not valid YAML: {shown(error, PROBLEM_CHARACTERS)}", where=name) from None


def key_words(place: Place) -> str:
    """('links', 0, 'rate') -> 'links[0].rate'."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in place).lstrip(".")


class _Refused(yaml.MarkedYAMLError):
    """Valid YAML that is not supported here."""


def _at(mark: Any, problem: str) -> _Refused:
    return _Refused(problem=problem, problem_mark=mark)


def _measure(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """How many values a node has and how deep they are, aliases expanded; each node is looked at once.

    Args:
        known: The size of each node by its id; None: it is being measured, so that an alias to it never ends.
    """
    if id(node) in known:
        found = known[id(node)]
        if found is None:
            raise _at(node.start_mark, "this value contains itself")
        return found
    known[id(node)] = None
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif isinstance(node, yaml.MappingNode):
        inner = [part for entry in node.value for part in entry]
    values, height = 1, 1
    for part in inner:
        more, deep = _measure(part, known)
        values, height = values + more, max(height, deep + 1)
    if values > MOST_VALUES:
        raise _at(node.start_mark, f"more than {MOST_VALUES} values, counting the contents of every alias")
    if height > DEEPEST:
        raise _at(node.start_mark, f"this is nested deeper than {DEEPEST} levels, following its aliases")
    known[id(node)] = values, height
    return values, height


def _value(node: yaml.Node, where: Place, lines: dict[Place, int]) -> object:
    if isinstance(node, yaml.MappingNode):
        made = {}
        for key, (line, value) in _entries(node, where).items():
            lines[*where, key] = line
            made[key] = _value(value, (*where, key), lines)
        return made
    if isinstance(node, yaml.SequenceNode):
        for index, entry in enumerate(node.value):
            lines[*where, index] = entry.start_mark.line + 1
        return [_value(entry, (*where, index), lines) for index, entry in enumerate(node.value)]
    return _scalar(node)


def _entries(node: yaml.MappingNode, where: Place) -> dict[str, tuple[int, yaml.Node]]:
    """The line and the value of each key; a mapping's own keys go before those merged into it with `<<`."""
    own: dict[str, tuple[int, yaml.Node]] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _at(key.start_mark, "a key must be text, this is a list or a mapping")
        name, line = key.value, key.start_mark.line + 1
        if name in own:
            twice = f"{key_words((*where, name))}: this key is given twice, in line {own[name][0]} and in line {line}"
            raise _at(key.start_mark, f"{twice}; remove one")
        own[name] = line, value
    _, merge = own.pop("<<", (0, None))
    if merge is None:
        return own
    merged: dict[str, tuple[int, yaml.Node]] = {}
    for source in merge.value if isinstance(merge, yaml.SequenceNode) else [merge]:
        if not isinstance(source, yaml.MappingNode):
            raise _at(source.start_mark, "'<<' takes a mapping, or a list of them")
        merged = _entries(source, where) | merged  # the first goes before the others
    return merged | own


def _scalar(node: yaml.Node) -> object:
    kind, text = node.tag.rpartition(":")[2], node.value
    if kind in ("int", "float"):
        if len(text) > LONGEST_NUMBER:
            raise _at(node.start_mark, f"a number of {len(text)} characters, at most {LONGEST_NUMBER} are read")
        number = int(text) if kind == "int" else float(text)
        if kind == "float" and (math.isinf(number) or (not number and re.match(r"[-+]?[0.]*[1-9]", text))):
            raise _at(node.start_mark, f"{text} is out of the range of floating-point numbers")
        return number
    return {"null": None, "bool": text in ("true", "True", "TRUE")}.get(kind, text)
