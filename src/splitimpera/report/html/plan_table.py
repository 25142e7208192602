"""The table of all plans and the sliders, for the page's template, and what its script needs to decide anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from splitimpera.core import units
from splitimpera.records.requirement import METRICS
from splitimpera.report.limits import Stop, stops
from splitimpera.report.schema import PlanEntry, RequirementEntry, Results, ViolationEntry
from splitimpera.report.selection import metric_names, shown_plans, token_metrics
from splitimpera.report.token_words import TITLES
from splitimpera.report.words import (
    UNBOUNDED,
    WORDS,
    format_metric,
    margin_words,
    not_computed,
    plan_words,
    score_words,
    verdict_lines,
    verdict_words,
    violation_words,
)


@dataclass(frozen=True)
class Line:
    """A line of a cell: words, a note in a softer colour, and the line's class."""

    words: str
    note: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Column:
    """A column of the table: its metric or own key, its heading, its cells' lines."""

    key: str
    title: str
    cell: Callable[[PlanEntry], list[Line]]
    number: bool = True

    @property
    def better(self) -> str:
        """Where to begin when it is sorted."""
        return "higher" if self.key == "score" or (METRICS.get(self.key) or METRICS["rmse"]).better == "higher" else ""

    @property
    def kind(self) -> str:
        """The class of its cells."""
        return "number" if self.number else "wide" if self.key == "verdict" else ""


@dataclass(frozen=True)
class Row:
    """A plan's row: its class, its words as a tooltip, its cells in the order of the columns."""

    kind: str
    words: str
    cells: list[list[Line]]


@dataclass(frozen=True)
class Slider:
    """One requirement's slider; `place` is where among its stops the user's own limit is."""

    metric: str
    kind: str
    text: str
    stops: list[Stop]
    place: int
    low: str
    high: str
    meet: str


def columns(results: Results) -> list[Column]:
    """Those that say something about some plan."""
    quality, known = results.quality, metric_names(results)
    places = {plan.id: place for place, plan in enumerate(shown_plans(results), start=1)}
    found = [
        Column("rank", "#", lambda plan: [Line(str(places[plan.id]))]),
        Column("id", "plan", lambda plan: [Line(plan.id)], number=False),
        Column("verdict", "verdict", verdict, number=False),
        Column(quality, results.quality_title, lambda plan: _quality(plan, quality)),
        *(_of_tokens(results) if results.asks_tokens else _of_frames()),
        Column("exits", "leave early", lambda plan: _exits(plan, results)),
        Column("fps", "requests/s" if results.asks_tokens else "fps", lambda plan: [_number(plan.metrics["fps"])]),
        Column("payload_bytes", "bytes", lambda plan: _of_hops(plan, "payload_bytes")),
        Column("lost_packet_rate", "lost", lambda plan: _of_hops(plan, "lost_packet_rate")),
        Column("dropped_frames", "dropped", lambda plan: [_metric(plan, "dropped_frames")]),
        Column("energy", "energy", lambda plan: [_metric(plan, "energy")]),
        Column("token_energy", "energy a token", lambda plan: [_metric(plan, "token_energy")]),
        Column("device_memory", "memory", _memory),
        Column("cut_depth", "layers first", lambda plan: [_number(plan.metrics.get("cut_depth"))]),
        Column("busiest", "busiest", _busiest, number=False),
        Column("device_p95", "device p95", _device_p95),
        Column("score", "score", lambda plan: [Line(score_words(plan.score))]),
        Column("pareto", "front", lambda plan: [Line(WORDS["on_front"] if plan.pareto else "")], number=False),
    ]
    always = {"rank", "id", "verdict", "score", "pareto"}
    silent = set() if any(plan.metrics.get("dropped_frames") for plan in results.plans) else {"dropped_frames"}
    if any(plan.busiest_stage for plan in results.plans):
        always.add("busiest")
    if any(plan.exits for plan in results.plans):
        always.add("exits")
    if any(plan.device_p95_s for plan in results.plans):
        always.add("device_p95")
    return [column for column in found if column.key in always or (column.key in known and column.key not in silent)]


