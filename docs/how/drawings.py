"""The drawings of these pages: `python docs/how/drawings.py` writes them anew, from the package itself where it can.

They stand inside the pages, so that `currentColor` is the page's own, light or dark.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from splitimpera.codec.concealment import interleaved
from splitimpera.core.statistics import mcnemar_p, wilson_interval
from splitimpera.net.tcp import TcpLink
from splitimpera.net.udp import UdpLink
from splitimpera.qos.recommendation import recommend
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Plan
from splitimpera.records.traffic import Workload
from splitimpera.report.palette import COLOURS, CURVE_COLOUR, PALETTE, STAR_COLOUR, ink_on
from splitimpera.saliency.curve import local_maxima

HERE = Path(__file__).parent
WIDTH = 520
BLUE, GREEN, ORANGE, PINK, SKY, RED = PALETTE
GREY = "rgba(128,128,128,0.35)"


class Drawing:
    """Shapes, in pixels of a page 520 wide; they shrink with it."""

    def __init__(self, height: float, says: str) -> None:
        self.height, self.says = height, says
        self.shapes: list[str] = []

    def shape(self, name: str, inside: str = "", **given: Any) -> None:
        attributes = " ".join(f'{key.rstrip("_").replace("_", "-")}="{_plain(value)}"' for key, value in given.items())
        self.shapes.append(f"<{name} {attributes}>{escape(inside)}</{name}>" if inside else f"<{name} {attributes}/>")

    def text(
        self, x: float, y: float, words: str, anchor: str = "start", fill: str = "currentColor", **given: Any
    ) -> None:
        self.shape("text", words, x=x, y=y, text_anchor=anchor, fill=fill, **given)

    def box(self, x: float, y: float, width: float, height: float, fill: str, words: str = "", **given: Any) -> None:
        self.shape("rect", x=x, y=y, width=width, height=height, fill=fill, **given)
        if words:
            ink = ink_on(fill) if fill.startswith("#") else "currentColor"
            self.text(x + width / 2, y + height / 2 + 5, words, "middle", ink)

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str = "currentColor", **given: Any) -> None:
        self.shape("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=stroke, **given)

    def arrow(self, x1: float, y1: float, x2: float, y2: float, **given: Any) -> None:
        self.line(x1, y1, x2, y2, **given)
        along = np.array([x2 - x1, y2 - y1]) / np.hypot(x2 - x1, y2 - y1)
        across = np.array([-along[1], along[0]])
        tip = np.array([x2, y2])
        corners = [tip, tip - 8 * along + 4 * across, tip - 8 * along - 4 * across]
        self.shape("polygon", points=_points(corners), fill="currentColor")

    def cross(self, x: float, y: float, size: float = 5) -> None:
        for side in (-1, 1):
            self.line(x - size, y - side * size, x + size, y + side * size, RED, stroke_width=2.5)

    def __str__(self) -> str:
        opening = (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(self.says)}" '
            f'viewBox="0 0 {WIDTH} {self.height:g}" font-family="inherit" font-size="15" '
            f'style="display:block;width:100%;max-width:640px;height:auto;margin:1rem auto">'
        )
        return "\n".join([opening, *self.shapes, "</svg>", ""])


def _plain(value: Any) -> str:
    return escape(f"{value:.1f}".rstrip("0").rstrip(".")) if isinstance(value, float) else escape(str(value))


def _points(corners: Iterable[Sequence[float]]) -> str:
    return " ".join(f"{_plain(float(x))},{_plain(float(y))}" for x, y in corners)


def _grid(drawing: Drawing, x: float, y: float, shades: Any, side: float, colour: str) -> None:
    """Cells as dark as their value, from 0 to 1."""
    for (row, column), shade in np.ndenumerate(shades):
        drawing.box(
            x + column * side, y + row * side, side, side, colour, fill_opacity=round(float(shade), 2), stroke=GREY
        )


def saliency() -> Drawing:
    """The score of one cut, and the curve of one network."""
    sys.path.insert(0, str(HERE.parent))
    from figures import column

    log_cs = np.array([float(value) for value in column("Every cut", "digits-vgg16:", "log10 CS")])
    maxima = local_maxima(log_cs)
    drawing = Drawing(
        396,
        "Above: three activation maps, each times its weight, the mean of its gradient, add up to one map of what "
        "speaks for the answer; its mean is CS. "
        f"Below: log10 CS at the {len(log_cs)} cuts of a VGG-16; it rises with depth, with {len(maxima)} local maxima.",
    )
    rng = np.random.default_rng(3)
    maps, weights = rng.random((3, 4, 4)), (0.9, -0.6, 0.5)
    for place, (shades, weight) in enumerate(zip(maps, weights, strict=True)):
        x = 8 + place * 92
        _grid(drawing, x, 26, shades, 17, BLUE)
        drawing.text(x + 34, 18, "A" + "₁₂₃"[place], "middle")
        drawing.text(x + 34, 116, f"α{'₁₂₃'[place]} = {weight}", "middle")
    summed = np.maximum(sum(w * a for w, a in zip(weights, maps, strict=True)) / 3, 0)
    drawing.arrow(272, 60, 316, 60)
    _grid(drawing, 326, 26, summed / summed.max(), 17, GREEN)
    drawing.text(360, 18, "L", "middle")
    drawing.text(360, 116, "ReLU", "middle")
    drawing.arrow(404, 60, 448, 60)
    drawing.text(426, 50, "mean", "middle", font_size=13)
    drawing.text(456, 66, "CS", font_weight="bold", font_size=18)
    drawing.line(8, 136, 512, 136, GREY)

    left, right, top, bottom = 46, 508, 164, 356
    low, high = np.floor(log_cs.min()), np.ceil(log_cs.max())
    x = left + (right - left) * np.arange(len(log_cs)) / (len(log_cs) - 1)
    y = bottom - (bottom - top) * (log_cs - low) / (high - low)
    for tick in np.arange(low, high + 1):
        height = bottom - (bottom - top) * (tick - low) / (high - low)
        drawing.line(left, height, right, height, GREY)
        drawing.text(left - 8, height + 5, f"{tick:.0f}", "end", font_size=13)
    drawing.text(8, 156, "log₁₀ CS", font_size=13)
    drawing.shape(
        "polyline", points=_points(zip(x, y, strict=True)), fill="none", stroke=CURVE_COLOUR, stroke_width=2.5
    )
    for place, (right_of, height) in enumerate(zip(x, y, strict=True)):
        drawing.shape("circle", cx=right_of, cy=height, r=3, fill=CURVE_COLOUR)
        if place in maxima:
            drawing.shape("path", d=_star(right_of, height), fill=STAR_COLOUR, stroke="currentColor", stroke_width=0.5)
    drawing.text(left, 382, "first cut", font_size=13)
    drawing.text(right, 382, "last cut", "end", font_size=13)
    drawing.text((left + right) / 2, 382, "★ local maximum", "middle", font_size=13)
    return drawing


def _star(x: float, y: float, size: float = 9) -> str:
    turns = np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2, size * 0.4, size)
    return f"M{_points(zip(x + radius * np.sin(turns), y - radius * np.cos(turns), strict=True))}Z"


FRAMES = Workload(fps=10, frames=4, frame_bytes=14480, element_bytes=4, deadline_s=0.05)


EVERY_MS = 8 * 1502 / 20e3


def frame(transport: str, lost: int | None) -> tuple[list[float], float]:
    """When the packets of a warm connection's third frame arrive, and when it is complete, in ms from its due time."""
    drops = None if lost is None else (20 + lost,)
    link = Link(rate_bps=20e6, delay_s=0.01, drops=drops)
    if transport == "udp":
        sent = UdpLink(link, np.random.default_rng(0)).transfer(FRAMES.all_frames())
        arrivals = [(place + 1) * EVERY_MS + 10 for place in range(10) if place != lost]
    else:
        sent, events = TcpLink(link, np.random.default_rng(0)).transcript(FRAMES.all_frames())
        arrivals = [1e3 * (each.at_s - 0.2) for each in events if each.what == "acked" and each.end == 1]
    return [at for at in arrivals if 0 < at < 100], 1e3 * (float(sent.complete_s[2]) - 0.2)


