"""A design as a drawing (SVG): the chosen plan from its input to its outcome, and small below it LC and RC with theirs.

All plans share their columns, a device below a device and a link below a link, so that figures stand below each other.
Where there is no room for that, on narrow screens and of more than three devices, all goes downwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from splitimpera.report.design_words import (
    DeviceWords,
    Figure,
    LinkWords,
    PlanWords,
    comes_back,
    input_words,
    plan_words_of,
    responses_words,
    state_words,
)
from splitimpera.report.html.rendering import for_page
from splitimpera.report.palette import COLOURS
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.report.selection import compared_plans, drawn_plan
from splitimpera.report.svg import Drawing, fitted, line_height, text_width
from splitimpera.report.words import certainty_words, choice_words, plan_words

WIDTHS = {1: 720.0, 2: 1060.0, 3: 1168.0}
"""Of a drawing with so many devices beside each other; of more they lie below each other."""
DOWN, NARROW = 720.0, 360.0
LEAST = 930
"""Pixels of a page that it goes across."""
INPUT, OUTCOME, GAP, PAD, INSET, MARK = 110.0, 196.0, 12.0, 14.0, 36.0, 16.0


@dataclass(frozen=True)
class Line:
    """Words on a line of their own; `room` above it; `name`: whether they are one, of which the end is kept."""

    words: str
    kind: str = ""
    tone: str = ""
    room: float = 0.0
    name: bool = False


@dataclass(frozen=True)
class Columns:
    """Where things stand that go across: `device` and `link` are their widths, `at` where each device begins."""

    width: float
    device: float
    link: float
    at: list[float]

    @classmethod
    def of(cls, devices: int) -> Columns:
        width = WIDTHS[devices]
        free = width - INPUT - OUTCOME - INSET
        device = free / (2 * devices - 1)
        link = (free - devices * device) / max(devices - 1, 1)
        return cls(width, device, link, [INPUT + place * (device + link) for place in range(devices)])

    def link_at(self, place: int) -> float:
        """Where the link after a device begins."""
        return self.at[place] + self.device


def design_svg(results: Results, *, narrow: bool = False, heading: bool = True) -> str:
    """The decision as an SVG element: the recommended plan, or the nearest one, and below it the best LC and RC.

    It stands by itself, and in pages that are light or dark.

    Args:
        narrow: Downwards, 360 pixels wide, for small screens.
        heading: Whether the decision stands above it in words.

    Example:
        `Path("design.svg").write_text(design_svg(read(Path("runs/digits"))), encoding="utf-8")`
    """
    chosen, others = drawn_plan(results), compared_plans(results)
    words = plan_words_of(chosen, results)
    devices = max(len(plan.devices) for plan in (chosen, *others))
    across = not narrow and devices in WIDTHS
    width = WIDTHS[devices] if across else NARROW if narrow else DOWN
    drawing = Drawing(
        width, f"The design: {plan_words(chosen, results.cut_names)}", _said(results, others, words), "design"
    )
    y = _heading(drawing, results, chosen) if heading else _label(drawing, 0.0, chosen, results)
    y = _across(drawing, y, words, Columns.of(devices), results) if across else _down(drawing, y, words, results)
    for plan in others:
        drawing.path(f"M0 {y + GAP:.1f} H{width:g}", "rule")
        of_plan = plan_words_of(plan, results)
        y = _small_label(drawing, y + 2 * GAP, plan, results, of_plan)
        y = _small_across(drawing, y, of_plan, Columns.of(devices)) if across else _small_down(drawing, y, of_plan)
        x = INPUT + PAD if across else 0.0
        misses = _lines([Line(_missed(of_plan), "small", "bad", 2.0)], width - x)
        y = _draw(drawing, x, y, misses)
    return drawing.done(y + 4)


def design_html(results: Results, *, heading: bool = False) -> str:
    """The drawing for a page: across where there is room, downwards where there is not."""
    return for_page({LEAST: design_svg(results, heading=heading), 0: design_svg(results, narrow=True, heading=heading)})


def _said(results: Results, others: Sequence[PlanEntry], words: PlanWords) -> str:
    said = [f"{choice_words(results)}. {certainty_words(results)}", words.said, responses_words(results)]
    said += [
        f"Beside it {plan.configuration}, {state_words(plan, results)}: {plan_words_of(plan, results).said}"
        for plan in others
    ]
    return " ".join(filter(None, said))


def _heading(drawing: Drawing, results: Results, chosen: PlanEntry) -> float:
    decided = results.recommendation.plan is not None
    lines = fitted(choice_words(results), drawing.width, "head")
    y = drawing.lines(0, 15, lines, "head", tone="good" if decided else "bad")
    return _label(drawing, y - 8, chosen, results)


def _label(drawing: Drawing, y: float, plan: PlanEntry, results: Results) -> float:
    """Which plan, and how it stands; then room."""
    at = _chip(drawing, y, plan)
    return drawing.lines(at, y + 13, fitted(state_words(plan, results), drawing.width - at), tone="soft")


def _small_label(drawing: Drawing, y: float, plan: PlanEntry, results: Results, words: PlanWords) -> float:
    """The same of a plan that is shown small: what it does, and that it is feasible where it is."""
    state = "" if words.misses else f", {state_words(plan, results)}"
    at = _chip(drawing, y, plan)
    return drawing.lines(at, y + 13, fitted(plan_words(plan, results.cut_names) + state, drawing.width - at)) - 8


def _chip(drawing: Drawing, y: float, plan: PlanEntry) -> float:
    """The colour and the name of a plan's kind; where they end."""
    drawing.rect(0, y + 3, 11, 11, fill=COLOURS[plan.configuration])
    drawing.text(18, y + 13, plan.configuration, "strong")
    return 18 + text_width(plan.configuration, "strong") + 8