def _of_frames() -> list[Column]:
    """How long frames take."""
    return [
        Column(f"latency_{name}", name, lambda plan, name=name: _latency(plan, name))  # type: ignore[misc]
        for name in ("p50", "p95", "p99")
    ]


def _of_tokens(results: Results) -> list[Column]:
    """How long requests to a language model take: to the first token, from token to token, to the last."""
    first, following = token_metrics(results)
    waits = dict.fromkeys(("ttft", first, "tpot", following, "tpot_p95"))
    return [
        *(Column(name, TITLES[name], lambda plan, name=name: _waits(plan, name)) for name in waits),  # type: ignore[misc]
        Column("tokens_per_s", "tokens/s", lambda plan: [_number(plan.metrics.get("tokens_per_s"))]),
        Column("latency_p95", "whole answer p95", lambda plan: _latency(plan, "p95")),
    ]


def rows(results: Results, wanted: Sequence[Column]) -> list[Row]:
    """One row a plan that the page shows."""
    chosen, names = results.recommendation.plan, results.cut_names
    return [
        Row(
            "chosen" if plan.id == chosen else "feasible" if plan.feasible else "violates",
            plan_words(plan, names),
            [column.cell(plan) for column in wanted],
        )
        for plan in shown_plans(results)
    ]


def verdict(plan: PlanEntry) -> list[Line]:
    """What it violates and by how much, or that it is feasible and how surely."""
    if plan.cannot_run:
        lines = [Line(words) for words in verdict_lines(plan)]
    elif plan.feasible:
        lines = [Line(verdict_words(plan))]
    else:
        lines = [_violated("violates", violation) for violation in plan.violations]
    return lines + [_violated("preferred", violation) for violation in plan.soft_violations]


def _violated(how: str, violation: ViolationEntry) -> Line:
    if how == "violates" and not_computed(violation):
        return Line("", violation_words(violation))
    kind = "preferred" if how == "preferred" else ""
    return Line(WORDS[how].format(requirement=violation.requirement), f"({_margin(violation)})", kind)


def _margin(violation: ViolationEntry) -> str:
    if not_computed(violation):
        return WORDS["not_computed"]
    return margin_words(violation.margin, violation.unbounded)


def _metric(plan: PlanEntry, name: str) -> Line:
    value = plan.metrics.get(name)
    return Line("" if value is None else format_metric(name, value))


def _quality(plan: PlanEntry, name: str) -> list[Line]:
    """A quality with its interval."""
    if plan.quality_ci is None:
        return [Line("", WORDS["not_computed"])]
    return [_metric(plan, name), Line("", _range(name, plan.quality_ci))]


def _exits(plan: PlanEntry, results: Results) -> list[Line]:
    """How many frames leave at each early exit, and how good their answers are; for how many one stands in."""
    lines = []
    for exit in plan.exits:
        place = results.cut_names.get(exit.cut, f"cut {exit.cut}")
        known = exit.quality is not None
        quality = f"{results.quality_title} {format_metric(results.quality, exit.quality)}" if known else ""
        lines.append(Line(f"{units.format_fraction(exit.share)} after {place}", quality))
    if plan.stood_in:
        lines.append(Line("", f"stands in for {units.format_fraction(plan.stood_in)}"))
    return lines


def _number(value: float | None) -> Line:
    return Line("" if value is None else f"{value:.3g}")


def _of_hops(plan: PlanEntry, name: str) -> list[Line]:
    return [_metric(plan, name)] if plan.hops else []


def _range(metric: str, ends: Sequence[float]) -> str:
    low, high = (format_metric(metric, float(f"{end:.3g}")) for end in ends)
    return f"{low} to {high}"


def _latency(plan: PlanEntry, name: str) -> list[Line]:
    """One percentile, of p95 with its spread over the replications; or that there is none."""
    if not plan.stable:
        return [Line("", WORDS["unstable"])]
    lines = [_metric(plan, f"latency_{name}")]
    values = [value for value in plan.latency_p95_replications_s if value is not None]
    if name == "p95" and len(values) > 1:
        least, most = units.format_time(min(values)), units.format_time(max(values))
        lines += [Line("", f"{least} to {most}")] if least != most else []
    return lines


