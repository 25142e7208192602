"""The network along its cuts as a drawing (SVG): what crosses as widths, saliency, candidates, and where the plan cuts.

Its width is the same for 20 and for 160 layers: names stand only where there is room, the chosen cuts' first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10, sqrt

from splitimpera.core import units
from splitimpera.report.html.rendering import for_page
from splitimpera.report.layer_names import common_prefix
from splitimpera.report.palette import COLOURS, STAR_COLOUR
from splitimpera.report.schema import CutEntry, Results
from splitimpera.report.selection import CurvePoint, curve_points, drawn_plan
from splitimpera.report.svg import Drawing, fitted, text_width
from splitimpera.report.words import shape_words

WIDTH, MIDDLE, NARROW = 1168.0, 640.0, 360.0
LEFT, RIGHT = 62.0, 10.0
CURVE, BAND, ROW = 110.0, 130.0, 16.0
ROWS = 3
"""Of names above."""


ROUND = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class Name:
    """A name above a place: from `left` to `right` in a row, counted from below."""

    words: str
    at: float
    left: float
    right: float
    row: int
    chosen: bool

    def free_of(self, other: Name) -> bool:
        """Whether neither lies on the other, nor on the line that leads down from it."""
        if self.row == other.row:
            return self.right + 10 < other.left or other.right + 10 < self.left
        upper, lower = (self, other) if self.row > other.row else (other, self)
        return not lower.left - 3 < upper.at < lower.right + 3


def network_svg(results: Results, *, width: float = WIDTH) -> str:
    """The network from its input to its end, as an SVG element: cumulative saliency above, what crosses below.

    Empty where no cut is known.

    Args:
        width: In pixels, 360 or more. Where it has room for that, each cut says what it is where the mouse stands.

    Example:
        `Path("network.svg").write_text(network_svg(read(Path("runs/digits"))), encoding="utf-8")`
    """
    cuts = {cut.index: cut for cut in results.cuts}
    if not cuts:
        return ""
    step = (width - LEFT - RIGHT) / (max(cuts) + 1)
    at = {index: LEFT + (index + 0.5) * step for index in cuts}
    points = [point for point in curve_points(results) if isfinite(point.log_cs)]
    chosen = [hop.cut for hop in drawn_plan(results).hops if hop.cut in cuts]
    drawing = Drawing(width, f"The network of {max(cuts)} layers along its cuts", network_words(results), "network")
    names = list(_names(results, points, chosen, at, width))
    top = ROW * (1 + max((name.row for name in names), default=-1)) + 8
    levels = _levels(points, top + 8, top + CURVE - 8)
    bottom = top + (CURVE if points else 0.0)
    colour = COLOURS[drawn_plan(results).configuration]
    for name in names:
        y = top - 8 - name.row * ROW
        end = bottom if name.chosen else levels.get(_nearest(name.at, at), bottom) - 6
        drawing.path(f"M{name.at:.1f} {y + 3:.1f} V{end:.1f}", "rule")
        drawing.text((name.left + name.right) / 2, y, name.words, "strong small" if name.chosen else "small", "middle")
    for cut in dict.fromkeys(chosen):
        drawing.rect(at[cut] - 1, top - 4, 2, bottom + BAND + 10 - top, fill=colour)
    if points:
        _curve(drawing, points, at, levels, top)
    bottom = _band(drawing, results, at, step, bottom + 6)
    for cut in sorted({hop.cut for plan in results.plans for hop in plan.hops} & cuts.keys()):
        drawing.rect(at[cut] - 2, bottom + 5, 4, 4, corner=2, fill=colour)
    y = _devices(drawing, results, at, step, bottom + 14)
    return drawing.done(_numbers(drawing, at, step, y))


def network_html(results: Results) -> str:
    """The drawing for a page, as wide as there is room; empty where no cut is known."""
    if not results.cuts:
        return ""
    return for_page(
        {int(0.88 * width): network_svg(results, width=width) for width in (WIDTH, MIDDLE)}
        | {0: network_svg(results, width=NARROW)}
    )


def network_words(results: Results) -> str:
    """What the drawing shows."""
    names, plan = results.cut_names, drawn_plan(results)
    sent = dict.fromkeys(
        f"what crosses after {names.get(hop.cut, f'cut {hop.cut}')}" if hop.cut else "the input" for hop in plan.hops
    )
    said = [
        "The pipe's cross-section is the bytes that cross at each cut, uncoded: its width goes with their square root."
    ]
    if any(len(cut.shapes) > 1 for cut in results.cuts):
        said.append("It is fainter where several tensors cross.")
    if results.curve.cuts:
        said.append("The line above is cumulative saliency (log10 CS); diamonds are the candidates.")
    said.append("Dots below are the cuts of the plans that were simulated.")
    kind = "recommended" if results.recommendation.plan else "nearest"
    said.append(f"The {kind} plan sends {' and '.join(sent) or 'nothing'}.")
    return " ".join(said)


def _names(
    results: Results, points: Sequence[CurvePoint], chosen: Sequence[int], at: dict[int, float], width: float
) -> Iterator[Name]:
    """The chosen cuts' names with what crosses there, then the candidates' as far as there is room, peaks first."""
    cuts = {cut.index: cut for cut in results.cuts}
    prefix = common_prefix(list(results.cut_names.values()))
    wanted = [(cut, True) for cut in dict.fromkeys(chosen)]
    peaks = sorted((point for point in points if point.reasons), key=lambda point: -point.log_cs)
    wanted += [(point.cut.index, False) for point in peaks if point.cut.index not in chosen]
    placed: list[Name] = []
    for cut, first in wanted:
        words = cuts[cut].name.removeprefix(prefix)
        (words,) = fitted(words, 0.45 * width, "small", most=1, name=True)
        words += f", {_bytes(cuts[cut])}" if first else ""
        room = text_width(words, "small") * (1.12 if first else 1.0)
        left = min(max(at[cut] - room / 2, 0.0), width - room)
        for row in range(ROWS):
            name = Name(words, at[cut], left, left + room, row, first)
            if all(map(name.free_of, placed)):
                placed.append(name)
                yield name
                break


def _levels(points: Sequence[CurvePoint], top: float, bottom: float) -> dict[int, float]:
    """Where on the paper each cut's saliency lies."""
    values = [point.log_cs for point in points]
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = high - low or 1.0
    return {point.cut.index: bottom - (point.log_cs - low) / span * (bottom - top) for point in points}