def _missed(words: PlanWords) -> str:
    return "; ".join(words.misses)


def _across(drawing: Drawing, y: float, words: PlanWords, columns: Columns, results: Results) -> float:
    boxes = [_lines(_device(device), columns.device - 2 * PAD) for device in words.devices]
    links = [[_lines(half, columns.link - 2 * GAP) for half in _link(link)] for link in words.links]
    who, often = input_words(results)
    links.insert(
        0,
        [
            _lines([Line(who, "strong")], INPUT - GAP),
            _lines([Line(line, "small", "soft") for line in often], INPUT - GAP),
        ],
    )
    outcome = _figures_height(words)
    height = max(
        outcome, *(_height(box) + 2 * PAD for box in boxes), *(2 * max(map(_height, halves)) + 34 for halves in links)
    )
    middle = y + height / 2
    for x, box in zip(columns.at, boxes, strict=False):
        drawing.rect(x, y, columns.device, height, "machine", corner=8)
        _draw(drawing, x + PAD, y + PAD + (height - 2 * PAD - _height(box)) / 2, box)
    back = comes_back(results)
    starts = [0.0, *(columns.link_at(place) + GAP / 2 for place in range(len(words.links)))]
    for place, (start, (above, below)) in enumerate(zip(starts, links, strict=True)):
        end = columns.at[place] - GAP / 2
        drawing.arrow((start, middle), (end, middle))
        if back and place:
            drawing.arrow((end, middle + 8), (start, middle + 8), "way back")
        at, anchor = (start, "start") if not place else ((start + end) / 2, "middle")
        _draw(drawing, at, middle - 9 - _height(above), above, anchor)
        _draw(drawing, at, middle + 10 + 6 * (back and place > 0), below, anchor)
    x = columns.width - OUTCOME
    drawing.arrow((columns.at[len(boxes) - 1] + columns.device + GAP / 2, middle), (x - GAP, middle))
    _figures(drawing, x, middle - outcome / 2, words)
    return _draw(drawing, 0, y + height + GAP, _lines([Line(_missed(words), "small", "bad")], columns.width))


def _down(drawing: Drawing, y: float, words: PlanWords, results: Results) -> float:
    who, often = input_words(results)
    back, inside = comes_back(results), drawing.width - 2 * PAD
    ways = [
        [Line(who, "strong"), Line(", ".join(often), "small", "soft")],
        *([*above, *below] for above, below in map(_link, words.links)),
    ]
    for place, (lines, device) in enumerate(zip_longest(ways, words.devices, fillvalue=None)):
        way = _lines(lines or [], drawing.width - INSET)
        height = _height(way) + 2 * GAP
        drawing.arrow((PAD, y + 4), (PAD, y + height - 4))
        if back and place:
            drawing.arrow((PAD + 8, y + height - 4), (PAD + 8, y + 4), "way back")
        _draw(drawing, INSET, y + GAP, way)
        y += height
        if device is not None:
            box = _lines(_device(device), inside)
            drawing.rect(0, y, drawing.width, _height(box) + 2 * PAD, "machine", corner=8)
            _draw(drawing, PAD, y + PAD, box)
            y += _height(box) + 2 * PAD
    drawing.arrow((PAD, y + 4), (PAD, y + 24))
    y += 28
    _figures(drawing, 0, y, words)
    return _draw(
        drawing, 0, y + _figures_height(words) + 4, _lines([Line(_missed(words), "small", "bad")], drawing.width)
    )


