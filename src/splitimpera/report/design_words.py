"""What a drawing of a plan says: of each device, of each link, of the outcome; figures are those of the results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from splitimpera.core import units
from splitimpera.records.requirement import METRICS
from splitimpera.report.schema import HopEntry, PlanEntry, Results
from splitimpera.report.selection import drawn_plan, main_times
from splitimpera.report.svg import KEPT
from splitimpera.report.token_words import TITLES, sender_word
from splitimpera.report.words import (
    WORDS,
    codec_words,
    known_violations,
    shape_words,
    transport_words,
    value_words,
    verdict_words,
)


@dataclass(frozen=True)
class DeviceWords:
    """A device: its name, how many layers it runs and which, what a frame takes there, and what else is to be said."""

    name: str
    layers: str
    span: str
    costs: list[str]
    notes: list[str]
    overloaded: str


@dataclass(frozen=True)
class LinkWords:
    """A link: its name, what it is like, what a frame takes on it, in how many packets it goes, how it is coded."""

    name: str
    like: str
    costs: list[str]
    packets: str
    coded: str
    overloaded: str


@dataclass(frozen=True)
class Figure:
    """A metric of the outcome and its limit; `met`: None where there is none."""

    value: str
    title: str
    limit: str
    met: bool | None


@dataclass(frozen=True)
class PlanWords:
    """A plan from its input to its outcome."""

    devices: list[DeviceWords]
    links: list[LinkWords]
    figures: list[Figure]
    misses: list[str]

    @property
    def said(self) -> str:
        """All of it in a sentence."""
        steps = [
            _joined([f"{device.name} runs {device.layers}", *device.costs, *device.notes, device.overloaded])
            for device in self.devices
        ]
        for place, link in enumerate(self.links):
            steps.insert(
                2 * place + 1, _joined([link.name, link.like, *link.costs, link.packets, link.coded, link.overloaded])
            )
        steps += [_joined([f"{figure.title} {figure.value}", figure.limit]) for figure in self.figures]
        return "; ".join([*steps, *self.misses]) + "."


def input_words(results: Results) -> tuple[str, list[str]]:
    """What enters: who sends, how much and how often."""
    work, first = results.scenario.workload, results.scenario.devices[0].model_dump()
    senders = first.get("count") or work.get("senders") or 1
    who = f"{senders} {sender_word(results)}s" if isinstance(senders, int) and senders > 1 else "input"
    fps = work.get("fps")
    lines = (
        [f"{'each ' if who != 'input' else ''}{_rate(fps, results)}"] if isinstance(fps, (int, float)) and fps else []
    )
    shapes = next((cut.shapes for cut in results.cuts if cut.index == 0), [])
    if len(shapes) == 1 and not results.asks_tokens:
        lines.append(shape_words(shapes[0]))
    return who, lines


def plan_words_of(plan: PlanEntry, results: Results) -> PlanWords:
    """What is drawn of a plan."""
    hops = enumerate(plan.hops[: len(plan.devices) - 1])
    return PlanWords(
        [_device(plan, place, results) for place in range(len(plan.devices))],
        [_link(plan, hop, _coming(plan, place + 1, results), results) for place, hop in hops],
        [_figure(plan, metric, results) for metric in _shown_metrics(results)],
        list(_misses(plan)),
    )


def state_words(plan: PlanEntry, results: Results) -> str:
    """How a plan stands: recommended, nearest, or its verdict."""
    decision = results.recommendation
    if plan.id == decision.plan:
        return "recommended"
    return "nearest, not feasible" if plan.id == (decision.plan or decision.nearest) else verdict_words(plan)


def times_words(results: Results) -> str:
    """What the times in the drawing are."""
    plan = drawn_plan(results)
    if plan.tokens is not None:
        return "Times are means over requests, waiting included."
    mean_s = plan.metrics.get("latency_mean")
    if not plan.stable or mean_s is None:
        return ""
    if plan.exits:
        return f"Times are means of the frames that come there, waiting included; the mean latency is {_time(mean_s)}."
    return f"Times are means of a frame, waiting included; together they are its mean latency, {_time(mean_s)}."


def responses_words(results: Results) -> str:
    """How answers come back."""
    plan, response = drawn_plan(results), results.scenario.workload.get("response")
    if not plan.hops:
        return ""
    if response is None and plan.tokens is not None:
        return f"Each token comes back to {plan.devices[0]}; what is sent for it includes its share of the prompt."
    if response is None:
        return "No responses are sent back in this scenario: a frame is done where it is answered."
    size = f" of {units.format_bytes(response)}" if isinstance(response, (int, float)) else ""
    if comes_back(results):
        time_s = plan.parts_s.get("response", 0.0)
        took = f" in {_time(time_s)}" if time_s and plan.stable and not plan.exits else ""
        return f"Broken arrows are responses{size}, which return to {plan.devices[0]}{took}."
    way = "directly, past the devices in between, and are not drawn"
    return f"Responses{size} return to {plan.devices[0]} {way}."


def comes_back(results: Results) -> bool:
    """Whether responses come back along the links."""
    workload, plan = results.scenario.workload, drawn_plan(results)
    directly = isinstance(workload.get("answers"), dict) and len(plan.hops) > 1
    return workload.get("response") is not None and not directly and bool(plan.hops)


def _device(plan: PlanEntry, place: int, results: Results) -> DeviceWords:
    name = plan.devices[place]
    count = _of(results.scenario.devices, name).get("count")
    first, last = _borders(plan, place, results)
    whole = max(results.cut_names, default=0)
    layers = "no layers"
    if last > first:
        layers = f"all {whole} layers" if last - first == whole else f"{last - first} of {whole} layers"
    names = [cut.name for cut in results.cuts if first < cut.index <= last]
    span = " to ".join(dict.fromkeys([names[0], names[-1]])) if names else ""
    coming = _coming(plan, place, results)
    costs, notes = _times(plan, name, coming), []
    if isinstance(count, int) and count > 1:
        notes.append(f"one of {count}")
    if coming < 1:
        notes.append(f"for {units.format_fraction(_short(coming))} of frames")
    if place < len(plan.memory_bytes) and plan.memory_bytes[place]:
        costs.append(_bytes(plan.memory_bytes[place]))
    if not place:
        energy_j = plan.tokens.token_energy_j if plan.tokens else plan.energy_j
        if energy_j is not None:
            costs.append(_kept(f"{units.format_energy(_short(energy_j))}{' a token' if plan.tokens else ''}"))
    if any(part.startswith(f"{name}: ") for part in plan.estimates) and last > first:
        notes.append("times estimated")
    for exit in plan.exits:
        if first < exit.cut <= last:
            where = results.cut_names.get(exit.cut, f"cut {exit.cut}")
            notes.append(f"{units.format_fraction(_short(exit.share))} leave after {where}")
    return DeviceWords(name, layers, span, costs, notes, _overload(plan, name))


def _coming(plan: PlanEntry, place: int, results: Results) -> float:
    """The share of frames that left at no exit before a device."""
    begins = _borders(plan, place, results)[0]
    return max(0.0, 1 - sum(exit.share for exit in plan.exits if exit.cut <= begins))


def _borders(plan: PlanEntry, place: int, results: Results) -> tuple[int, int]:
    """After which layers a device begins and ends."""
    borders = [0, *(hop.cut for hop in plan.hops), max(results.cut_names, default=0)]
    first, last = (borders[min(place + i, len(borders) - 1)] for i in (0, 1))
    return first, last


def _times(plan: PlanEntry, name: str, coming: float) -> list[str]:
    """What a device, or a link, takes for a frame that comes; waiting included where that has an end."""
    if plan.tokens is not None:
        ways = [("first token", plan.tokens.ttft_parts_s), ("each next", plan.tokens.tpot_parts_s)]
        took = {title: _took(plan, name, parts_s) for title, parts_s in ways}
        return [_kept(f"{title} {_time(time_s)}") for title, time_s in took.items() if time_s]
    time_s = _took(plan, name, plan.parts_s) / coming if coming > 0 else 0.0
    return [_time(time_s)] if time_s else []


def _took(plan: PlanEntry, name: str, parts_s: dict[str, float]) -> float:
    mine = {part: time_s for part, time_s in parts_s.items() if part == name or part.startswith(f"{name}: ")}
    return sum(time_s for part, time_s in mine.items() if plan.stable or not part.endswith(": queue"))


def _link(plan: PlanEntry, hop: HopEntry, coming: float, results: Results) -> LinkWords:
    link = _of(results.links, hop.link)
    numbers = {key: float(value) for key, value in link.items() if isinstance(value, (int, float)) and value}
    like = [units.format_rate(numbers["rate"])] if "rate" in numbers else []
    like += [f"{units.format_time(numbers['delay'])} delay"] if "delay" in numbers else []
    like += [f"{units.format_fraction(numbers['loss'])} loss"] if "loss" in numbers else []
    coded = [_kept(f"over {transport_words(hop.transport)}")]
    coded += [_kept(f"{hop.bottleneck:g}x bottleneck")] if hop.bottleneck else []
    coded += codec_words(hop.codec)
    costs = [*(_times(plan, hop.link, coming) if plan.stable else []), _sent(plan, hop)]
    packets = ""
    if hop.packets and plan.stable:
        packets = f"in {_short(hop.packets):g}{KEPT}packet{'' if _short(hop.packets) == 1 else 's'}"
    coding = ", ".join(coded).replace(" %", f"{KEPT}%")
    return LinkWords(hop.link, ", ".join(like), list(filter(None, costs)), packets, coding, _overload(plan, hop.link))


def _sent(plan: PlanEntry, hop: HopEntry) -> str:
    """The bytes of a frame, or of a token, over a link."""
    if plan.tokens is not None:
        return _kept(f"{_bytes(plan.tokens.bytes_per_token)} a token")
    payload_bytes = plan.metrics.get("payload_bytes") if hop.payload_bytes is None else hop.payload_bytes
    if payload_bytes is None:
        return ""
    together = hop.payload_bytes is None and len(plan.hops) > 1
    return f"{_bytes(payload_bytes)}{' over all links' if together else ''}"


def _overload(plan: PlanEntry, name: str) -> str:
    """That a device or a link has more to do than it can; else nothing."""
    load = plan.utilisation.get(name)
    return f"overloaded, {_kept(units.format_fraction(_short(load)))}" if load is not None and load > 1 else ""


def _shown_metrics(results: Results) -> list[str]:
    """Of the time and of the quality those that requirements are on."""
    wanted = [requirement.metric for requirement in results.requirements]
    times = list(main_times(results))
    if not results.asks_tokens and times[0] not in wanted:
        times = [next((metric for metric in wanted if metric.startswith("latency_")), times[0])]
    in_time = f"on_time_{results.quality}"
    return [*times, in_time if in_time in wanted and results.quality not in wanted else results.quality]


def _figure(plan: PlanEntry, metric: str, results: Results) -> Figure:
    value = value_words(plan, metric)
    judged = [judgement for judgement in plan.judgements if judgement.metric == metric]
    wanted = [requirement for requirement in results.requirements if requirement.metric == metric]
    limit = (
        f"{'at most' if wanted[0].kind == 'upper' else 'at least'} {METRICS[metric].format(wanted[0].limit)}"
        if wanted
        else ""
    )
    met = all(judgement.met for judgement in judged) if judged and plan.metrics.get(metric) is not None else None
    if value == WORDS["unstable"]:
        met = False if judged else None
    known = plan.metrics.get(metric)
    if known is not None and value != WORDS["unstable"]:
        value = METRICS[metric].format(
            _short(known, 4 if 0 < known <= 1 and METRICS[metric].dimension is units.FRACTION else 3)
        )
    return Figure("not computed" if value == "-" else value, _title(metric), limit, met)


def _title(metric: str) -> str:
    if metric in TITLES:
        return TITLES[metric]
    if metric.startswith("latency_"):
        return metric.replace("_", " ")
    quality = metric.removeprefix("on_time_")
    return f"{METRICS[quality].title}{' in time' if quality != metric else ''}"


def _misses(plan: PlanEntry) -> Iterable[str]:
    """What a plan violates, or why it cannot run."""
    if plan.cannot_run:
        yield from (f"{WORDS['cannot_run']}: {why}" for why in plan.cannot_run)
        return
    for violation in known_violations(plan):
        known = violation.value is not None and not violation.unbounded
        value = (
            f" ({METRICS[violation.metric].format(_short(violation.value, 4))})"
            if known and violation.value is not None
            else ""
        )
        yield WORDS["violates"].format(requirement=violation.requirement) + (
            value or f" ({WORDS['unbounded']})" * violation.unbounded
        )


def _rate(fps: float, results: Results) -> str:
    if results.asks_tokens:
        return f"{_short(fps):g} requests/s"
    return f"{_short(fps):g} fps"


def _of(sections: Iterable[Any], name: str) -> dict[str, Any]:
    return next((section.model_dump() for section in sections if section.name == name), {})


def _short(value: float, digits: int = 3) -> float:
    return float(f"{value:.{digits}g}")


def _time(time_s: float) -> str:
    return _kept(units.format_time(_short(time_s)))


def _bytes(size: float) -> str:
    return _kept(units.format_bytes(_short(size)))


def _kept(figure: str) -> str:
    """A number and its unit on one line."""
    return figure.replace(" ", KEPT)


def _joined(words: Iterable[str]) -> str:
    return ", ".join(filter(None, words))
