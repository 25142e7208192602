"""A plan as a drawing (SVG): its devices in their order, what each runs, who leaves there, and what crosses between.

Its lines and letters have the colour of the text around it, so that it can stand in any page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import hypot
from textwrap import wrap

from splitimpera.core import units
from splitimpera.report.html.rendering import render
from splitimpera.report.layer_names import wrapped
from splitimpera.report.palette import COLOURS
from splitimpera.report.schema import HopEntry, PlanEntry, Results
from splitimpera.report.words import WORDS, codec_words, plan_words, shape_words, transport_words

COLUMNS = 3
"""So many devices lie beside each other where letters are to be read on paper; then the way turns back, below."""
WIDTH, GAP, LINE, EDGE = 190, 184, 16, 10
"""Of a device, of a link beside it, of a line of words, around them; in pixels."""
CHARACTERS = 23
HEAD = 7


@dataclass(frozen=True)
class Words:
    """A line of words: its baseline, which end is held, and whether it is a title, an exit or neither."""

    x: float
    y: float
    words: str
    kind: str = ""
    anchor: str = "middle"


@dataclass(frozen=True)
class Box:
    """A device."""

    x: float
    y: float
    height: float
    lines: list[Words]


@dataclass(frozen=True)
class Arrow:
    """A link in one direction: a path with its head; `back`: what is answered returns on it."""

    path: str
    back: bool


def drawn_plan(results: Results) -> PlanEntry:
    """The recommended plan; where none is feasible the nearest one."""
    decision = results.recommendation
    return results.by_id[str(decision.plan or decision.nearest)]


def tiers_svg(results: Results, plan: PlanEntry | None = None) -> str:
    """An SVG element of a plan's devices, links and exits; without a plan, of `drawn_plan`.

    `Path("design.svg").write_text(tiers_svg(read(folder)))` makes a file of it.
    """
    plan = plan or drawn_plan(results)
    boxes = [_device_lines(plan, place, results) for place in range(len(plan.devices))]
    links = [_link_lines(plan, hop, results) for hop in plan.hops[: len(boxes) - 1]]
    most = max(max(map(len, boxes)), *(2 * max(len(above), len(below) + 1) for above, below in links), 0)
    height = most * LINE + 2 * EDGE
    down = max((len(above) + len(below) for above, below in links), default=0) * LINE + 2 * EDGE
    placed = [_place(place, height, down) for place in range(len(boxes))]
    answers = results.scenario.workload.get("response") is not None and not _directly(results, plan)
    words: list[Words] = []
    arrows: list[Arrow] = []
    for place, (above, below) in enumerate(links):
        start, end = placed[place], placed[place + 1]
        if start[1] == end[1]:
            ahead = 1 if end[0] > start[0] else -1
            left, y = min(start[0], end[0]) + WIDTH, start[1] + height / 2
            ends = (left + 6, left + GAP - 6)[::ahead]
            arrows += _both((ends[0], y), (ends[1], y), (0, 8), answers)
            middle = left + GAP / 2
            words += _stacked(above, middle, y - 8 - LINE * (len(above) - 1), title=True)
            words += _stacked(below, middle, y + 8 + LINE)
        else:
            x, top = start[0] + WIDTH / 2, start[1] + height
            inner = -1 if start[0] > 0 else 1
            arrows += _both((x, top + 6), (x, end[1] - 6), (-8 * inner, 0), answers)
            anchor = "end" if inner < 0 else "start"
            words += _stacked([*above, *below], x + 14 * inner, top + EDGE + LINE - 4, anchor, title=True)
    return render(
        "tiers",
        said=plan_words(plan, results.cut_names),
        width=max(x for x, _ in placed) + WIDTH,
        height=max(y for _, y in placed) + height,
        box_width=WIDTH,
        colour=COLOURS["EE"],
        boxes=[Box(x, y, height, list(_inside(lines, x, y))) for (x, y), lines in zip(placed, boxes, strict=True)],
        arrows=arrows,
        words=words,
    )


def _place(place: int, height: float, down: float) -> tuple[float, float]:
    """Where a device lies: rows to the right and back to the left in turns, so that neighbours stay neighbours."""
    row, column = divmod(place, COLUMNS)
    return (column if row % 2 == 0 else COLUMNS - 1 - column) * (WIDTH + GAP), row * (height + down)


def _inside(lines: Sequence[tuple[str, str]], x: float, y: float) -> Iterator[Words]:
    for place, (line, kind) in enumerate(lines):
        yield Words(x + EDGE, y + EDGE - 4 + LINE * (place + 1), line, kind, "start")


def _stacked(
    lines: Sequence[str], x: float, y: float, anchor: str = "middle", *, title: bool = False
) -> Iterator[Words]:
    for place, line in enumerate(lines):
        yield Words(x, y + place * LINE, line, "title" if title and not place else "", anchor)


def _both(
    start: tuple[float, float], end: tuple[float, float], beside: tuple[float, float], answers: bool
) -> Iterator[Arrow]:
    yield Arrow(_arrow(start, end), back=False)
    if answers:
        near, far = ((x + beside[0], y + beside[1]) for x, y in (start, end))
        yield Arrow(_arrow(far, near), back=True)


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    along = hypot(end[0] - start[0], end[1] - start[1])
    x, y = ((end[axis] - start[axis]) / along * HEAD for axis in (0, 1))
    barbs = [(end[0] - x + side * y / 2, end[1] - y - side * x / 2) for side in (1, -1)]
    points = [start, end, barbs[0], end, barbs[1]]
    return "M" + " L".join(f"{at[0]:.5g} {at[1]:.5g}" for at in points)


def _device_lines(plan: PlanEntry, place: int, results: Results) -> list[tuple[str, str]]:
    """What stands in a device's box: its name and number, its layers, its exits, and whether it answers."""
    name, count = plan.devices[place], _count(plan.devices[place], results)
    borders = [0, *(hop.cut for hop in plan.hops), max(results.cut_names, default=0)]
    first, last = (borders[place + i] if place + i < len(borders) else borders[-1] for i in (0, 1))
    lines = [(line, "title") for line in wrapped(name + (f" (one of {count})" if count > 1 else ""), CHARACTERS)]
    lines += [(line, "") for line in _layer_lines(first, last, results)]
    for exit in plan.exits:
        if first < exit.cut <= last:
            after = wrapped(f"exit after {results.cut_names.get(exit.cut, exit.cut)}", CHARACTERS)
            lines += [(line, "exit") for line in [*after, f"{units.format_fraction(exit.share)} leave"]]
    if place == len(plan.devices) - 1:
        rest = max(0.0, 1 - sum(exit.share for exit in plan.exits))
        others = f"answers the other {units.format_fraction(float(f'{rest:.3g}'))}" if plan.exits else "answers"
        lines += [(others, "")]
    return lines