def simulator() -> Drawing:
    """One frame of ten packets, by what is lost of it."""
    lanes = [
        ("TCP, nothing lost", "tcp", None, BLUE),
        ("TCP, the 6th lost", "tcp", 5, BLUE),
        ("TCP, the 9th lost", "tcp", 8, BLUE),
        ("TCP, the last lost", "tcp", 9, BLUE),
        ("UDP, the 6th lost", "udp", 5, GREEN),
    ]
    times = [(*lane, *frame(lane[1], lane[2])) for lane in lanes]
    listed = "; ".join(f"{words}: {done:.0f} ms" for words, *_, done in times)
    drawing = Drawing(318, f"When the ten packets of a frame arrive at 20 Mbit/s and 10 ms. Complete after: {listed}.")
    left, right, longest = 14, 470, 62.0

    def at(ms: float) -> float:
        return left + (right - left) * ms / longest

    for row, (words, _, lost, colour, arrivals, done) in enumerate(times):
        y = 26 + row * 54
        drawing.text(left, y, words)
        drawing.line(left, y + 18, right, y + 18, GREY, stroke_width=10)
        for arrival in arrivals:
            drawing.line(at(arrival), y + 11, at(arrival), y + 25, colour, stroke_width=3)
        if lost is not None:
            drawing.cross(at((lost + 1) * EVERY_MS + 10), y + 18)
        if done > longest:
            drawing.arrow(right, y + 18, right + 30, y + 18)
            drawing.text(right + 30, y, f"with the next frame: {done:.1f} ms", "end", font_weight="bold", font_size=14)
            continue
        drawing.shape("circle", cx=at(done), cy=y + 18, r=4, fill="currentColor")
        drawing.text(at(done) + 9, y + 23, f"{done:.1f} ms", font_weight="bold", font_size=14)
    drawing.line(left, 292, right, 292)
    for tick in range(0, 61, 10):
        drawing.line(at(tick), 288, at(tick), 296)
        drawing.text(at(tick), 311, f"{tick} ms" if tick == 60 else str(tick), "middle", font_size=13)
    return drawing


