"""results -> report.html, self-contained: text, tables, figures and the scripts that draw and decide."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html import escape
from importlib.resources import files
from itertools import pairwise
from string import Template

from plotly.offline import get_plotlyjs

from splitimpera.core import units
from splitimpera.records.requirement import METRICS
from splitimpera.report.figures import breakdown_plans, figures
from splitimpera.report.html import plans as table
from splitimpera.report.network_figures import drawn_classes
from splitimpera.report.results import Results
from splitimpera.report.style import COLOURS
from splitimpera.report.tables import capacity_words, change_words

CHAPTERS = {
    "what-if": "What if?",
    "splits": "Where it may be split",
    "layers": "Layers",
    "latency": "Latency",
    "breakdown": "Where the time goes",
    "losses": "Losses",
    "sensitivity": "Sensitivity",
    "all-plans": "All plans",
    "setting": "Setting",
}
FIGURES = {
    "plans": "each plan's quality against its 95th percentile of latency",
    "saliency": "cumulative saliency and bytes at each cut",
    "classes": "cumulative saliency of each class at each cut",
    "layers": "multiply-accumulates, parameters and output bytes of each layer",
    "latency": "the latency distributions of the plans",
    "breakdown": "the time of a frame in each part of the best plans",
    "loss": "quality of the best plans against packet loss",
}
LEVERS = {"bit/s": units.format_rate, "s": units.format_time, "loss": units.format_fraction}
"""How a parameter's values are written, by their unit, or by its name where it has none."""


