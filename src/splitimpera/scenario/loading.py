"""The scenario file -> Scenario: the YAML, and a line for each fault in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from splitimpera.errors import ScenarioError, SplitImperaError
from splitimpera.plugins import nearest
from splitimpera.scenario.sections import (
    BottlenecksSection,
    DataSection,
    DeviceSection,
    LinkSection,
    NetworkSection,
    PlansSection,
    RadioSection,
    Scenario,
    SoftSection,
    WorkloadSection,
)


def load_scenario(path: str | Path) -> Scenario:
    """Read and validate a scenario file.

    Raises:
        ScenarioError: the file is missing, is no YAML, or a key or value is wrong; the message has one line a fault,
            each with the line in the file, the key, what was given and what to do.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ScenarioError(
            f"the scenario file '{path}' does not exist", hint="'splitimpera scenario init' writes one to start from"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"the scenario file '{path}' cannot be read: {_first_line(error)}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or _first_line(error)
        raise ScenarioError(f"this is not valid YAML: {problem}", where=place) from None
    if not isinstance(content, dict):
        raise ScenarioError(
            f"a scenario is a mapping of keys, this is {_kind(content)}",
            where=str(path),
            hint="'splitimpera scenario init' writes one to start from",
        )
    if "name" not in content:
        content["name"] = path.parent.resolve().name if path.stem == "scenario" else path.stem
    lines = dict(_lines(node, ()))
    try:
        scenario = Scenario.model_validate(content)
        scenario._folder = path.parent.resolve()
        return scenario
    except ValidationError as error:
        faults = [_fault(detail, lines, path) for detail in error.errors()]
        raise ScenarioError("\n".join(dict.fromkeys(faults))) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _kind(value: object) -> str:
    return {list: "a list", str: "text", type(None): "empty"}.get(type(value), f"a {type(value).__name__}")


def _lines(node: yaml.Node | None, where: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """The line of every key and list item."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*where, key.value), key.start_mark.line + 1
            yield from _lines(value, (*where, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*where, index), value.start_mark.line + 1
            yield from _lines(value, (*where, index))


def _fault(detail: ErrorDetails, lines: dict[tuple[str | int, ...], int], path: Path) -> str:
    """One line for one fault that pydantic found."""
    # a union's branches and tagged types appear in pydantic's location; the user's file knows only its keys
    location = tuple(part for part in detail["loc"])
    while location and location not in lines and detail["type"] != "missing":
        location = location[:-1]
    line = next((lines[location[:n]] for n in range(len(location), 0, -1) if location[:n] in lines), 1)
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    problem, hint = _words(detail, location)
    return str(ScenarioError(problem, where=f"{path}:{line}: {key}" if key else f"{path}:{line}", hint=hint))


def _words(detail: ErrorDetails, location: tuple[str | int, ...]) -> tuple[str, str]:
    given, context = detail["input"], detail.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, SplitImperaError):
        return cause.problem, cause.hint
    match detail["type"]:
        case "missing":
            return "this key is missing", "'splitimpera scenario init' writes a file with every key"
        case "extra_forbidden":
            return "this key is unknown", nearest(str(location[-1]), _known_keys(location[:-1]))
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            sign = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
            bounds = [f"{word} {context[short]:g}" for short, word in sign.items() if short in context]
            return f"{given} is out of range, it must be {' and '.join(bounds)} (in SI units)", ""
        case "too_short" | "too_long":
            low, high = context.get("min_length"), context.get("max_length")
            wanted = f"at least {low}" if low is not None else f"at most {high}"
            return f"{context['actual_length']} entries are given, {wanted} expected", ""
        case "model_type" | "dict_type":
            return f"{given!r} is not a mapping of keys", "see docs/scenario.md"
        case "string_pattern_mismatch":
            return f"'{given}' is not a name", "use letters, digits, '-', '_' and '.', no spaces or slashes"
        case _:
            message = detail["msg"].removeprefix("Value error, ")
            return f"{message[0].lower()}{message[1:]}" + ("" if cause else f", given {given!r}"), ""


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """The keys that the section at `location` may have."""
    section: type[BaseModel] = Scenario
    for part in location:
        if isinstance(part, str):
            section = _SECTIONS[part]
    return list(section.model_fields)


_SECTIONS: dict[str, type[BaseModel]] = {
    "network": NetworkSection,
    "data": DataSection,
    "devices": DeviceSection,
    "links": LinkSection,
    "workload": WorkloadSection,
    "plans": PlansSection,
    "bottlenecks": BottlenecksSection,
    "radio": RadioSection,
    "requirements": SoftSection,
}
