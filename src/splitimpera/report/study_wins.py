"""Which designs win where in a study: the cells on their grid, and each design's share of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import prod

from splitimpera.core.errors import printable
from splitimpera.records.policy import PolicyPlan
from splitimpera.report.palette import COLOURS, DESIGN_COLOURS, OTHER_COLOUR, OTHER_LETTER
from splitimpera.report.study_axes import ReadAxis, read_axes
from splitimpera.report.words import codec_words, transport_words
from splitimpera.studies.study_results import Cell, PlanRow, StudyResults

Place = tuple[int, ...]
Key = tuple[str, str | None]

MOST_COLOURS = len(DESIGN_COLOURS)
LETTERS = "ABCDEFG"


@dataclass
class Design:
    """A plan that wins somewhere, wherever it does.

    Attributes:
        id: The plan's name; with the layer where one name stands for several.
        words: What it does.
        plan: One of its plans.
        wins: The places where it is recommended.
        certain: In how many of them surely.
        seconds: In how many cells it is the runner-up.
    """

    id: str
    words: str
    plan: PlanRow
    wins: list[Place] = field(default_factory=list)
    certain: int = 0
    seconds: int = 0
    letter: str = OTHER_LETTER
    colour: str = OTHER_COLOUR


@dataclass(frozen=True)
class Wins:
    """A study's cells on their grid.

    Attributes:
        axes: As people read them.
        cells: By place; the values of each axis in the order of its labels.
        designs: Those that win, the one with most cells first. The first few have a letter and a colour of their own.
        infeasible: The places where no plan is feasible.
        failed: The places of cells that failed.
        left: The places of cells that are left to do.
        plans: How many plans there are in cells that are done.
    """

    axes: tuple[ReadAxis, ...]
    cells: dict[Place, Cell]
    designs: list[Design]
    infeasible: list[Place]
    failed: list[Place]
    left: list[Place]
    plans: int

    @property
    def total(self) -> int:
        return prod(map(len, self.axes))

    @property
    def done(self) -> int:
        return self.total - len(self.failed) - len(self.left)

    def share(self, places: Collection[Place], axis: int) -> tuple[set[int], set[int]]:
        """The values of an axis at which some cell is among the places, and those at which every cell is."""
        counts = [0] * len(self.axes[axis])
        for place in places:
            counts[place[axis]] += 1
        every = self.total // len(counts)
        some = {value for value, count in enumerate(counts) if count}
        return some, {value for value in some if counts[value] == every}


def key_of(plan: PlanRow) -> Key:
    """What tells a design from others: the plan's name, and the layer, should networks differ."""
    return plan.id, plan.cut_name


def wins_of(results: StudyResults) -> Wins:
    """Who wins where.

    Cells that a study does not mention count as left to do.
    """
    axes = read_axes(results)
    cells = {_place(cell.index, axes): cell for cell in results.cells}
    by_key: dict[Key, Design] = {}
    infeasible, failed, seconds, plans = [], [], [], 0
    every = (_place(index, axes) for index in range(prod(map(len, axes))))
    left = [place for place in every if place not in cells]
    for place, cell in cells.items():
        if cell.state == "failed":
            failed.append(place)
        if cell.state == "left" or (cell.state == "done" and cell.row is None):
            left.append(place)
        if cell.state != "done" or cell.row is None:
            continue
        plans += cell.row.plans
        if cell.row.runner_up is not None:
            seconds.append(key_of(cell.row.runner_up))
        chosen = cell.row.chosen
        if chosen is None:
            infeasible.append(place)
            continue
        design = by_key.setdefault(key_of(chosen), Design(printable(chosen.id), design_words(chosen), chosen))
        design.wins.append(place)
        design.certain += cell.row.certainty == "certain"
    for key in seconds:
        if key in by_key:
            by_key[key].seconds += 1
    designs = sorted(by_key.values(), key=lambda design: (-len(design.wins), design.id))
    _name_apart(designs)
    _paint(designs[:MOST_COLOURS])
    return Wins(axes, cells, designs, infeasible, failed, left, plans)


def _place(index: int, axes: Sequence[ReadAxis]) -> Place:
    """Where a cell lies; the last axis goes fastest."""
    steps = []
    for axis in reversed(axes):
        index, step = divmod(index, len(axis))
        steps.append(axis.rank[step])
    return tuple(reversed(steps))


def _name_apart(designs: Sequence[Design]) -> None:
    names = [design.id for design in designs]
    for design in designs:
        if names.count(design.id) > 1:
            design.id = f"{design.id} (after {printable(str(design.plan.cut_name))})"


def _paint(designs: Sequence[Design]) -> None:
    """Letters, and colours: the first of a configuration has the colour that it has everywhere."""
    free = list(DESIGN_COLOURS)
    for design, letter in zip(designs, LETTERS, strict=False):
        design.letter, own = letter, COLOURS.get(design.plan.configuration)
        if own in free:
            design.colour = own
            free.remove(own)
    for design in designs:
        if design.colour == OTHER_COLOUR:
            design.colour = free.pop(0)


def design_words(plan: PlanRow | PolicyPlan) -> str:
    """What a plan does: "Split after features.13, 16x bottleneck, 8-bit, over UDP"."""
    if plan.configuration == "LC" or plan.codec is None:
        return "All on the device"
    over = f"over {transport_words(plan.transport or '')}"
    first, *more = codec_words(plan.codec)
    if plan.configuration == "RC":
        parts = [f"Send the input as {first.replace('-bit', '-bit values')}", *more, over]
    else:
        layer = plan.cut_name if isinstance(plan, PlanRow) else None
        after = f"cut {plan.cut}" if layer is None else layer
        squeezed = [f"{plan.bottleneck:g}x bottleneck"] if plan.bottleneck else []
        parts = [f"Split after {after}", *squeezed, first, *more, over]
    return printable(", ".join(parts))
