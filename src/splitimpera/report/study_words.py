"""What a study found, in words: what wins where, what failed, what it covered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from math import prod

from splitimpera.core.errors import printable, shown
from splitimpera.records.requirement import BALANCED, METRICS, title_of
from splitimpera.report.study_axes import ReadAxis
from splitimpera.report.study_wins import Design, Place, Wins
from splitimpera.report.words import WORDS, sentence
from splitimpera.studies.study_results import CellRow, PlanRow, StudyResults

TOLD_DESIGNS = 6
"""How many designs get a sentence."""
CLAUSES = 2
REASON_CHARACTERS = 240


def headline(wins: Wins) -> str:
    """The study in one line."""
    if not wins.done:
        return "No cell is done yet" if wins.left or not wins.failed else "Every cell failed"
    if not wins.designs:
        if wins.done == 1:
            return WORDS["unsatisfiable"]
        return f"{WORDS['unsatisfiable']} in any of the {wins.done} cells" + (" that are done" if _undone(wins) else "")
    first = wins.designs[0]
    count = len(first.wins)
    if wins.total == 1:
        return f"{first.id} is the choice"
    if len(wins.designs) > 1:
        ties = [design.id for design in wins.designs if len(design.wins) == count]
        most = " and ".join(ties) if len(ties) < 3 else f"{len(ties)} of them"
        each = " each" if len(ties) > 1 else ""
        return f"{len(wins.designs)} designs win somewhere, {most} most often: in {count} of {wins.total} cells{each}"
    if count == wins.total:
        return f"{first.id} wins in all {count} cells"
    so_far = " so far" if _undone(wins) else ""
    return f"{first.id} wins in {count} of {wins.total} cells{so_far}, and no other design does in any"


def win_words(design: Design, wins: Wins) -> str:
    """In how many cells a design wins, and where: "wins in 34 of 50 cells: wherever the link rate is at most ..."."""
    count = len(design.wins)
    told = "wins in the only cell" if wins.total == 1 else f"wins in {count} of {wins.total} cells"
    where = where_words(design.wins, wins)
    return f"{told}: {where}" if where else told


def where_words(places: Collection[Place], wins: Wins) -> str:
    """Where some cells lie, as far as it can be said in few words; empty where it cannot.

    "Wherever" is said where every cell is one of them, those that failed or are left to do included; "only where" when
    no cell elsewhere is, as far as cells are done.
    """
    if not places or len(places) == wins.total:
        return ""
    shares = [wins.share(places, axis) for axis in range(len(wins.axes))]
    so_far = "so far " if _undone(wins) else ""
    whole = len(places) == prod(len(some) for some, _ in shares)
    only = list(_conditions(wins.axes, [some for some, _ in shares]))
    if whole and len(only) == sum(len(some) < len(axis) for (some, _), axis in zip(shares, wins.axes, strict=True)):
        return f"wherever {' and '.join(only)}, {so_far}nowhere else"
    every = list(_conditions(wins.axes, [all_of for _, all_of in shares]))
    clauses = [", or ".join(f"wherever {condition}" for condition in every[:CLAUSES])] if every else []
    if only:
        clauses.append(f"{so_far}only where {' and '.join(only[:CLAUSES])}")
    return ", and ".join(clauses)


def _conditions(axes: Sequence[ReadAxis], values: Sequence[Collection[int]]) -> Iterator[str]:
    """ "the link rate is at most 2 Mbit/s" for each axis of which that can be said."""
    for axis, some in zip(axes, values, strict=True):
        if span := axis.span(some):
            yield f"the {axis.name} is {span}"


def others_words(wins: Wins, told: int = TOLD_DESIGNS) -> str:
    """What is left to say of the designs that get no sentence."""
    others = wins.designs[told:]
    count = sum(len(design.wins) for design in others)
    if not others:
        return ""
    name = f"{len(others)} other designs win" if len(others) > 1 else "One other design wins"
    return f"{name} in {count} {'cells' if count > 1 else 'cell'}."


def rest_words(wins: Wins) -> list[str]:
    """The cells in which nothing wins: a sentence for each kind."""
    kinds = (
        (wins.infeasible, "no plan is feasible"),
        (wins.failed, "the evaluation failed"),
        (wins.left, "nothing is known yet: left to do"),
    )
    said = []
    for places, what in kinds:
        if not places:
            continue
        where = "" if places is wins.left else where_words(places, wins)
        count = "the only cell" if wins.total == 1 else f"{len(places)} of {wins.total} cells"
        said.append(f"In {count} {what}{': ' if where else ''}{where}.")
    return said


def _undone(wins: Wins) -> bool:
    return bool(wins.failed or wins.left)


def failures(wins: Wins) -> list[tuple[str, int, Place]]:
    """Each reason why cells failed, how many did for it, and where the first is; the commonest first."""
    counts: Counter[str] = Counter()
    first: dict[str, Place] = {}
    for place in wins.failed:
        reason = reason_words(wins.cells[place].reason)
        counts[reason] += 1
        first.setdefault(reason, place)
    return [(reason, count, first[reason]) for reason, count in counts.most_common()]


def reason_words(reason: str) -> str:
    return shown(reason, REASON_CHARACTERS) or "no reason is known"


def place_words(place: Place, axes: Sequence[ReadAxis]) -> str:
    """ "link rate 1 Mbit/s, link loss 1 %"."""
    said = [
        axis.full[step] if len(axis.keys) > 1 else f"{axis.name} {axis.labels[step]}"
        for axis, step in zip(axes, place, strict=True)
    ]
    return ", ".join(said)


def covered_words(results: StudyResults, wins: Wins) -> list[str]:
    """What a study covers, and what it took."""
    cells = f"{wins.total} {'cell' if wins.total == 1 else 'cells'}"
    state = [f"{wins.done} done"]
    state += [
        f"{len(places)} {word}" for places, word in ((wins.failed, "failed"), (wins.left, "left to do")) if places
    ]
    said = [f"{cells}: {', '.join(state)}; {wins.plans} plans evaluated."]
    wanted = ", ".join(map(printable, results.requirements))
    said.append(f"Required: {wanted}." if wanted else "Nothing is required.")
    balanced = "Among the plans that are feasible, all requirements are weighed."
    best = f"Among the plans that are feasible, the one with the best {name_of(results.objective)} wins."
    said.append(balanced if results.objective == BALANCED else best)
    runs = "1 replication" if results.replications == 1 else f"{results.replications} replications"
    who = f" by {len(results.workers)} processes" if len(results.workers) > 1 else ""
    said.append(f"Seed {results.seed}, {runs} of each link; {duration(results.spent_s)} of computing{who}.")
    return said


def duration(time_s: float) -> str:
    """As people say it.

    >>> duration(0.4), duration(75), duration(7260)
    ('0.4 s', '1 min 15 s', '2 h 1 min')
    """
    if time_s < 59.5:
        return f"{time_s:.2g} s"
    minutes, seconds = divmod(round(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def name_of(metric: str) -> str:
    """A metric's title; one that is not known goes by its name."""
    return title_of(metric) if metric in METRICS else printable(metric)


