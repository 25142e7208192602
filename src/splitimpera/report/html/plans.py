"""The table of all plans and the sliders, as HTML, and what the page's script needs to decide anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from splitimpera.core import units
from splitimpera.records.requirement import METRICS
from splitimpera.report.limits import stops
from splitimpera.report.results import Results, format_metric
from splitimpera.report.tables import margin_of, metric_names

MOST_PLANS = 400
"""How many plans a page has room for."""

CERTAINTIES = {
    "certain": "Certain: values and the worse ends of their 95 % intervals meet every requirement.",
    "likely": "Likely, not certain: values meet every requirement, the worse end of some 95 % interval does not.",
}


def shown_plans(results: Results) -> list[Results]:
    """The plans that the page shows, best first.

    Where there are too many, those go first that no other dominates, beside the first one.
    """
    plans: list[Results] = results["plans"]
    if len(plans) <= MOST_PLANS:
        return plans
    kept = sorted(range(len(plans)), key=lambda place: (place > 0 and not plans[place]["pareto"], place))[:MOST_PLANS]
    return [plans[place] for place in sorted(kept)]


@dataclass(frozen=True)
class Column:
    """A column of the table: its metric or own key, its heading, its cell's HTML."""

    key: str
    title: str
    cell: Callable[[Results], str]
    number: bool = True

    @property
    def better(self) -> str:
        """Where to begin when it is sorted."""
        return "higher" if self.key == "score" or (METRICS.get(self.key) or METRICS["rmse"]).better == "higher" else ""


def columns(results: Results) -> list[Column]:
    """Those that say something about some plan."""
    quality, known = results["quality"], metric_names(results)
    places = {id(plan): place for place, plan in enumerate(shown_plans(results), start=1)}
    found = [
        Column("rank", "#", lambda plan: str(places[id(plan)])),
        Column("id", "plan", lambda plan: escape(plan["id"]), number=False),
        Column("verdict", "verdict", verdict, number=False),
        Column(quality, quality, lambda plan: _with_range(plan, quality, plan["accuracy_ci"])),
        *(
            Column(f"latency_{name}", name, lambda plan, name=name: _latency(plan, name))  # type: ignore[misc]
            for name in ("p50", "p95", "p99")
        ),
        Column("fps", "fps", lambda plan: _number(plan["metrics"]["fps"])),
        Column("payload_bytes", "bytes", lambda plan: _of_hops(plan, "payload_bytes")),
        Column("lost_packet_rate", "lost", lambda plan: _of_hops(plan, "lost_packet_rate")),
        Column("dropped_frames", "dropped", lambda plan: _metric(plan, "dropped_frames")),
        Column("energy", "energy", lambda plan: _metric(plan, "energy")),
        Column("device_memory", "memory", _memory),
        Column("cut_depth", "layers first", lambda plan: _number(plan["metrics"].get("cut_depth"))),
        Column("busiest", "busiest", _busiest, number=False),
        Column("score", "score", _score),
        Column("pareto", "front", lambda plan: "yes" if plan["pareto"] else "", number=False),
    ]
    always = {"rank", "id", "verdict", "score", "pareto"}
    silent = (
        {"dropped_frames"} if not any(plan["metrics"].get("dropped_frames") for plan in results["plans"]) else set()
    )
    if any(plan["busiest_stage"] for plan in results["plans"]):
        always.add("busiest")
    return [column for column in found if column.key in always or (column.key in known and column.key not in silent)]


def head(wanted: Sequence[Column]) -> str:
    cells = []
    for column in wanted:
        sort = " aria-sort='ascending'" if column.key == "rank" else ""
        kind = " class='number'" if column.number else ""
        better = f" data-better='{column.better}'" if column.better else ""
        cells.append(
            f"<th scope='col'{kind} data-key='{column.key}'{better}{sort}>"
            f"<button type='button'>{escape(column.title)}</button></th>"
        )
    return "".join(cells)


def rows(results: Results, wanted: Sequence[Column]) -> str:
    """One row a plan; end tags that HTML can do without are left out, for there may be many."""
    lines = []
    for plan in shown_plans(results):
        chosen = plan["id"] == results["recommendation"]["plan"]
        cells = []
        for column in wanted:
            if column.key == "id":
                cells.append(f"<th scope=row>{column.cell(plan)}")
            else:
                kind = " class=number" if column.number else " class=wide" if column.key == "verdict" else ""
                cells.append(f"<td{kind}>{column.cell(plan)}")
        kind = "chosen" if chosen else "fits" if plan["feasible"] else "violations"
        lines.append(f"<tr class={kind}>{''.join(cells)}")
    return "\n".join(lines)


def verdict(plan: Results) -> str:
    """What it misses and by how much, or that it fits and how surely."""
    lines = (
        [_missed(miss) for miss in plan["violations"]] if not plan["cannot_run"] else map(escape, plan["cannot_run"])
    )
    said = [f"<div>{line}</div>" for line in lines]
    if plan["feasible"]:
        said.append(f"<div>fits, {plan['certainty']}{'' if plan['stable'] else ', but unstable'}</div>")
    said += [f"<div class=preferred>preferred: {_missed(miss)}</div>" for miss in plan["soft_violations"]]
    return "".join(said)