def packet() -> Drawing:
    """What stands in front of a packet's payload."""
    rows = [
        ("TCP: 1448 B of the stream", [("link", 2, SKY), ("IP", 20, ORANGE), ("TCP", 32, RED)], "1448"),
        (
            "UDP: 1452 B of the frame",
            [("link", 2, SKY), ("IP", 20, ORANGE), ("UDP", 8, RED), ("sei", 20, PINK)],
            "1452",
        ),
        (
            "UDP with DTLS: 1412 B of the frame, in whole elements of 4 B",
            [("link", 2, SKY), ("IP", 20, ORANGE), ("UDP", 8, RED), ("DTLS", 37, BLUE), ("sei", 20, PINK)],
            "1412",
        ),
    ]
    listed = "; ".join(
        f"{title}, behind " + ", ".join(f"{bytes_} B {name}" for name, bytes_, _ in headers)
        for title, headers, _ in rows
    )
    drawing = Drawing(196, f"What one packet carries, MTU 1500 B. {listed}.")
    for row, (title, headers, payload) in enumerate(rows):
        y, x = 20 + row * 64, 8.0
        drawing.text(8, y, title)
        for name, bytes_, colour in headers:
            drawing.box(x, y + 10, 68, 26, colour, f"{name} {bytes_}", stroke="currentColor", stroke_width=0.5)
            x += 68
        drawing.box(x, y + 10, WIDTH - 8 - x, 26, GREY, f"payload {payload}")
    return drawing