def _waits(plan: PlanEntry, name: str) -> list[Line]:
    """How long requests wait for tokens, with the interval; for the first one of an unstable plan without bound."""
    if not plan.stable and name.startswith(UNBOUNDED):
        return [Line("", WORDS["unstable"])]
    low, high = plan.intervals.get(name, [None, None])
    ends = [] if low is None or high is None or low == high else [Line("", _range(name, (low, high)))]
    return [_metric(plan, name), *ends]


def _memory(plan: PlanEntry) -> list[Line]:
    """What each device holds; of language models the keys and values in it."""
    caches = plan.tokens.cache_bytes if plan.tokens is not None else []
    of_caches = [f"{units.format_bytes(size)} of it caches" if size else "" for size in caches]
    said = [*of_caches, *[""] * len(plan.devices)]
    sizes = zip(plan.devices, plan.memory_bytes, said, strict=False)
    return [Line(f"{device} {units.format_bytes(size)}", note) for device, size, note in sizes]


def _device_p95(plan: PlanEntry) -> list[Line]:
    return [Line(f"{device} {units.format_time(p95_s)}") for device, p95_s in plan.device_p95_s.items()]


def _busiest(plan: PlanEntry) -> list[Line]:
    share = plan.utilisation.get(plan.busiest_stage)
    return [Line(plan.busiest_stage, "" if share is None else f"{100 * share:.0f} %")]


def sliders(results: Results) -> list[Slider]:
    """A range for each requirement, over its stops."""
    plans = shown_plans(results)
    made = []
    for place, requirement in enumerate(results.requirements):
        found = stops(requirement, plans)
        write, weight = METRICS[requirement.metric].format, requirement.weight
        meeting = sum(plan.judgements[place].met for plan in plans)
        unknown = sum(not_computed(plan.judgements[place]) for plan in plans)
        made.append(
            Slider(
                requirement.metric,
                "required" if weight is None else f"preferred, weight {weight:g}",
                requirement.text,
                found,
                _own(found),
                write(found[0].limit),
                write(found[-1].limit),
                WORDS["meet_known" if unknown else "meet"].format(count=meeting, total=len(plans), unknown=unknown),
            )
        )
    return made


def _own(found: Sequence[Stop]) -> int:
    return next(place for place, stop in enumerate(found) if stop.own)


def data(results: Results) -> dict[str, Any]:
    """What the script decides and sorts by; what it decides by has all digits, so that it decides as Python does."""
    wanted = [requirement.metric for requirement in results.requirements]
    exact = {*wanted, results.quality, "latency_p95", "payload_bytes"}
    keys = [column.key for column in columns(results) if column.key in METRICS]
    plans, decision, names = shown_plans(results), results.recommendation, results.cut_names
    objective = decision.objective
    if objective in METRICS:
        exact.add(objective)
    return {
        "choice": {
            "objective": objective,
            "upper": objective in METRICS and METRICS[objective].better == "lower",
            "tolerance": decision.tolerance,
            "ties": {metric: ties.model_dump() for metric, ties in decision.ties.items()},
        },
        "quality": {
            "metric": results.quality,
            "title": results.quality_title,
            "upper": results.quality_metric.better == "lower",
        },
        "requirements": [_requirement(requirement, plans) for requirement in results.requirements],
        "plans": [
            {
                "id": plan.id,
                "words": plan_words(plan, names),
                "stable": plan.stable,
                "can_run": not plan.cannot_run,
                "hops": len(plan.hops),
                "energy": plan.energy_j,
                "metrics": {
                    name: value if name in exact else _short(value)
                    for name, value in plan.metrics.items()
                    if name in exact or name in keys
                },
                "intervals": {name: ends for name, ends in plan.intervals.items() if name in wanted},
            }
            for plan in plans
        ],
        "cannot_run": {plan.id: verdict_lines(plan) for plan in plans if plan.cannot_run},
        "words": WORDS,
    }


def _requirement(requirement: RequirementEntry, plans: Sequence[PlanEntry]) -> dict[str, Any]:
    found = stops(requirement, plans)
    return {
        "metric": requirement.metric,
        "upper": requirement.kind == "upper",
        "weight": requirement.weight,
        "own": _own(found),
        "stops": [stop.limit for stop in found],
        "texts": [stop.text for stop in found],
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
