"""results -> report.html, self-contained: text, tables, figures and the script that draws them."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from splitimpera import units
from splitimpera.report.figures import (
    breakdown_figure,
    classes_figure,
    latency_figure,
    loss_figure,
    plans_figure,
    saliency_figure,
)
from splitimpera.report.results import Results


def report_html(results: Results) -> str:
    """The whole page."""
    template = Template((files(__package__) / "page.html").read_text(encoding="utf-8"))
    decision = results["recommendation"]
    pictures = results["pictures"]
    low, high = results["base_accuracy_ci"]
    return template.substitute(
        title=escape(f"{results['scenario']['name']}: split design"),
        name=escape(results["scenario"]["name"]),
        verdict=escape(f"Run {decision['plan']}" if decision["plan"] else "Nothing fits"),
        verdict_class="fits" if decision["plan"] else "misses",
        reasons="".join(f"<li>{escape(reason)}</li>" for reason in decision["reasons"]),
        on_test=_on_test(results),
        base=f"{results['base_accuracy']:.2%} ({low:.1%} to {high:.1%}, {pictures['test']} test pictures)",
        requirements="".join(f"<li><code>{escape(r['text'])}</code></li>" for r in results["requirements"]),
        setting=_setting(results),
        saliency=_figure(saliency_figure(results), "saliency"),
        classes=_classes(results),
        plans_figure=_figure(plans_figure(results), "plans"),
        latency=_figure(latency_figure(results), "latency"),
        loss=_loss(results),
        unstable=_unstable(results),
        seeds=results["seeds"],
        breakdown=_figure(breakdown_figure(results), "breakdown"),
        candidates=_candidates(results),
        plans=_plans(results),
        validation=pictures["validation"],
        version=escape(results["splitimpera_version"]),
        plotly=get_plotlyjs(),
    )


def _figure(figure: go.Figure, name: str) -> str:
    options = {"responsive": True, "displayModeBar": False}
    html: str = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=options)
    return html


def _classes(results: Results) -> str:
    if len(results["curve"]["per_class"]) < 2:
        return ""
    text = "<p>The curve of each class's pictures, relative to that of all; a gap where a class has no saliency.</p>"
    return f"<h3>Class by class</h3>{text}{_figure(classes_figure(results), 'classes')}"


def _loss(results: Results) -> str:
    if not results["loss_curves"]:
        return ""
    text = (
        "<p>Accuracy of the best plans over UDP, were the link to lose other shares of the packets; a packet takes the "
        "values with it that it carries. Bands are 95 % intervals.</p>"
    )
    return f"<h2>What losses do</h2>{text}{_figure(loss_figure(results), 'loss')}"


def _on_test(results: Results) -> str:
    decision = results["recommendation"]
    if decision["plan"] is None:
        return "<p>Nearest plan: <strong>" + escape(decision["nearest"]) + "</strong>.</p>"
    low, high = decision["test_accuracy_ci"]
    return (
        f"<p>On {results['pictures']['test']} test pictures that had no part in choosing it, "
        f"this plan is right on <strong>{decision['test_accuracy']:.2%}</strong> ({low:.1%} to {high:.1%}).</p>"
    )


def _setting(results: Results) -> str:
    scenario = results["scenario"]
    rows = [("network", scenario["network"]["model"]), ("data", scenario["data"]["source"])]
    rows += [("device", f"{device['name']}: time factor {device['time_factor']:g}") for device in scenario["devices"]]
    rows += [
        (
            "link",
            f"{link['name']}: {units.format_rate(link['rate'])}, {units.format_time(link['delay'])} one way, "
            f"{units.format_fraction(link['loss'])} loss, MTU {link['mtu']} B",
        )
        for link in scenario["links"]
    ]
    workload = scenario["workload"]
    rows.append(("workload", f"{workload['fps']:g} frames a second, {workload['frames']} frames simulated"))
    return "".join(f"<tr><th scope='row'>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in rows)


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


def _plans(results: Results) -> str:
    rows = []
    for plan in results["plans"]:
        low, high = plan["accuracy_ci"]
        misses = "<br>".join(
            f"{escape(miss['requirement'])} <span class='margin'>({_by(miss)})</span>" for miss in plan["misses"]
        )
        cells = [
            escape(plan["id"]),
            units.format_bytes(plan["payload_bytes"]) if plan["hops"] else "",
            f"{plan['accuracy']:.2%}<br><span class='margin'>{low:.1%} to {high:.1%}</span>",
            *_latencies(plan),
            f"{plan['fps']:.3g}",
            f"{plan['lost_packet_rate']:.2%}" if plan["hops"] else "",
            f"{plan['score']:+.3f}" if plan["stable"] else "",
            misses or "fits" + ("" if plan["stable"] else ", but unstable"),
        ]
        chosen = " class='chosen'" if plan["id"] == results["recommendation"]["plan"] else ""
        rows.append(f"<tr{chosen}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "".join(rows)


def _latencies(plan: Results) -> list[str]:
    """p50, p95 with its spread over the seeds, p99; or that there are none."""
    if not plan["stable"]:
        return ["unstable", "<span class='margin'>grows without end</span>", ""]
    least, most = (units.format_time(end(plan["latency_p95_seeds_s"])) for end in (min, max))
    spread = f"<br><span class='margin'>{least} to {most}</span>" if least != most else ""
    p50, p95, p99 = (units.format_time(plan[f"latency_{name}_s"]) for name in ("p50", "p95", "p99"))
    return [p50, p95 + spread, p99]


def _by(miss: Results) -> str:
    return "grows without end" if miss["endless"] else f"{miss['margin']:+.1%}"


def _unstable(results: Results) -> str:
    """Which plans have no latency to draw."""
    plans = [plan["id"] for plan in results["plans"] if not plan["stable"]]
    if not plans:
        return ""
    count = f"{len(plans)} plans are" if len(plans) > 1 else "One plan is"
    names = escape(", ".join(plans))
    return (
        f"<p>{count} unstable and not drawn: frames come faster than they can be answered, so that latency grows "
        f"without end. <span class='margin'>{names}</span></p>"
    )


def _row(cells: list[str]) -> str:
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