def loss() -> Drawing:
    """A lost packet, in order and interleaved."""
    side, cells = 15, 12
    drawing = Drawing(
        292,
        "A map of 12 by 12 values is sent in six packets, of which the third is lost. Sent in order, two whole rows of "
        "the map are missing. Interleaved, as many values are missing, spread evenly over the map.",
    )
    y, x = np.mgrid[0:cells, 0:cells] / (cells - 1)
    values = 0.15 + 0.8 * np.exp(-8 * ((x - 0.55) ** 2 + (y - 0.4) ** 2))
    orders = {"in order": np.arange(cells * cells), "interleaved": interleaved((cells, cells))}
    for place, (words, order) in enumerate(orders.items()):
        left = 8 + place * 264
        drawing.text(left, 18, f"6 packets, {words}")
        for number in range(6):
            fill = GREY if number == 2 else SKY
            drawing.box(left + number * 40, 28, 36, 20, fill)
            if number == 2:
                drawing.cross(left + number * 40 + 18, 38)
        gone = order[2 * 24 : 3 * 24]
        arrived = values.reshape(-1).copy()
        arrived[gone] = 0
        drawing.arrow(left + 90, 54, left + 90, 76)
        _grid(drawing, left, 82, arrived.reshape(cells, cells), side, BLUE)
        for cell in gone:
            drawing.box(left + cell % cells * side, 82 + cell // cells * side, side, side, GREY, stroke=RED)
    drawing.text(8, 284, "24 of 144 values are missing either way", font_size=14)
    return drawing


def statistics() -> Drawing:
    """Two plans on the same images: their own intervals overlap, their difference is not chance."""
    images, both, only_a, only_b = 400, 334, 18, 6
    p = mcnemar_p(only_a, only_b)
    shares = {"A": (both + only_a) / images, "B": (both + only_b) / images}
    drawing = Drawing(
        250,
        f"Plan A is right on {100 * shares['A']:.1f} % of {images} images, plan B on {100 * shares['B']:.1f} %; their "
        f"95 % intervals overlap. Of the images that only one gets right A has {only_a}, B {only_b}: p = {p:.3f}.",
    )
    left, right, low, high = 40, 495, 0.80, 0.92

    def at(share: float) -> float:
        return left + (right - left) * (share - low) / (high - low)

    for row, (name, share) in enumerate(shares.items()):
        y, (start, end) = 34 + 34 * row, wilson_interval(share, images)
        colour = (GREEN, BLUE)[row]
        drawing.text(14, y + 5, name, font_weight="bold")
        drawing.line(at(start), y, at(end), y, colour, stroke_width=6)
        drawing.shape("circle", cx=at(share), cy=y, r=6, fill="currentColor")
    drawing.line(left, 96, right, 96)
    for tick in (0.80, 0.84, 0.88, 0.92):
        drawing.line(at(tick), 92, at(tick), 100)
        drawing.text(at(tick), 116, f"{100 * tick:.0f} %", "middle", font_size=13)
    drawing.text(14, 148, "the same 400 images", font_size=14)
    parts = [("both right", both, GREY), ("only A", only_a, GREEN), ("only B", only_b, BLUE)]
    parts.append(("neither", images - both - only_a - only_b, "none"))
    x = 14.0
    for words, count, colour in parts:
        # the small ones wider than they are, to be seen
        width = {"both right": 236, "only A": 84, "only B": 74, "neither": 98}[words]
        drawing.box(x, 158, width, 30, colour, str(count), stroke="currentColor", stroke_width=0.5)
        drawing.text(x + width / 2, 206, words, "middle", font_size=13)
        x += width
    drawing.text(14, 238, f"{only_a} against {only_b}: p = {p:.3f}, so A is better", font_weight="bold")
    return drawing


EXAMPLE = {
    "LC": (0.91, 34),
    "RC": (0.96, 63),
    "SC1": (0.955, 41),
    "SC2": (0.94, 29),
    "SC3": (0.93, 44),
    "SC4": (0.885, 22),
}


def decision() -> Drawing:
    """Plans over accuracy and latency, with the limits of two requirements."""
    evaluations = [
        Evaluation(Plan(name, (Device("camera"),)), accuracy, (accuracy, accuracy), np.full((1, 9), ms / 1e3))
        for name, (accuracy, ms) in EXAMPLE.items()
    ]
    found = recommend(evaluations, ["accuracy >= 90 %", "latency_p95 <= 50 ms"])
    assert found.chosen is not None
    feasible = {verdict.id for verdict in found.verdicts if verdict.feasible}
    front = [verdict.id for verdict in found.verdicts if verdict.pareto]
    drawing = Drawing(
        330,
        f"Six plans over p95 latency and accuracy. {len(feasible)} lie within both limits, 50 ms and 90 %. The Pareto "
        f"front runs through {', '.join(sorted(front))}. {found.chosen.id} is chosen: its least margin is the largest.",
    )
    left, right, top, bottom = 52, 508, 20, 282

    def at(accuracy: float, ms: float) -> tuple[float, float]:
        return left + (right - left) * (ms - 15) / 55, bottom - (bottom - top) * (accuracy - 0.87) / 0.1

    corner_x, corner_y = at(0.9, 50)
    drawing.box(left, top, corner_x - left, corner_y - top, GREEN, fill_opacity=0.15)
    drawing.line(corner_x, top, corner_x, bottom, stroke_dasharray="5 4")
    drawing.line(left, corner_y, right, corner_y, stroke_dasharray="5 4")
    drawing.text(corner_x + 6, bottom - 8, "50 ms", font_size=13)
    drawing.text(right, corner_y + 17, "90 %", "end", font_size=13)
    drawing.line(left, bottom, right, bottom)
    drawing.line(left, top, left, bottom)
    drawing.shape(
        "polyline",
        points=_points(at(*EXAMPLE[name]) for name in sorted(front, key=lambda name: EXAMPLE[name][1])),
        fill="none",
        stroke="currentColor",
        stroke_width=1.5,
    )
    for name, (accuracy, ms) in EXAMPLE.items():
        x, y = at(accuracy, ms)
        drawing.shape("circle", cx=x, cy=y, r=8, fill=COLOURS[name[:2]], stroke="currentColor")
        if name not in feasible:
            drawing.cross(x, y, 12)
        if name == found.chosen.id:
            drawing.shape("circle", cx=x, cy=y, r=14, fill="none", stroke="currentColor", stroke_width=2.5)
        drawing.text(x + (20 if name == found.chosen.id else 14), y + 20, name)
    drawing.text((left + right) / 2, 316, "p95 of latency", "middle")
    drawing.text(18, (top + bottom) / 2, "accuracy", "middle", transform=f"rotate(-90 18 {(top + bottom) / 2:g})")
    return drawing


DRAWINGS = {each.__name__: each for each in (saliency, simulator, packet, loss, statistics, decision)}


def main() -> None:
    for name, draw in DRAWINGS.items():
        (HERE / f"{name}.svg").write_text(str(draw()), encoding="utf-8")


if __name__ == "__main__":
    main()
