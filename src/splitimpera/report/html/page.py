"""results -> report.html, self-contained: text, tables, figures and the scripts that draw and decide."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from splitimpera.core import units
from splitimpera.report.design_drawing import design_html
from splitimpera.report.design_words import responses_words, times_words
from splitimpera.report.html import plan_table as table
from splitimpera.report.html.rendering import as_data, asset, render
from splitimpera.report.interactive import figures
from splitimpera.report.network_drawing import network_html, network_words
from splitimpera.report.palette import COLOURS
from splitimpera.report.plan_figures import on_link
from splitimpera.report.schema import Results, SectionEntry, SensitivityEntry
from splitimpera.report.selection import breakdown_plans, drawn_classes, shown_plans
from splitimpera.report.token_words import frame_word, sender_word, tokens_words, waits_words
from splitimpera.report.words import (
    WORDS,
    capacity_words,
    certainty_words,
    change_words,
    choice_words,
    exits_words,
    not_computed,
    parameter_words,
    plan_words,
    samples_words,
    sentence,
    shape_words,
    status_words,
    unvalued_words,
    view_words,
)

CHAPTERS = {
    "what-if": "What if?",
    "samples": "Samples",
    "splits": "Where it may be split",
    "layers": "Layers",
    "latency": "Latency",
    "breakdown": "Where the time goes",
    "tokens": "Tokens",
    "exits": "Early exits",
    "losses": "Packet loss",
    "sensitivity": "Sensitivity",
    "all-plans": "All plans",
    "setting": "Setting",
}
PNG = "iVBOR"
"""What PNG files in Base64 begin with."""
FIGURES = {
    "plans": "each plan's quality against its 95th percentile of latency",
    "cuts": "the lowest p95 latency at each pair of cuts of the three devices",
    "classes": "cumulative saliency of each class at each cut",
    "layers": "multiply-accumulates, parameters and output bytes of each layer",
    "latency": "the latency distributions of the plans",
    "breakdown": "the time of a frame in each part of the best plans",
    "first_token": "where the time to the first token goes",
    "next_token": "where the time from each token to its next goes",
    "over_rate": "the times to the first token and from token to token over the link's rate",
    "over_delay": "the times to the first token and from token to token over the link's delay",
    "loss": "quality of the best plans against packet loss",
    "exits": "quality against the share of frames that leave at each early exit",
    "answered": "the latency of frames by who answers them",
}


def report_html(results: Results) -> str:
    """The whole page."""
    shown = shown_plans(results)
    drawn = figures(results, shown)
    decision, plans = results.recommendation, results.plans
    choice, certainty = choice_words(results), certainty_words(results)
    there = {"losses": "loss" in drawn, "sensitivity": bool(results.sensitivity), "samples": bool(results.shown)}
    there |= {"exits": "exits" in drawn, "tokens": results.asks_tokens}
    wanted = table.columns(results)
    data = table.data(results) | {"figures": {name: json.loads(figure.to_json()) for name, figure in drawn.items()}}
    return render(
        "page",
        results=results,
        decision=decision,
        css=asset("page.css"),
        scripts=[asset("decide.js"), Markup(get_plotlyjs()), asset("page.js")],
        data=as_data(data),
        chapters={name: title for name, title in CHAPTERS.items() if there.get(name, True)},
        figures=FIGURES,
        drawn=drawn.keys(),
        choice=choice,
        certainty=certainty,
        status=status_words(results),
        changes=list(map(change_words, decision.changes)),
        base=_quality(results, results.base_quality, results.base_quality_ci),
        tested=None
        if decision.test_quality is None or decision.test_quality_ci is None
        else _quality(results, decision.test_quality, decision.test_quality_ci),
        capacity=capacity_words(results.capacity, sender_word(results)) if results.capacity else "",
        frame=frame_word(results),
        tokens=tokens_words(results),
        waits=waits_words(results),
        others=_others(results),
        sliders=table.sliders(results),
        replications=_replications(results),
        unstable=[plan.id for plan in plans if not plan.stable],
        unvalued=unvalued_words(results),
        candidates=_candidates(results),
        classes_drawn=len(drawn_classes(results)),
        uncosted=_shortened(", ".join(results.uncosted)),
        measured=_measured(results),
        sensitivity=_sensitivity(results),
        samples=_samples(results),
        samples_said=samples_words(results),
        early=exits_words(results),
        network=Markup(network_html(results)),
        network_said=network_words(results),
        design=Markup(design_html(results)),
        design_said=f"{times_words(results)} {responses_words(results)}".strip(),
        columns=wanted,
        rows=table.rows(results, wanted),
        shown=len(shown),
        setting=_setting(results),
        shortened=_shortened,
        sentence=sentence,
        unsatisfiable=WORDS["unsatisfiable"],
    )


def _quality(results: Results, value: float, ends: Sequence[float]) -> tuple[str, str]:
    """A quality, and its interval."""
    write = results.quality_metric.format
    low, high = (write(float(f"{end:.3g}")) for end in ends)
    return write(value), f"({low} to {high})"


def _others(results: Results) -> list[tuple[str, str]]:
    """For each requirement how many plans violate it, how many of them nothing else, and of how many that is not known.

    Then what cannot run.
    """
    plans = results.plans
    lines = []
    for requirement in results.requirements:
        required = requirement.weight is None
        text = requirement.text
        missing = [
            (plan, each)
            for plan in plans
            for each in (plan.violations if required else plan.soft_violations)
            if each.requirement == text
        ]
        violating = [plan for plan, each in missing if not not_computed(each)]
        unknown = len(missing) - len(violating)
        alone = sum(len(plan.violations) == 1 and not plan.cannot_run for plan in violating) if required else 0
        end = f", {alone} of them nothing else" if alone else ""
        end += f"; not computed for {unknown}" if unknown else ""
        kind = "" if required else " (preferred)"
        lines.append((text, f"{kind}: {len(violating)} of {len(plans)} plans{end}"))
    stuck = [plan for plan in plans if plan.cannot_run]
    if stuck:
        why = "; ".join(dict.fromkeys(reason for plan in stuck for reason in plan.cannot_run))
        lines.append(("", f"{len(stuck)} of {len(plans)} plans {WORDS['cannot_run']}: {_shortened(why)}"))
    return lines


def _replications(results: Results) -> str:
    count = results.replications
    return f"{count} replications with different losses" if count > 1 else "one replication"


def _shortened(words: str, most: int = 400) -> str:
    return words if len(words) <= most else words[:most].rsplit(" ", 1)[0] + " ..."


def _candidates(results: Results) -> list[list[str]]:
    cuts = {cut.index: cut for cut in results.cuts}
    rows = []
    for candidate in results.candidates:
        cut = cuts[candidate.cut]
        cells = [str(cut.index), candidate.name, shape_words(*cut.shapes), units.format_bytes(cut.bytes)]
        cells += [units.format_count(cut.macs_head), units.format_count(cut.macs_tail)]
        rows.append([*cells, ", ".join(candidate.reasons)])
    return rows


def _measured(results: Results) -> str:
    """Which times were measured on the machine that has them, and which were not."""
    plans = breakdown_plans(results)
    worked = dict.fromkeys(
        part for plan in plans for part in plan.parts_s if not on_link(part) and not part.endswith(": queue")
    )
    guessed = {part for plan in plans for part in plan.estimates}
    said = [
        f"{how}: {', '.join(parts)}."
        for how, parts in (
            ("Measured on its machine", [part for part in worked if part not in guessed]),
            ("Estimated for its machine and hatched", [part for part in worked if part in guessed]),
        )
        if parts
    ]
    for preset in results.presets:
        error = preset.error
        known = f"at worst {100 * error:+.0f} % off published times" if error is not None else "with an unknown error"
        said.append(f"Those of {preset.device} are a roofline's ({preset.preset}), {known}.")
    first = next(iter(plans), None)
    if first is not None and first.device_p95_s:
        taken = (
            f"{device} {units.format_time(first.device_p50_s[device])} and {units.format_time(p95_s)}"
            for device, p95_s in first.device_p95_s.items()
            if device in first.device_p50_s
        )
        said.append(f"In {first.id} the devices alone, without queues, take at p50 and p95: {'; '.join(taken)}.")
    return " ".join([*said, "Links and queues are simulated. Broken lines are limits on latency."])


def _sensitivity(results: Results) -> list[dict[str, Any]]:
    """For each parameter a bar of what would be chosen where, and the same in words."""
    plans, names = results.by_id, results.cut_names
    return [
        {
            "title": f"{found.parameter.capitalize()}, now {_written(found, found.now)}",
            "text": found.text,
            "spans": [
                {
                    "span": span,
                    "plan": plan,
                    "now": now,
                    "words": plan_words(plans[plan], names) if plan in plans else "",
                    "colour": COLOURS[plans[plan].configuration] if plan in plans else "",
                }
                for span, plan, now in _spans(found)
            ],
        }
        for found in results.sensitivity
    ]


def _samples(results: Results) -> list[list[dict[str, str]]]:
    """The views of each sample that is shown: an image, and what is said below it and instead of it."""
    if results.shown is None:
        return []
    return [
        [
            {
                "source": f"data:image/{'png' if text.startswith(PNG) else 'jpeg'};base64,{text}",
                "words": view_words(view, sample),
                "alt": f"Test sample {sample.place}: {view_words(view, sample)}",
            }
            for view, text in sample.images.items()
        ]
        for sample in results.shown.samples
    ]


def _written(found: SensitivityEntry, value: float) -> str:
    return parameter_words(value, found.parameter, found.unit)


def _spans(found: SensitivityEntry) -> Iterator[tuple[str, str | None, bool]]:
    """From where to where which plan is the choice, and whether the present value lies there."""
    borders = [found.values[0], *(flip.value for flip in found.flips), found.values[-1]]
    choices = [found.plans[0], *(flip.after for flip in found.flips)]
    places = [place for place, border in enumerate(borders[1:]) if found.now <= border]
    for place, (choice, (low, high)) in enumerate(zip(choices, pairwise(borders), strict=True)):
        span = _written(found, low) if low == high else f"{_written(found, low)} to {_written(found, high)}"
        yield span, choice, place == (places or [len(choices) - 1])[0]


def _setting(results: Results) -> list[tuple[str, str]]:
    scenario = results.scenario
    return [
        ("network", scenario.network.model),
        ("data", scenario.data.source),
        *(("device", _section(device)) for device in scenario.devices),
        *(("link", _section(link)) for link in results.links),
        ("workload", _values(scenario.workload)),
        ("seed", f"{results.seed}, {_replications(results)}"),
    ]


def _section(section: SectionEntry) -> str:
    return ", ".join(filter(None, [section.name, _values(section.model_dump(exclude={"name"}))]))


_WRITERS = {
    **dict.fromkeys(("rate", "downlink_rate"), units.format_rate),
    **dict.fromkeys(("delay", "downlink_delay", "jitter", "deadline"), units.format_time),
    **dict.fromkeys(("loss", "downlink_loss"), units.format_fraction),
    **dict.fromkeys(("mtu", "memory", "queue_bytes", "response"), units.format_bytes),
}


def _values(section: dict[str, Any]) -> str:
    """What a section of the scenario says, in the scenario's own words where they have a unit."""
    given = {key: value for key, value in section.items() if value is not None and value != []}
    return ", ".join(f"{key} {_plain(value, key)}" for key, value in given.items() if not isinstance(value, bool))


def _plain(value: object, key: str = "") -> str:
    if isinstance(value, (int, float)) and key in _WRITERS:
        return _WRITERS[key](value)
    if isinstance(value, dict):
        return " ".join(f"{inner} {_plain(entry, inner)}" for inner, entry in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
