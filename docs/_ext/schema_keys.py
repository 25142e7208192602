"""The directive `keys`: a section's keys from the JSON Schema, each with type, bounds, default and meaning.

    ```{keys} LinkSection
    :prefix: links[].
    ```

`Scenario` and `Study` are the files themselves. `:only:` names some of the keys, `:but:` those that are left out;
`:no-index:` where another file has keys of the same names.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from splitimpera.scenario.file_schema import WRITTEN, file_schema

log = logging.getLogger(__name__)
PLAIN = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
TOP = {"Scenario": "scenario", "Study": "study"}


def sections() -> dict[str, dict[str, Any]]:
    """Each section of both files by its name."""
    found = {}
    for title, name in TOP.items():
        schema = file_schema(name)
        found |= {title: schema} | schema["$defs"]
    return found


def type_words(schema: dict[str, Any]) -> str:
    """What may be written for a key."""
    if "x-quantity" in schema:
        return schema["x-quantity"].removeprefix("a ").removeprefix("an ")
    if "$ref" in schema:
        return "mapping"
    choices = [each for each in schema.get("anyOf", schema.get("oneOf", [])) if each != {"type": "null"}]
    if choices:
        return " or ".join(dict.fromkeys(map(type_words, choices)))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        if "prefixItems" in schema:
            return f"list of {len(schema['prefixItems'])}: {', '.join(map(type_words, schema['prefixItems']))}"
        return f"list of {type_words(schema['items'])}" if schema.get("items") else "list"
    return "mapping" if schema.get("type") == "object" else PLAIN.get(schema.get("type", ""), "any value")


def bound_words(schema: dict[str, Any]) -> str:
    """From where to where a value lies, or how long a list is; empty: anything goes."""
    parts = [schema, *schema.get("anyOf", []), *schema.get("oneOf", [])]
    for part in parts:
        written = WRITTEN.get(part.get("x-quantity", ""), lambda value: f"{value:.10g}")
        ends = [
            f"{word} {written(part[key])}"
            for key, word in (
                *(("minimum", "from"), ("exclusiveMinimum", "above")),
                *(("maximum", "to"), ("exclusiveMaximum", "below")),
            )
            if key in part and abs(part[key]) < 2**62
        ]
        if ends:
            return " ".join(ends)
        if part.get("minItems", 0) or part.get("maxItems"):
            least, most = part.get("minItems", 0), part.get("maxItems")
            return f"{least} entries" if least == most else f"{least} to {most} entries" if most else f"{least} or more"
    return ""


def default_words(key: str, schema: dict[str, Any], required: bool) -> tuple[str, str]:
    """The meaning of a key, and its default in words; empty: it is required."""
    text, _, words = schema.get("description", "").partition(" Default: ")
    if required or words:
        return text, words.removesuffix(".")
    default = schema.get("default")
    plain = {None: "none", True: "`true`", False: "`false`"}
    if isinstance(default, list):
        return text, f"`[{', '.join(map(str, default))}]`"
    if default is None or isinstance(default, bool):
        return text, plain[default] if "default" in schema else "those of its keys"
    return text, f"`{default}`"


def example(schema: dict[str, Any]) -> str:
    parts = [schema, *schema.get("anyOf", []), *schema.get("oneOf", [])]
    return next((part["examples"][0] for part in parts if part.get("examples")), "")


def key_lines(prefix: str, key: str, schema: dict[str, Any], required: bool, indexed: bool) -> list[str]:
    """The key as Markdown."""
    text, default = default_words(key, schema, required)
    if not text:
        log.warning("the key %s%s has no description: write a text below it in the model", prefix, key)
    told = [type_words(schema), bound_words(schema)]
    shown = example(schema)
    told += [f"such as `{shown}`"] if shown and not default.startswith("`") else []
    return [
        f"````{{confval}} {prefix}{key}",
        f":type: {', '.join(filter(None, told))}",
        f":default: {default or 'required'}",
        *([] if indexed else [":no-index:"]),
        "",
        text,
        "````",
        "",
    ]


class Keys(SphinxDirective):
    """The keys of one section."""

    required_arguments = 1
    option_spec = {  # noqa: RUF012 (as docutils has it)
        "prefix": directives.unchanged,
        "only": directives.unchanged,
        "but": directives.unchanged,
        "no-index": directives.flag,
    }

    def run(self) -> list[nodes.Node]:
        known = sections()
        name = self.arguments[0]
        if name not in known:
            raise self.error(f"there is no section {name}, only {', '.join(sorted(known))}")
        self.env.note_dependency("scenario.schema.json")
        section = known[name]
        only, but = (self.options.get(option, "").split() for option in ("only", "but"))
        lines = []
        for key, schema in section["properties"].items():
            if key not in but and (not only or key in only):
                required = key in section.get("required", [])
                indexed = "no-index" not in self.options
                lines += key_lines(self.options.get("prefix", ""), key, schema, required, indexed)
        into = nodes.container(classes=["keys"])
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), self.content_offset, into)
        return into.children


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("keys", Keys)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