def _curve(
    drawing: Drawing, points: Sequence[CurvePoint], at: dict[int, float], levels: dict[int, float], top: float
) -> None:
    ends = min(points, key=lambda point: point.log_cs), max(points, key=lambda point: point.log_cs)
    drawing.text(LEFT - 8, top + CURVE / 2 + 4, "log10 CS", "small", "end", "soft")
    for level, value in {levels[end.cut.index]: end.log_cs for end in ends}.items():
        drawing.path(f"M{LEFT:g} {level:.1f} H{drawing.width - RIGHT:g}", "rule")
        drawing.text(LEFT - 8, level + 4, f"{value:.3g}", "small", "end", "soft")
    places = [f"{at[point.cut.index]:.1f} {levels[point.cut.index]:.1f}" for point in points]
    drawing.path("M" + " L".join(places), "curve")
    for point in points:
        x, y = at[point.cut.index], levels[point.cut.index]
        if point.reasons:
            drawing.path(f"M{x:.1f} {y - 5.5:.1f} l5 5.5 l-5 5.5 l-5 -5.5 z", "candidate", style=f"fill:{STAR_COLOUR}")


def _band(drawing: Drawing, results: Results, at: dict[int, float], step: float, top: float) -> float:
    """What crosses at each cut, as the width of a pipe of that cross-section; where it ends below."""
    most, middle = max(1, *(cut.bytes for cut in results.cuts)), top + BAND / 2
    reasons = {candidate.cut: ", ".join(candidate.reasons) for candidate in results.candidates}
    chosen = {hop.cut for hop in drawn_plan(results).hops}
    colour = COLOURS[drawn_plan(results).configuration]

    def half(size: float) -> float:
        return max(1.0, BAND / 2 * sqrt(size / most))

    for size in _round_sizes(most):
        drawing.path(f"M{LEFT:g} {middle - half(size):.1f} H{drawing.width - RIGHT:g}", "rule")
        drawing.text(LEFT - 8, middle - half(size) + 4, units.format_bytes(size), "small", "end", "soft")
    for cut in results.cuts:
        height, cs = half(cut.bytes), cut.cs
        said = f"cut {cut.index} after {cut.name}: {' and '.join(map(shape_words, cut.shapes))}, {_bytes(cut)}"
        said += f", log10 CS {log10(cs):.3g}" if cs else ""
        said += f", candidate: {reasons[cut.index]}" if cut.index in reasons else ""
        gap = min(1.0, step / 6)
        place = at[cut.index] - step / 2 + gap / 2, middle - height, step - gap, 2 * height
        kind = "" if cut.index in chosen else "band several" if len(cut.shapes) > 1 else "band"
        drawing.rect(
            *place, kind, fill=colour if cut.index in chosen else "", said=said if drawing.width >= WIDTH else ""
        )
    return top + BAND


def _round_sizes(most: float) -> list[float]:
    """One or two below the most, which stand far enough from each other."""
    power = floor(log10(most))
    first = next(digit for digit in (5, 2, 1) if digit * 10.0**power <= most or digit == 1)
    return [size for size in (first * 10.0**power, first * 10.0 ** (power - 1)) if size >= 1]


def _devices(drawing: Drawing, results: Results, at: dict[int, float], step: float, y: float) -> float:
    """Below the layers the devices that run them; where they end."""
    plan, last = drawn_plan(results), max(at)
    borders = [0, *(hop.cut for hop in plan.hops), last]
    for place, name in enumerate(plan.devices):
        first, end = (at.get(borders[min(place + i, len(borders) - 1)], LEFT) for i in (0, 1))
        if end - first < step:
            continue
        left, right = first + 1, end + (step / 2 if end == at[last] else 0) - 1
        drawing.path(f"M{left:.1f} {y:.1f} v4 H{right:.1f} v-4", "way")
        (words,) = fitted(name, max(right - left, 40), "small", most=1, name=True)
        if text_width(words, "small") <= right - left + 8:
            drawing.text((left + right) / 2, y + 18, words, "small", "middle")
    return y + 24


def _numbers(drawing: Drawing, at: dict[int, float], step: float, y: float) -> float:
    """The numbers of some layers, round ones; where they end."""
    every = next((size for size in ROUND if size * step >= 36), max(at) or 1)
    drawing.text(LEFT - 8, y + 12, "layer", "small", "end", "soft")
    for index, x in at.items():
        if index % every == 0:
            drawing.text(x, y + 12, str(index) if index or step < 40 else "input", "small", "middle", "soft")
    return y + 18


def _nearest(x: float, at: dict[int, float]) -> int:
    return min(at, key=lambda index: abs(at[index] - x))


def _bytes(cut: CutEntry) -> str:
    return units.format_bytes(float(f"{cut.bytes:.3g}"))