def _small_across(drawing: Drawing, y: float, words: PlanWords, columns: Columns) -> float:
    ends = [y]
    for x, device in zip(columns.at, words.devices, strict=False):
        ends.append(_draw(drawing, x + PAD, y, _lines(_small_device(device), columns.device - PAD)))
    for place, link in enumerate(words.links):
        at, room = columns.link_at(place) + columns.link / 2, columns.link - 2 * GAP
        ends.append(_draw(drawing, at, y, _lines(_small_link(link), room), "middle"))
    ends.append(_small_figures(drawing, columns.width - OUTCOME, y, words.figures))
    return max(ends)


def _small_down(drawing: Drawing, y: float, words: PlanWords) -> float:
    label = min(120.0, drawing.width / 3)
    rows: list[tuple[str, list[Line]]] = []
    for device, link in zip_longest(words.devices, words.links):
        rows.append((device.name, _small_device(device)))
        rows += [(link.name, _small_link(link))] if link is not None else []
    for name, cell in rows:
        named = _lines([Line(name, "small", "soft", name=True)], label - GAP)
        y = max(_draw(drawing, 0, y, named), _draw(drawing, label, y, _lines(cell, drawing.width - label))) + 2
    drawing.text(0, y + line_height("small") * 0.8, "outcome", "small", tone="soft")
    return _small_figures(drawing, label, y, words.figures)


def _device(device: DeviceWords) -> list[Line]:
    notes = [Line(", ".join(device.notes), "small", "soft")]
    costs = [Line(", ".join(device.costs), "strong", room=5), Line(device.overloaded, "small", "bad")]
    return [
        Line(device.name, "head", name=True),
        Line(device.layers),
        Line(device.span, "small", "soft", name=True),
        *costs,
        *notes,
    ]


def _link(link: LinkWords) -> tuple[list[Line], list[Line]]:
    """What stands above and what below an arrow."""
    costs = [Line(", ".join(link.costs), "strong"), Line(link.overloaded, "small", "bad")]
    coded = f"{link.packets} {link.coded}".strip()
    return [Line(link.name, "strong", name=True), Line(link.like, "small", "soft")], [
        *costs,
        Line(coded, "small", "soft"),
    ]


def _small_device(device: DeviceWords) -> list[Line]:
    return [
        Line(device.layers, "small"),
        Line(", ".join(device.costs), "small"),
        Line(device.overloaded, "small", "bad"),
    ]


def _small_link(link: LinkWords) -> list[Line]:
    return [Line(", ".join(link.costs), "small"), Line(link.packets, "small"), Line(link.overloaded, "small", "bad")]


def _figures(drawing: Drawing, x: float, y: float, words: PlanWords) -> None:
    """The outcome: each figure large, with a tick or a cross, and what it is below it."""
    for figure in words.figures:
        drawing.text(x, y + 19, figure.value, "value")
        at = x
        if figure.met is not None:
            drawing.mark(x, y + 36, figure.met)
            at += MARK
        y = drawing.lines(at, y + 36, _below(figure), "small", tone="soft") + 2


def _figures_height(words: PlanWords) -> float:
    lines = sum(len(_below(figure)) for figure in words.figures)
    return 38.0 * len(words.figures) + lines * line_height("small") - 12


def _below(figure: Figure) -> list[str]:
    """What stands below a figure."""
    said = f"{figure.title}, {figure.limit}" if figure.limit else figure.title
    return fitted(said, OUTCOME - MARK, "small")


def _small_figures(drawing: Drawing, x: float, y: float, figures: Sequence[Figure]) -> float:
    for figure in figures:
        y += line_height("small")
        if figure.met is not None:
            drawing.mark(x, y - 3, figure.met)
        drawing.text(x + MARK, y - 3, f"{figure.title} {figure.value}", "small")
    return y


def _lines(lines: Sequence[Line], room: float) -> list[Line]:
    """The same in lines that fit; what says nothing has none."""
    found = []
    for line in lines:
        for place, part in enumerate(fitted(line.words, room, line.kind, name=line.name) if line.words else ()):
            found.append(Line(part, line.kind, line.tone, 0.0 if place else line.room))
    return found


def _height(lines: Sequence[Line]) -> float:
    return sum(line_height(line.kind) + line.room for line in lines)


def _draw(drawing: Drawing, x: float, y: float, lines: Sequence[Line], anchor: str = "start") -> float:
    """Lines from a place downwards; where they end."""
    for line in lines:
        y += line_height(line.kind) + line.room
        drawing.text(x, y - 0.26 * line_height(line.kind), line.words, line.kind, anchor, line.tone)
    return y
