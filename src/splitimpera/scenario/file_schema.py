"""A scenario's and a study's file as JSON Schema, which editors check and complete by: `make schema` writes both.

    # yaml-language-server: $schema=scenario.schema.json

The models' keys, types and bounds, the text below each key, and defaults as a file has them. What several keys may be
together it does not say; `splitimpera scenario check` does.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel

from splitimpera.core import units
from splitimpera.scenario.base_section import Section
from splitimpera.scenario.sections import Scenario, _Origin
from splitimpera.scenario.study_section import StudySection

FILES: dict[str, type[Section]] = {"scenario": Scenario, "study": StudySection}

SHORT_FORMS: dict[str, dict[str, Any]] = {
    "TaskSection": {"type": "string"},
    "LengthsSection": {"type": "number"},
    "RangeSection": {"type": "array"},
}
"""What a file may have in place of a mapping."""

WRITTEN: dict[str, Callable[[float], str]] = {
    units.TIME.name: units.format_time,
    units.BIT_RATE.name: units.format_rate,
    units.SIZE.name: lambda value: f"{value:.10g} B",
    units.FRACTION.name: units.format_fraction,
    units.FREQUENCY.name: lambda value: f"{value:g} /s",
    units.POWER.name: lambda value: f"{value:g} W",
    units.FACTOR.name: lambda value: f"{value:g}",
}
"""A quantity of each kind, as a file has it."""

BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
MAPPINGS = ("properties", "$defs")


def key_docs(section: type[BaseModel]) -> dict[str, str]:
    """The text below each key of a section.

    >>> key_docs(Scenario)["links"]
    'The links between them, one from each device to the next.'
    """
    found = {}
    for kind in reversed(section.__mro__):
        if issubclass(kind, Section):
            [cls] = ast.parse(inspect.getsource(kind)).body
            assert isinstance(cls, ast.ClassDef)
            for field, below in zip(cls.body, cls.body[1:], strict=False):
                match field, below:
                    case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                        found[key] = " ".join(text.split())
    return found


def file_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a file that people write: "scenario" or "study"."""
    model = FILES[name]
    schema: dict[str, Any] = _tidied(model.model_json_schema(mode="validation"))
    if model is Scenario:
        schema["properties"] |= _tidied(_Origin.model_json_schema(mode="validation"))["properties"]
    sections = {section.__name__: section for section in _sections(Section)}
    for title, part in [(model.__name__, schema), *schema["$defs"].items()]:
        section = sections[title]
        docs = key_docs(section) | (key_docs(_Origin) if section is Scenario else {})
        part["description"] = " ".join(inspect.cleandoc(section.__doc__ or "").partition("\n\n")[0].split())
        for key, text in docs.items():
            part["properties"][key]["description"] = text
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"{name} of Split-Et-Impera"}
    return head | schema


def _sections(kind: type[Section]) -> Iterator[type[Section]]:
    for each in kind.__subclasses__():
        yield each
        yield from _sections(each)


def _tidied(schema: Any) -> Any:
    """Without titles that repeat names; bounds by their names in JSON Schema; defaults as a file has them."""
    if isinstance(schema, list):
        return [_tidied(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {
        BOUNDS.get(key, key): {name: _tidied(each) for name, each in value.items()} if key in MAPPINGS else value
        for key, value in schema.items()
        if key != "title"
    }
    for key in ("items", "prefixItems", "anyOf", "oneOf", "additionalProperties"):
        if key in tidy:
            tidy[key] = _tidied(tidy[key])
    short = SHORT_FORMS.get(str(tidy.get("$ref")).rpartition("/")[2])
    if short is not None:
        tidy["anyOf"] = [short, {"$ref": tidy.pop("$ref")}]
    default, written = tidy.get("default"), WRITTEN.get(str(tidy.get("x-quantity")))
    if default == {}:  # all of a section's own
        del tidy["default"]
    elif written is not None and isinstance(default, (int, float)):
        tidy["default"] = written(default)
    return tidy


def json_schema(name: str) -> str:
    """The same as text."""
    return json.dumps(file_schema(name), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema(sys.argv[1]))
