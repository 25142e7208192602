"""A verification as one HTML file, with all that it needs: text, tables, figures and the script that draws them."""

from __future__ import annotations

import json

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from splitimpera.core import units
from splitimpera.report import verified_words as words
from splitimpera.report.html.rendering import as_data, asset, render
from splitimpera.report.verified import LogEntry, PartEntry, QuantityEntry, RequirementCheck, Verification
from splitimpera.report.verified_figures import verification_figures


def verification_html(verification: Verification) -> str:
    """The whole page."""
    drawn = verification_figures(verification)
    data = {"figures": {name: json.loads(figure.to_json()) for name, figure in drawn.items()}}
    return render(
        "verification",
        it=verification,
        css=asset("page.css"),
        scripts=[Markup(get_plotlyjs()), asset("verification.js")],
        data=as_data(data),
        quantities=list(map(_quantity, verification.quantities)),
        parts=list(map(_part, verification.parts)),
        total=_total(verification),
        requirements=list(map(_requirement, verification.requirements)),
        logs=list(map(_log, verification.logs)),
        distance=words.distance_text(verification),
        outcomes=words.outcomes_text(verification),
    )


def _quantity(one: QuantityEntry) -> dict[str, object]:
    interval = words.interval_text(one)
    return {
        "name": words.title(one.name),
        "note": one.note,
        "predicted": words.value_text(one.predicted, one.kind),
        "measured": words.value_text(one.measured, one.kind),
        "interval": interval,
        "level": f"{100 * one.level:g} %, by {one.unit}" if interval else "",
        "difference": words.difference_text(one),
        "agrees": one.agrees,
        "limit": one.limit,
    }


def _part(part: PartEntry) -> dict[str, object]:
    before, after = part.predicted, part.measured
    return {
        "name": part.name,
        "within": part.within,
        "off": part.off and not part.within,
        "cells": [
            words.part_ms(before.typical_s if before else None),
            words.part_ms(after.typical_s),
            words.signed(1e3 * part.difference_s, 2),
            "" if part.share is None else f"{100 * part.share:.0f} %",
            words.part_ms(before.slow_s if before else None),
            words.part_ms(after.slow_s),
            words.part_ms(before.p50_s if before else None),
            words.part_ms(after.p50_s),
            words.part_ms(before.p95_s if before else None),
            words.part_ms(after.p95_s),
        ],
    }


def _total(verification: Verification) -> list[str]:
    """What the parts add up to."""
    parts = [part for part in verification.parts if part.within is None]
    sums = [
        (
            sum(getattr(part.predicted, field) for part in parts if part.predicted),
            sum(getattr(part.measured, field) for part in parts),
        )
        for field in ("typical_s", "slow_s")
    ]
    (before_s, after_s), slow = sums
    typical = [words.part_ms(before_s), words.part_ms(after_s), words.signed(1e3 * (after_s - before_s), 2), ""]
    return [*typical, *map(words.part_ms, slow)]


def _requirement(check: RequirementCheck) -> dict[str, object]:
    kept = "meets" if check.predicted_met else "violates"
    return {
        "text": check.requirement.text,
        "preferred": check.requirement.weight is not None,
        "predicted": f"{words.predicted_text(check)}, {kept}",
        "measured": words.measured_text(check),
        "met": check.met,
        "told": words.met_text(check),
    }


def _log(log: LogEntry) -> list[str]:
    pace = "one after the other" if log.fps is None else f"{log.fps:g} fps"
    trip = "" if log.round_trip_s is None else units.format_time(log.round_trip_s)
    over = log.carrier if log.secure == "none" else f"{log.transport}, {log.secure.upper()}"
    return [
        *(
            log.file,
            log.begun,
            log.machine,
            f"{log.engine}, {log.threads} thread{'s' if log.threads != 1 else ''}",
            over,
            pace,
            trip,
        ),
        f"{log.compared} of {log.frames}",
    ]