def report_html(results: Results) -> str:
    """The whole page."""
    home = files(__package__)
    drawn = figures(results | {"plans": table.shown_plans(results)})
    decision = results["recommendation"]
    choice = f"Run {decision['plan']}" if decision["plan"] else "Nothing fits"
    fitting = f"{sum(plan['feasible'] for plan in results['plans'])} of {len(results['plans'])} plans fit."
    wanted = table.columns(results)
    plots = {name: _plot(name, name in drawn) for name in ("plans", "saliency", "layers", "latency", "breakdown")}
    content = {
        "title": escape(f"{results['scenario']['name']}: split design"),
        "name": escape(results["scenario"]["name"]),
        "verdict": escape(choice),
        "verdict_class": "fits" if decision["plan"] else "violations",
        "certainty": escape(_certainty(results)),
        "change": _change(results),
        "reasons": "".join(f"<li>{escape(reason)}</li>" for reason in decision["reasons"]),
        "on_test": _on_test(results),
        "others": _others(results),
        "sliders": table.sliders(results),
        "status": escape(f"With the scenario's limits: {choice}. {_certainty(results)} {fitting}"),
        "plans_figure": plots["plans"],
        "quality_words": escape(results["quality"].capitalize()),
        "validation": results["pictures"]["validation"],
        "replications": _seeds(results),
        "unstable": _unstable(results),
        "saliency": plots["saliency"],
        "candidates": _candidates(results),
        "classes": _classes(results, "classes" in drawn),
        "layers": plots["layers"],
        "uncosted": _uncosted(results),
        "latency": plots["latency"],
        "breakdown": plots["breakdown"],
        "measured": _measured(results),
        "loss": _loss(results, "loss" in drawn),
        "sensitivity": _sensitivity(results),
        "columns": table.head(wanted),
        "rows": table.rows(results, wanted),
        "about_table": _about_table(results),
        "setting": _setting(results),
        "version": escape(results["splitimpera_version"]),
    }
    there = [name for name in CHAPTERS if content.get({"losses": "loss"}.get(name, name), "there")]
    data = table.data(results) | {"figures": {name: json.loads(figure.to_json()) for name, figure in drawn.items()}}
    return Template((home / "page.html").read_text(encoding="utf-8")).substitute(
        content,
        contents="".join(f'<a href="#{name}">{CHAPTERS[name]}</a>' for name in there),
        css=(home / "page.css").read_text(encoding="utf-8"),
        data=as_data(data),
        decide=(home / "decide.js").read_text(encoding="utf-8"),
        script=(home / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
    )


def as_data(value: Results) -> str:
    """JSON that can stand in a script element, whatever names are in it."""
    written = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return written.replace("<", "\\u003c")


def _plot(name: str, drawn: bool) -> str:
    """The place of a figure; the same numbers stand in the tables, for those who cannot see it."""
    if not drawn:
        return "<p>There is nothing to draw.</p>"
    return f'<div id="figure-{name}" class="plot" role="img" aria-label="Figure: {FIGURES[name]}"></div>'


def _certainty(results: Results) -> str:
    decision = results["recommendation"]
    if decision["plan"]:
        return table.CERTAINTIES[decision["certainty"]]
    nearest = next(plan for plan in results["plans"] if plan["id"] == decision["nearest"])
    return f"Nearest: {nearest['id']}." if not nearest["cannot_run"] else "No plan can run."


def _change(results: Results) -> str:
    """What would let a plan in, the smallest change first."""
    changes = results["recommendation"]["changes"]
    if not changes:
        return ""
    lines = [f"<p>The smallest single change that helps: <strong>{escape(change_words(changes[0]))}</strong>.</p>"]
    if len(changes) > 1:
        others = "".join(f"<li>{escape(change_words(change))}</li>" for change in changes[1:])
        lines.append(f"<p>Or one of these:</p><ul>{others}</ul>")
    return f'<div class="change">{"".join(lines)}</div>'


def _on_test(results: Results) -> str:
    decision = results["recommendation"]
    base = (
        f"The whole network on one machine: {_quality(results, results['base_accuracy'], results['base_accuracy_ci'])}"
    )
    if decision["plan"] is None:
        return f"<p>{base}.</p>"
    own = _quality(results, decision["test_accuracy"], decision["test_accuracy_ci"])
    capacity = f" {escape(capacity_words(results['capacity']))}" if results["capacity"] else ""
    return (
        f"<p>On {results['pictures']['test']} test pictures that had no part in choosing it, this plan's "
        f"{escape(results['quality'])} is {own}. {base}.{capacity}</p>"
    )


def _quality(results: Results, value: float, ends: list[float]) -> str:
    write = METRICS[results["quality"]].format
    low, high = (write(float(f"{end:.3g}")) for end in ends)
    return f"<strong>{write(value)}</strong> ({low} to {high})"


def _others(results: Results) -> str:
    """How many plans miss each requirement, and how many of them nothing else."""
    plans = results["plans"]
    lines = []
    for requirement in results["requirements"]:
        name = "violations" if requirement["weight"] is None else "soft_violations"
        missing = [p for p in plans if any(miss["requirement"] == requirement["text"] for miss in p[name])]
        alone = (
            sum(len(plan["violations"]) == 1 and not plan["cannot_run"] for plan in missing)
            if name == "violations"
            else 0
        )
        end = f", {alone} of them nothing else" if alone else ""
        kind = "" if requirement["weight"] is None else " (preferred)"
        lines.append(f"<code>{escape(requirement['text'])}</code>{kind}: {len(missing)} of {len(plans)} plans{end}")
    stuck = [plan for plan in plans if plan["cannot_run"]]
    if stuck:
        why = "; ".join(dict.fromkeys(reason for plan in stuck for reason in plan["cannot_run"]))
        lines.append(f"{len(stuck)} of {len(plans)} plans cannot run: {escape(_shortened(why))}")
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"


def _seeds(results: Results) -> str:
    return f"{results['replications']} runs with different losses" if results["replications"] > 1 else "one run"


def _unstable(results: Results) -> str:
    """Which plans have no latency to draw."""
    plans = [plan["id"] for plan in results["plans"] if not plan["stable"]]
    if not plans:
        return ""
    count = f"{len(plans)} plans are" if len(plans) > 1 else "One plan is"
    names = escape(_shortened(", ".join(plans)))
    return (
        f"<p>{count} unstable and not drawn: frames come faster than they can be answered, so that latency grows "
        f"without end. <span class='margin'>{names}</span></p>"
    )


def _shortened(words: str, most: int = 400) -> str:
    return words if len(words) <= most else words[:most].rsplit(" ", 1)[0] + " ..."


def _candidates(results: Results) -> str:
    cuts = {cut["index"]: cut for cut in results["cuts"]}
    rows = []
    for candidate in results["candidates"]:
        cut = cuts[candidate["cut"]]
        shape = " x ".join(map(str, cut["shapes"][0]))
        cells = [str(cut["index"]), candidate["name"], shape, units.format_bytes(cut["bytes"])]
        cells += [units.format_count(cut["macs_head"]), units.format_count(cut["macs_tail"])]
        rows.append(_row([*cells, ", ".join(candidate["reasons"])]))
    return "".join(rows)


def _classes(results: Results, drawn: bool) -> str:
    if not drawn:
        return ""
    count, shown = len(results["curve"]["per_class"]), len(drawn_classes(results))
    some = f" Of {count} classes the {shown} that differ most are drawn." if shown < count else ""
    return (
        "<h3>Class by class</h3><p>The curve of each class's pictures, relative to that of all; a gap where a class "
        f"has no saliency.{some}</p>{_plot('classes', True)}"
    )


def _uncosted(results: Results) -> str:
    names = results["uncosted"]
    if not names:
        return ""
    return f"No multiply-accumulates are counted for {escape(_shortened(', '.join(names)))}."


def _measured(results: Results) -> str:
    """Which times were measured on the machine that has them, and which were not."""
    plans = breakdown_plans(results)
    worked = dict.fromkeys(
        part for plan in plans for part in plan["parts_s"] if ": " in part and not part.endswith(": queue")
    )
    guessed = {part for plan in plans for part in plan["estimates"]}
    said = [
        f"{how}: {escape(', '.join(parts))}."
        for how, parts in (
            ("Measured on its machine", [part for part in worked if part not in guessed]),
            ("Estimated for its machine and hatched", [part for part in worked if part in guessed]),
        )
        if parts
    ]
    for preset in results["presets"]:
        error = preset["error"]
        known = f"at worst {100 * error:+.0f} % off published times" if error is not None else "with an unknown error"
        said.append(f"Those of {escape(preset['device'])} are a roofline's ({escape(preset['preset'])}), {known}.")
    return " ".join([*said, "Links and queues are simulated. Broken lines are limits on latency."])


def _loss(results: Results, drawn: bool) -> str:
    if not drawn:
        return ""
    quality = escape(results["quality"].capitalize())
    text = (
        f"<p>{quality} of the best plans over UDP, were the link to lose other shares of the packets; a packet takes "
        "the values with it that it carries. Bands are 95 % intervals.</p>"
    )
    return f"<h2 id='losses'>What losses do</h2>{text}{_plot('loss', True)}"


def _sensitivity(results: Results) -> str:
    """For each parameter a bar of what would be chosen where, and the same in words."""
    if not results["sensitivity"]:
        return ""
    kinds = {plan["id"]: plan["configuration"] for plan in results["plans"]}
    parts = [
        '<h2 id="sensitivity">Where the choice would turn</h2>',
        "<p>One number of the scenario at a time was changed, and the best few plans of each configuration were "
        "evaluated anew.</p>",
    ]
    for found in results["sensitivity"]:
        unit = found["unit"]
        write = LEVERS.get(unit or found["parameter"], lambda value, unit=unit: f"{value:.3g} {unit}".strip())
        boxes = []
        for span, plan, now in _spans(found, write):
            colour = f" style='--colour:{COLOURS[kinds[plan]]}'" if plan in kinds else ""
            mark, here = (" class='now'", " (now)") if now else ("", "")
            choice = escape(plan) if plan else "nothing fits"
            boxes.append(f"<li{mark}{colour}>{escape(span)}{here}<br><strong>{choice}</strong></li>")
        parts.append(
            f"<div class='parameter'><h3>{escape(found['parameter'].capitalize())}, "
            f"now {escape(write(found['now']))}</h3>"
            f"<ul class='bar'>{''.join(boxes)}</ul><p class='margin'>{escape(found['text'])}</p></div>"
        )
    return "".join(parts)


def _spans(found: Results, write: Callable[[float], str]) -> Iterator[tuple[str, str | None, bool]]:
    """From where to where which plan is the choice, and whether the present value lies there."""
    flips = found["flips"]
    borders = [found["values"][0], *(flip["value"] for flip in flips), found["values"][-1]]
    choices = [found["plans"][0], *(flip["after"] for flip in flips)]
    places = [place for place, border in enumerate(borders[1:]) if found["now"] <= border]
    for place, (choice, (low, high)) in enumerate(zip(choices, pairwise(borders), strict=True)):
        span = write(low) if low == high else f"{write(low)} to {write(high)}"
        yield span, choice, place == (places or [len(choices) - 1])[0]


def _about_table(results: Results) -> str:
    said = (
        "The score is a plan's smallest margin over what is required, as a share of the limit. Front: no other plan is "
        "as good in everything and better in something. "
    )
    shown = len(table.shown_plans(results))
    if shown < len(results["plans"]):
        said += f"The page has room for {shown} of {len(results['plans'])} plans; all are in results.json. "
    return said


def _setting(results: Results) -> str:
    scenario = results["scenario"]
    rows = [("network", scenario["network"]["model"]), ("data", scenario["data"]["source"])]
    rows += [("device", _values(device)) for device in scenario["devices"]]
    rows += [("link", _values(link)) for link in results["links"]]
    rows.append(("workload", _values(scenario["workload"])))
    rows.append(("seed", f"{results['seed']}, {_seeds(results)}"))
    return "".join(
        f"<tr><th scope='row'>{escape(key)}</th><td class='wide'>{escape(value)}</td></tr>" for key, value in rows
    )


def _values(section: Results) -> str:
    """What a section of the scenario says, in the scenario's own words where they have a unit."""
    writers = {
        **dict.fromkeys(("rate", "downlink_rate"), units.format_rate),
        **dict.fromkeys(("delay", "downlink_delay", "jitter", "deadline"), units.format_time),
        **dict.fromkeys(("loss", "downlink_loss"), units.format_fraction),
        **dict.fromkeys(("mtu", "memory", "queue_bytes", "response"), units.format_bytes),
    }
    said = []
    for key, value in section.items():
        if value is None or value == [] or isinstance(value, bool):
            continue
        plain = isinstance(value, (int, float)) and key in writers
        said.append(str(value) if key == "name" else f"{key} {writers[key](value) if plain else _plain(value)}")
    return ", ".join(said)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} {_plain(entry)}" for key, entry in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _row(cells: list[str]) -> str:
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