def metric_text(metric: str, value: float | None) -> str:
    """A metric's value in human units; a dash where it is not known."""
    if value is None:
        return "-"
    return METRICS[metric].format(value) if metric in METRICS else f"{value:.4g}"


def quality_text(plan: PlanRow, results: StudyResults) -> str:
    """The quality with its interval: "97.3 % (96.8 % to 97.9 %)"."""
    text = metric_text(results.quality, plan.metrics.get(results.quality))
    if plan.quality_ci is None or text == "-":
        return text
    low, high = (metric_text(results.quality, float(f"{end:.3g}")) for end in plan.quality_ci)
    return f"{text} ({low} to {high})"


def latency_text(plan: PlanRow) -> str:
    """The 95th percentile of latency; an unstable plan has none."""
    return metric_text("latency_p95", plan.metrics.get("latency_p95")) if plan.stable else "unstable"


def value_name(results: StudyResults) -> str:
    """What plans are worth, as it is called."""
    if results.objective == BALANCED:
        return f"on-time {name_of(results.quality)}"
    return name_of(results.objective)


def value_text(value: float | None, results: StudyResults) -> str:
    """What a plan is worth. Values are larger where they are better, metrics need not be."""
    metric = results.quality if results.objective == BALANCED else results.objective
    if value is not None and metric in METRICS and METRICS[metric].better == "lower":
        value = abs(value)
    return metric_text(metric, value)


def said_of(row: CellRow) -> str:
    """How many of a cell's plans are feasible."""
    return f"{row.feasible} of {row.plans} plans are feasible"


def axis_words(axis: ReadAxis) -> str:
    """From where to where an axis goes."""
    if len(axis) == 1:
        return f"{sentence(axis.name)}: {axis.full[0]}"
    spaced = {"log": ", equal factors apart", "linear": ", equally far apart"}.get(axis.spaced, "")
    if axis.numbers is None:
        more = f" and {len(axis) - 6} more" if len(axis) > 6 else ""
        return f"{', '.join(axis.labels[:6])}{more}"
    return f"{axis.labels[0]} to {axis.labels[-1]}, {len(axis)} values{spaced}"
