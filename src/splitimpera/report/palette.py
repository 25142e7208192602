"""The figures' colours, and what is read on them."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

COLOURS = {"LC": "#E69F00", "RC": "#0072B2", "SC": "#009E73", "EE": "#CC79A7"}
"""Okabe's and Ito's: told apart without colour vision."""
PARTS = {"device": "#E69F00", "encode": "#CC79A7", "link": "#56B4E9", "queue": "#D55E00", "server": "#009E73"}
PALETTE = ("#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#D55E00")  # the same authors'
CURVE_COLOUR = "#0072B2"
STAR_COLOUR = "#D55E00"
DESIGN_COLOURS = ("#56B4E9", "#CC79A7", "#F0E442", "#D55E00", "#0072B2", "#009E73", "#E69F00")  # the same authors'
KIND_COLOURS = {"server": "#0072B2", "device": "#E69F00", "late": "#D55E00", "stale": "#CC79A7", "none": "#9A9A9A"}
OTHER_COLOUR, OTHER_LETTER = "#9A9A9A", "*"
DARK, LIGHT = "#000", "#fff"
SCHEMES = {
    "light": {
        **{"ink": "#222222", "soft": "#5c5c5c", "paper": "#ffffff", "raised": "#f5f6f7", "line": "#d8d8d8"},
        **{"feasible": "#00694a", "violates": "#a83f00", "accent": "#0067a8"},
    },
    "dark": {
        **{"ink": "#e8e8e8", "soft": "#a8a8a8", "paper": "#16181c", "raised": "#1e2127", "line": "#3a3d44"},
        **{"feasible": "#3fcf9c", "violates": "#ff9a57", "accent": "#6cb8f0"},
    },
}
"""Words, paper and lines of pages and drawings; html/page.css has the same."""


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21 (WCAG 2.2, 1.4.3).

    >>> contrast("#000000", "#ffffff")
    21.0
    """
    dark, light = sorted(map(_luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def ink_on(colour: str) -> str:
    """Black or white, whichever is told better from a colour.

    >>> ink_on("#F0E442"), ink_on("#0072B2")
    ('#000', '#fff')
    """
    return DARK if contrast(colour, "#000000") > contrast(colour, "#ffffff") else LIGHT


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def plan_colours(ids: Sequence[str]) -> list[tuple[str, str]]:
    """A letter and a colour for each plan: the first of each kind have those that they have everywhere.

    >>> plan_colours(["SC4-uint8-tcp", "LC"])
    [('A', '#009E73'), ('B', '#E69F00')]
    """
    free = list(DESIGN_COLOURS)
    own: dict[int, str] = {}
    for place, name in enumerate(ids[: len(free)]):
        colour = COLOURS.get(name[:2])
        if colour is not None and colour not in own.values():
            own[place] = colour
            free.remove(colour)
    return [
        (ascii_uppercase[place], own.get(place) or free.pop(0))
        if place < len(DESIGN_COLOURS)
        else (OTHER_LETTER, OTHER_COLOUR)
        for place in range(len(ids))
    ]
