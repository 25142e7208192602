"""A run over time as one HTML file, with all that it needs: link, plans, latencies, who answered, what changed.

Drawn by the page's own script, not by Plotly, so that one cursor walks through all charts by keys, and an hour at 30
frames a second still makes a small file.
"""

from __future__ import annotations

from typing import Any

from splitimpera.core.errors import printable, shown
from splitimpera.core.units import format_time
from splitimpera.core.version import __version__
from splitimpera.report import run_words as words
from splitimpera.report.html.rendering import as_data, asset, render
from splitimpera.report.palette import KIND_COLOURS, ink_on, plan_colours
from splitimpera.report.run_history import KINDS, RunHistory, Windows
from splitimpera.report.run_marks import axes, band, marks, shares

MOST_MOVES = 500
"""In the table; those after them are only in the log."""
LINK = {"goodput": "goodput of the link", "trip": "round trip", "loss": "packets lost"}


def run_html(history: RunHistory) -> str:
    """The whole page."""
    windows = history.windows()
    upright = axes(history, windows)
    colours = plan_colours(history.plans)
    plans = [
        {"id": shown(name), "letter": letter, "colour": colour, "ink": ink_on(colour)}
        for name, (letter, colour) in zip(history.plans, colours, strict=True)
    ]
    there = [kind for kind, name in enumerate(KINDS) if bool((history.kinds == kind).any())]
    kinds = [
        {"place": kind, "words": words.KIND_WORDS[KINDS[kind]], "colour": KIND_COLOURS[KINDS[kind]]} for kind in there
    ]
    drawn = marks(history)
    data = {
        "from": round(float(history.due_s[0]), 4),
        "to": round(history.end_s, 4),
        "marks": drawn,
        "windows": shares(windows),
        "axes": upright,
        "plans": plans,
        "none": words.NONE,
        "band": band(history),
        "kinds": kinds,
        "outages": [(round(span.from_s, 4), round(span.to_s, 4)) for span in history.outages],
        "moves": [round(move.at_s, 4) for move in history.moves[:MOST_MOVES]],
        "deadline": history.run.deadline_s,
        "charts": _charts(history, windows, upright),
    }
    return render(
        "run",
        name=shown(history.run.source, 80),
        css=asset("page.css") + asset("study.css") + asset("run.css"),
        scripts=[asset("svg_drawing.js"), asset("run_charts.js"), asset("run_view.js")],
        data=as_data(data),
        headline=words.headline(history),
        said=words.sentences(history),
        plans=plans,
        unplanned=bool((history.plan < 0).any()),
        kinds=kinds,
        outages=bool(history.outages),
        link=any(key in upright for key in LINK),
        binned=drawn["width"] and format_time(drawn["width"]),
        window=format_time(float(f"{windows.width_s:.3g}")),
        moves=[
            {
                "at": words.clock(move.at_s),
                "cause": move.cause,
                "before": words.plan_words(move.before),
                "after": words.plan_words(move.after),
                "reason": shown(move.reason, words.REASON_CHARACTERS),
            }
            for move in history.moves[:MOST_MOVES]
        ],
        hidden=max(0, len(history.moves) - MOST_MOVES),
        facts=_facts(history),
        version=__version__,
    )


def _charts(history: RunHistory, windows: Windows, upright: dict[str, Any]) -> list[dict[str, Any]]:
    """The charts from top to bottom; `of` says what is drawn: marks, windows, shares or the band of plans."""
    made: list[dict[str, Any]] = [
        {"key": key, "name": name, "of": "marks", "height": 90} for key, name in LINK.items() if key in upright
    ]
    made.append({"key": "band", "name": "plan", "of": "band", "height": 34})
    if "latency" in upright:
        made.append({"key": "latency", "name": "latency", "of": "marks", "height": 190})
    over = f"over {format_time(float(f'{windows.width_s:.3g}'))}"
    made.append({"key": "shares", "name": f"who answered, {over}", "of": "shares", "height": 110})
    if "quality" in upright and history.quality is not None:
        name = f"on-time {history.quality.title}, {over}"
        made.append({"key": "quality", "name": name, "of": "windows", "height": 110})
    return made


def _facts(history: RunHistory) -> list[tuple[str, str]]:
    """What is known of the run as a whole."""
    run = history.run
    pace = "one after the other" if run.fps is None else f"{run.fps:g} fps"
    over = "nothing" if run.carrier == "none" else f"{run.transport}, {run.secure.upper()}".removesuffix(", NONE")
    facts = [
        ("begun", run.begun),
        ("machine", f"{run.machine}, {run.engine}, {run.threads} thread{'s' if run.threads != 1 else ''}"),
        ("input", run.source),
        ("frames", f"{len(history)}, {pace}"),
        ("deadline", "none" if run.deadline_s is None else format_time(run.deadline_s)),
        ("mode", "one plan" if run.mode is None else run.mode.value),
        ("carried by", over),
        ("bundle", run.bundle),
        ("run by", run.made_by),
    ]
    return [(name, printable(shown(value))) for name, value in facts]
