"""Templates (Jinja2), which escape all that is put into them, and the files that a page carries as they are."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(template: str, **content: object) -> str:
    """A page from a template of the folder `templates`."""
    return _environment().get_template(f"{template}.html.j2").render(content)


def asset(name: str) -> Markup:
    """A style sheet or script of this folder; our own, so not escaped."""
    return Markup((files(__package__) / name).read_text(encoding="utf-8"))


def as_data(value: dict[str, Any]) -> Markup:
    """JSON that can stand in a script element, whatever names are in it."""
    written = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(written.replace("<", "\\u003c"))


def for_page(drawings: dict[int, str]) -> str:
    """Drawings of one thing, the widest first, of which a page shows the one that it has room for.

    Args:
        drawings: SVG elements by the pixels that each needs, the last 0.
    """
    least = list(drawings)
    shown = [(room, Markup(svg), below) for (room, svg), below in zip(drawings.items(), [0, *least], strict=False)]
    return render("drawing", drawings=shown).strip()


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("splitimpera.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