def _missed(miss: Results) -> str:
    margin = margin_of(miss)
    if miss["unbounded"]:
        by = "grows without end"
    elif miss["margin"] is None:
        by = "not known"
    elif margin < -1:
        by = f"{_three_digits(1 - margin)} times it" if margin > -1000 else "more than 1000 times it"
    else:
        by = _percent(margin)
    return f"{escape(miss['requirement'])} <span class=margin>({by})</span>"


def _three_digits(value: float) -> str:
    return f"{float(f'{value:.3g}'):g}"


def _percent(margin: float) -> str:
    return f"{100 * margin:+.1f} %"


def _metric(plan: Results, name: str) -> str:
    value = plan["metrics"].get(name)
    return "" if value is None else format_metric(name, value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _of_hops(plan: Results, name: str) -> str:
    return _metric(plan, name) if plan["hops"] else ""


def _with_range(plan: Results, metric: str, ends: Sequence[float]) -> str:
    low, high = (format_metric(metric, float(f"{end:.3g}")) for end in ends)
    return f"{_metric(plan, metric)}<br><span class=margin>{low} to {high}</span>"


def _latency(plan: Results, name: str) -> str:
    """One percentile, of p95 with its spread over the replications; or that there is none."""
    if not plan["stable"]:
        return "<span class=margin>grows</span>"
    written = _metric(plan, f"latency_{name}")
    replications = [units.format_time(value) for value in plan["latency_p95_seeds_s"] if value is not None]
    if name != "p95" or len(replications) < 2:
        return written
    values = [value for value in plan["latency_p95_seeds_s"] if value is not None]
    least, most = units.format_time(min(values)), units.format_time(max(values))
    return written + (f"<br><span class=margin>{least} to {most}</span>" if least != most else "")


def _memory(plan: Results) -> str:
    return "<br>".join(
        f"{escape(device)} {units.format_bytes(size)}"
        for device, size in zip(plan["devices"], plan["memory_bytes"], strict=False)
    )


def _busiest(plan: Results) -> str:
    share = plan["utilisation"].get(plan["busiest_stage"])
    return escape(plan["busiest_stage"]) + ("" if share is None else f" <span class=margin>{100 * share:.0f} %</span>")


def _score(plan: Results) -> str:
    score = margin_of({"margin": plan["score"]})
    return _percent(score) if score >= -1 else "far off"


def sliders(results: Results) -> str:
    """A range for each requirement, over its stops."""
    plans = shown_plans(results)
    made = []
    for place, requirement in enumerate(results["requirements"]):
        found = stops(requirement, plans)
        own = next(i for i, stop in enumerate(found) if stop["own"])
        weight = requirement["weight"]
        kind = "required" if weight is None else f"preferred, weight {weight:g}"
        low, high = (escape(METRICS[requirement["metric"]].format(stop["limit"])) for stop in (found[0], found[-1]))
        meeting = sum(plan["judgements"][place]["met"] for plan in plans)
        name, said = f"limit-{place}", escape(requirement["text"])
        short = escape(requirement["text"].removeprefix(requirement["metric"]))
        made.append(
            f'<div class="limit"><label for="{name}">{requirement["metric"]} <span class="margin">{kind}</span></label>'
            f'<output id="{name}-text" for="{name}">{short}</output>'
            f'<input type="range" id="{name}" min="0" max="{len(found) - 1}" step="1" value="{own}" '
            f'aria-valuetext="{said}" aria-describedby="{name}-meet" autocomplete="off">'
            f'<div class="ends"><span>{low}</span><span id="{name}-meet">{meeting} of {len(plans)} plans meet it</span>'
            f"<span>{high}</span></div></div>"
        )
    return "\n".join(made)


def data(results: Results) -> Results:
    """What the script decides and sorts by; what it decides by has all digits, so that it decides as Python does."""
    wanted = [requirement["metric"] for requirement in results["requirements"]]
    exact = {*wanted, results["quality"], "latency_p95", "payload_bytes"}
    keys = [column.key for column in columns(results) if column.key in METRICS]
    plans, decision = shown_plans(results), results["recommendation"]
    objective = decision["objective"]
    if objective in METRICS:
        exact.add(objective)
    return {
        "choice": {
            "objective": objective,
            "upper": objective in METRICS and METRICS[objective].better == "lower",
            "tolerance": decision["tolerance"],
            "ties": decision["ties"],
        },
        "quality": {"metric": results["quality"], "upper": METRICS[results["quality"]].better == "lower"},
        "requirements": [_requirement(requirement, plans) for requirement in results["requirements"]],
        "plans": [
            {
                "id": plan["id"],
                "stable": plan["stable"],
                "can_run": not plan["cannot_run"],
                "hops": len(plan["hops"]),
                "energy": plan["energy_j"],
                "metrics": {
                    name: value if name in exact else _short(value)
                    for name, value in plan["metrics"].items()
                    if name in exact or name in keys
                },
                "intervals": {name: ends for name, ends in plan["intervals"].items() if name in wanted},
            }
            for plan in plans
        ],
        "words": CERTAINTIES | {"cannot_run": {plan["id"]: plan["cannot_run"] for plan in plans if plan["cannot_run"]}},
    }


def _requirement(requirement: Results, plans: Sequence[Results]) -> Results:
    found = stops(requirement, plans)
    return {
        "metric": requirement["metric"],
        "upper": requirement["kind"] == "upper",
        "weight": requirement["weight"],
        "own": next(i for i, stop in enumerate(found) if stop["own"]),
        "stops": [stop["limit"] for stop in found],
        "texts": [stop["text"] for stop in found],
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