def _count(name: str, results: Results) -> int:
    counts = (device.model_dump().get("count") for device in results.scenario.devices if device.name == name)
    count = next(counts, None)
    return count if isinstance(count, int) else 1


def _layer_lines(first: int, last: int, results: Results) -> list[str]:
    cuts = {cut.index: cut for cut in results.cuts}
    between = [cut for index, cut in sorted(cuts.items()) if first < index <= last]
    if not between:
        return ["runs no layers"]
    layers = "1 layer" if last - first == 1 else f"{last - first} layers"
    ends = list(dict.fromkeys([between[0].name, between[-1].name]))
    lines = [line for place, name in enumerate(ends) for line in wrapped("to " * place + name, CHARACTERS)]
    before = cuts[first].macs_head if first in cuts else 0
    whole = between[-1].macs_head + between[-1].macs_tail
    macs = max(0, between[-1].macs_head - before)
    share = f" ({units.format_fraction(float(f'{macs / whole:.2g}'))})" if whole else ""
    return [f"{layers}:", *lines, f"{units.format_count(macs)} MACs{share}"]


def _link_lines(plan: PlanEntry, hop: HopEntry, results: Results) -> tuple[list[str], list[str]]:
    """What stands above a link, which is the link, and below, which is what crosses."""
    link = next((link.model_dump() for link in results.links if link.name == hop.link), {})
    numbers = {key: value for key, value in link.items() if isinstance(value, (int, float)) and value}
    writers = {"rate": units.format_rate, "delay": units.format_time}
    speed = ", ".join(write(float(numbers[key])) for key, write in writers.items() if key in numbers)
    loss = f"loses {units.format_fraction(float(numbers['loss']))}" if "loss" in numbers else ""
    what = [f"{hop.bottleneck:g}x bottleneck"] if hop.bottleneck else []
    coded = ", ".join([*what, *codec_words(hop.codec), f"over {transport_words(hop.transport)}"])
    below = [*wrap(coded.replace(" %", "\N{NO-BREAK SPACE}%"), CHARACTERS), *_sizes(plan, hop, results)]
    return [*wrapped(hop.link, CHARACTERS), *filter(None, [speed, loss])], below


def _sizes(plan: PlanEntry, hop: HopEntry, results: Results) -> list[str]:
    """The payload that was simulated where the plan has but one link; of several only the sum is known."""
    payload_bytes = plan.metrics["payload_bytes"]
    if len(plan.hops) == 1 and payload_bytes is not None:
        mean = ["mean of all frames"] if plan.exits else []
        if plan.tokens is not None:
            return [f"{units.format_bytes(plan.tokens.bytes_per_token)} a token"]
        return [f"{units.format_bytes(payload_bytes)} a frame", *mean]
    cut = next((cut for cut in results.cuts if cut.index == hop.cut), None)
    if cut is None:
        return []
    shapes = shape_words(cut.shapes[0]) if len(cut.shapes) == 1 else f"{len(cut.shapes)} tensors"
    return [*wrap(shapes, CHARACTERS), f"{units.format_bytes(cut.bytes)} uncoded"]


def _directly(results: Results, plan: PlanEntry) -> bool:
    """Whether the links of a plan carry no responses."""
    return isinstance(results.scenario.workload.get("answers"), dict) and len(plan.hops) > 1


def tiers_words(results: Results) -> str:
    """What the drawing shows and what it has no room for."""
    plan = drawn_plan(results)
    found = results.recommendation.plan
    which = "The recommended plan" if found else f"{WORDS['unsatisfiable']}; this is the nearest one"
    said = [f"{which}, {plan.id}."]
    payload_bytes = plan.metrics["payload_bytes"]
    if len(plan.hops) > 1 and payload_bytes is not None:
        said.append(f"Coded, {units.format_bytes(payload_bytes)} a frame cross all links together.")
    response = results.scenario.workload.get("response")
    if response is not None and plan.hops:
        size = f" of {units.format_bytes(response)}" if isinstance(response, (int, float)) else ""
        if _directly(results, plan):
            way = "directly, past the devices in between, and are not drawn"
            said.append(f"Responses{size} return to {plan.devices[0]} {way}.")
        else:
            said.append(f"Broken arrows are responses{size}, which return to {plan.devices[0]}.")
    elif plan.hops and plan.tokens is not None:
        said.append(
            f"Each token comes back to {plan.devices[0]}; what is sent for it includes its share of the prompt."
        )
    elif plan.hops:
        said.append("No responses are sent back in this scenario: a frame is done where it is answered.")
    return " ".join(said)
