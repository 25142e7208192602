"""The site's colours are the report's, and are told from what they stand on (WCAG 2.2: a contrast of 4.5 or more)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SITE = (ROOT / "docs" / "_static" / "site.css").read_text()
REPORT = (ROOT / "src" / "splitimpera" / "report" / "html" / "page.css").read_text()
INKS = ("text-base", "text-muted", "heading", "link", "link-hover", "primary", "secondary", "accent", "inline-code")
SAME = {"text-base": "ink", "background": "paper", "text-muted": "soft", "border": "line", "surface": "raised"} | {
    "secondary": "feasible",
    "accent": "violates",
    "primary": "accent",
}


def colours(theme):
    [block] = re.findall(rf'html\[data-theme="{theme}"\] {{(.*?)}}', SITE, re.DOTALL)
    return dict(re.findall(r"--pst-color-([\w-]+): (#\w+);", block))


def of_report(theme):
    light, dark = re.findall(r":root {(.*?)}", REPORT, re.DOTALL)[:2]
    return dict(re.findall(r"--(\w+): (#\w+);", light if theme == "light" else dark))


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(each * 2 for each in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_told_from_what_it_stands_on(theme):
    known = colours(theme)
    for ground in ("background", "on-background", "surface"):
        assert {
            ink: contrast(known[ink], known[ground]) for ink in INKS if contrast(known[ink], known[ground]) < 4.5
        } == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_they_are_the_colours_of_the_report(theme):
    site, report = colours(theme), of_report(theme)
    assert {name: site[name] for name in SAME} == {name: report[other] for name, other in SAME.items()}
