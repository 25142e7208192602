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
BAR_COLOUR = "rgba(128,128,128,0.35)"
DESIGN_COLOURS = ("#56B4E9", "#CC79A7", "#F0E442", "#D55E00", "#0072B2", "#009E73", "#E69F00")  # the same authors'
KIND_COLOURS = {"server": "#0072B2", "device": "#E69F00", "late": "#D55E00", "stale": "#CC79A7", "none": "#9A9A9A"}
OTHER_COLOUR, OTHER_LETTER = "#9A9A9A", "*"
DARK, LIGHT = "#000", "#fff"


def ink_on(colour: str) -> str:
    """Black or white, whichever is told better from a colour: by relative luminance (WCAG 2.2).

    >>> ink_on("#F0E442"), ink_on("#0072B2")
    ('#000', '#fff')
    """
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return DARK if (luminance + 0.05) ** 2 > 1.05 * 0.05 else LIGHT


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
