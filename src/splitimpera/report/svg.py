"""SVG that stands by itself or in a page: its own colours for light and dark, and words that are known to fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from splitimpera.core.errors import printable
from splitimpera.report.layer_names import wrapped
from splitimpera.report.palette import SCHEMES

KEPT = "\N{NO-BREAK SPACE}"
SIZES = {"value": 22.0, "head": 15.0, "small": 11.5}
"""Of letters, in pixels, by kind; of all others `SIZE`."""
SIZE = 13.0
LONGEST = 1000
"""So many characters are more than any room has lines for."""
BOLD = ("value", "head", "strong")
_WIDTHS = {0.36: "'ijlIJ|.,:;!-/ ()[]ft", 0.53: 'rszck?"*_`\\', 0.64: "", 0.83: "wCDGHNOQU&+<=>^~#", 1.0: "mMW@%"}
_LETTERS = {KEPT: 0.36} | {letter: width for width, letters in _WIDTHS.items() for letter in letters}


class Drawing:
    """An SVG element that is filled piece by piece. What is given as words may hold anything.

    Args:
        title: What it is, in a line: its name for those who do not see it.
        said: What it shows, at length.
        kind: What its class is called besides `sei-drawing`.
    """

    def __init__(self, width: float, title: str, said: str, kind: str) -> None:
        self.width = width
        self._root = ElementTree.Element("svg", {"class": f"sei-drawing {kind}", "role": "img"})
        self._root.set("xmlns", "http://www.w3.org/2000/svg")
        for name, words in (("title", title), ("desc", said), ("style", _style())):
            ElementTree.SubElement(self._root, name).text = _harmless(words)

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start", tone: str = "") -> None:
        """A line of words on its baseline; `kind` is its size and weight, `tone` its colour."""
        attributes = {"x": _number(x), "y": _number(y)} | ({"text-anchor": anchor} if anchor != "start" else {})
        element = self._add("text", " ".join(filter(None, [kind, tone])), attributes)
        element.text = _harmless(words)

    def lines(
        self, x: float, y: float, lines: Iterable[str], kind: str = "", anchor: str = "start", tone: str = ""
    ) -> float:
        """Lines of words below each other; the next one's baseline."""
        for line in lines:
            self.text(x, y, line, kind, anchor, tone)
            y += line_height(kind)
        return y

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        kind: str = "",
        *,
        fill: str = "",
        corner: float = 0.0,
        said: str = "",
    ) -> None:
        """A rectangle; `said` is shown where the mouse stands on it."""
        sides = {"x": x, "y": y, "width": width, "height": height} | ({"rx": corner} if corner else {})
        element = self._add("rect", kind, {name: _number(side) for name, side in sides.items()})
        if fill:
            element.set("fill", fill)
        if said:
            ElementTree.SubElement(element, "title").text = _harmless(said)

    def path(self, points: str, kind: str, **more: str) -> None:
        self._add("path", kind, {"d": points} | more)

    def arrow(self, start: tuple[float, float], end: tuple[float, float], kind: str = "way") -> None:
        """A level or an upright line with a head."""
        along = [(there > here) - (there < here) for here, there in zip(start, end, strict=True)]
        barbs = [
            (end[0] - 6 * along[0] + side * 4 * along[1], end[1] - 6 * along[1] + side * 4 * along[0])
            for side in (1, -1)
        ]
        self.path(f"M{_at(start)} L{_at(end)}", kind)
        self.path(f"M{_at(barbs[0])} L{_at(end)} L{_at(barbs[1])}", f"{kind} tip")

    def mark(self, x: float, y: float, good: bool) -> None:
        """A tick or a cross, 10 pixels wide, on a baseline."""
        points = "M0 -4 L3.5 -.5 L9.5 -8" if good else "M1 -8 L9 0 M9 -8 L1 0"
        self.path(points, f"mark {'good' if good else 'bad'}", transform=f"translate({_number(x)} {_number(y)})")

    def done(self, height: float) -> str:
        """All of it as text."""
        size = _number(self.width), _number(height)
        self._root.attrib |= {
            "width": size[0],
            "viewBox": f"0 0 {size[0]} {size[1]}",
            "style": "max-width:100%;height:auto",
        }
        return ElementTree.tostring(self._root, encoding="unicode")

    def _add(self, tag: str, kind: str, attributes: dict[str, str]) -> ElementTree.Element:
        return ElementTree.SubElement(self._root, tag, ({"class": kind} if kind else {}) | attributes)


def line_height(kind: str = "") -> float:
    return round(SIZES.get(kind, SIZE) * 1.35, 1)


def text_width(words: str, kind: str = "") -> float:
    """How much room words take at the most, by a wide typeface's letters."""
    bold = 1.12 if kind in BOLD else 1.0
    return (
        sum(_LETTERS.get(letter, 0.7 if ord(letter) < 0x2E80 else 1.05) for letter in words)
        * SIZES.get(kind, SIZE)
        * bold
    )


def fitted(words: str, room: float, kind: str = "", most: int = 3, *, name: bool = False) -> list[str]:
    """Words in lines that a room is wide enough for: broken at spaces, long names where their parts join.

    Of what takes more than `most` lines the beginning is kept; of a `name` the end, which tells layers apart.
    """
    lines = [""]
    harmless = _harmless(words[-LONGEST:] if name else words[:LONGEST])
    for word in harmless.split(" "):
        for place, part in enumerate(_parts(word, room, kind)):
            joint = "" if place or not lines[-1] else " "
            if lines[-1] and text_width(lines[-1] + joint + part, kind) > room:
                lines.append(part)
            else:
                lines[-1] += joint + part
    if len(lines) <= most:
        return lines
    kept = lines[-most:] if name else lines[:most]
    cut, shorter = (0, slice(1, None)) if name else (-1, slice(None, -1))
    while kept[cut] and text_width(f"...{kept[cut]}", kind) > room:
        kept[cut] = kept[cut][shorter]
    kept[cut] = f"...{kept[cut]}" if name else f"{kept[cut].rstrip()}..."
    return kept


def _parts(word: str, room: float, kind: str) -> Sequence[str]:
    if text_width(word, kind) <= room:
        return [word]
    letters = max(1, int(room / text_width("W", kind)))
    found: list[str] = []
    for part in wrapped(word, letters, len(word)):
        while text_width(part, kind) > room:
            found.append(part[:letters])
            part = part[letters:]
        found.append(part)
    return found


def _harmless(words: str) -> str:
    return KEPT.join(map(printable, words.replace("\n", " ").split(KEPT)))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _at(point: tuple[float, float]) -> str:
    return f"{_number(point[0])} {_number(point[1])}"


def _style() -> str:
    """Colours follow the system, or what a page around says (`data-theme` of Sphinx, those of notebooks).

    Each colour is written twice: for those that know no variables as it is on light paper.
    """
    light, dark = ("".join(f"--sei-{name}:{colour};" for name, colour in scheme.items()) for scheme in SCHEMES.values())
    rules = [
        f".sei-drawing{{{light}font:{SIZE:g}px system-ui,sans-serif;font-variant-numeric:tabular-nums}}",
        f"@media screen and (prefers-color-scheme:dark){{.sei-drawing{{{dark}}}}}",
        *(
            f":is([data-theme={name}],[data-jp-theme-light={is_light}],.vscode-{name}) .sei-drawing{{{colours}}}"
            for name, is_light, colours in (("light", "true", light), ("dark", "false", dark))
        ),
        *(f".sei-drawing .{kind}{{font-size:{size:g}px}}" for kind, size in SIZES.items()),
        *(f".sei-drawing .{kind}{{font-weight:650}}" for kind in BOLD),
    ]
    inks = {
        "text": "ink",
        "text.soft": "soft",
        "text.good": "feasible",
        "text.bad": "violates",
        ".machine": "raised",
        ".band": "soft",
    }
    rules += [_rule(f".sei-drawing {what}", "fill", colour) for what, colour in inks.items()]
    lines = {
        ".machine": "line",
        ".rule": "line",
        ".way": "ink",
        ".back": "soft",
        ".curve": "accent",
        ".good": "feasible",
        ".bad": "violates",
    }
    rules += [_rule(f".sei-drawing {what}:not(text)", "stroke", colour) for what, colour in lines.items()]
    rules += [
        ".sei-drawing path{fill:none;stroke-width:1.5;stroke-linejoin:round;stroke-linecap:round}",
        ".sei-drawing path.mark,.sei-drawing path.curve{stroke-width:2}",
        ".sei-drawing path.rule{stroke-width:1}",
        ".sei-drawing .band{fill-opacity:.6}.sei-drawing .several{fill-opacity:.3}",
        ".sei-drawing path.back{stroke-dasharray:3 4}.sei-drawing path.tip{stroke-dasharray:none}",
    ]
    return "".join(rules)


def _rule(what: str, property: str, colour: str) -> str:
    return f"{what}{{{property}:{SCHEMES['light'][colour]};{property}:var(--sei-{colour})}}"
