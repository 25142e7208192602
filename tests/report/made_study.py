"""Studies made up of a few rules: what is small wins on slow links, what is good on fast ones; loss moves borders."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any

from splitimpera.core import units
from splitimpera.scenario.ranges import Axis, RangeSection, cells
from splitimpera.studies.study_results import Cell, CellRow, PlanRow, SearchStep, StudyResults

DESIGNS: tuple[dict[str, Any], ...] = (
    {"id": "LC", "configuration": "LC", "bytes": 0, "accuracy": 0.936, "device_s": 0.045},
    {"id": "SC04-b16-uint8-udp", "configuration": "SC", "cut": 4, "bytes": 900, "accuracy": 0.948, "device_s": 0.006},
    {"id": "SC04-uint8-tcp", "configuration": "SC", "cut": 4, "bytes": 6300, "accuracy": 0.969, "device_s": 0.006},
    {"id": "SC09-uint4-udp", "configuration": "SC", "cut": 9, "bytes": 2500, "accuracy": 0.961, "device_s": 0.012},
    {"id": "SC14-uint8-udp", "configuration": "SC", "cut": 14, "bytes": 1600, "accuracy": 0.9665, "device_s": 0.021},
    {"id": "RC-png-tcp", "configuration": "RC", "cut": 0, "bytes": 24_000, "accuracy": 0.975, "device_s": 0.014},
)
RATES = RangeSection.model_validate({"log": ["100 kbit/s", "100 Mbit/s"], "count": 13}).spread()
LOSSES = [0, 0.005, 0.01, 0.02, 0.05, 0.1]
LIMIT_S = 0.05
LEAST = 0.93


def axis(key: str, values: Sequence[Any]) -> Axis:
    return Axis((key,), tuple((value,) for value in values))


def spread(key: str, **section: Any) -> Axis:
    return axis(key, RangeSection.model_validate(section).spread())


def plan(design: dict[str, Any], rate_bps: float, loss: float, slowdown: float, **more: Any) -> PlanRow:
    codec, transport = design["id"].split("-")[-2:] if design["bytes"] else (None, None)
    sent_s = design["bytes"] * 8 / rate_bps
    retried = (1 + 40 * loss) if transport == "tcp" else 1.0
    p95_s = design["device_s"] * slowdown + (sent_s * retried + 0.008 + 0.2 * loss if design["bytes"] else 0.0)
    kept = exp(-0.9 * loss * (2 if "b16" in design["id"] else 1)) if transport == "udp" else 1.0
    accuracy = design["accuracy"] * kept
    misses = [f"latency_p95 <= 50 ms (is {units.format_time(p95_s)})"] if p95_s > LIMIT_S else []
    misses += [f"accuracy >= 93 % (is {units.format_fraction(accuracy)})"] if accuracy < LEAST else []
    stable = design["device_s"] * slowdown < 0.2 and sent_s < 0.5
    values = {
        "id": design["id"],
        "configuration": design["configuration"],
        "cut": design.get("cut"),
        "cut_name": None if "cut" not in design else f"features.{design['cut']}",
        "codec": codec,
        "bottleneck": 16.0 if "b16" in design["id"] else 0.0,
        "transport": transport,
        "metrics": {"accuracy": accuracy, "latency_p95": p95_s, "payload_bytes": float(design["bytes"])},
        "quality_ci": (accuracy - 0.008, accuracy + 0.007),
        "stable": stable,
        "feasible": stable and not misses,
        "certainty": "unlikely" if misses else "certain" if p95_s < 0.045 and accuracy > LEAST + 0.004 else "likely",
        "value": accuracy * 0.998 if stable and not misses else None,
        "misses": tuple(misses),
    }
    return PlanRow.model_validate(values | more)


def plans_at(values: dict[str, Any], designs: Sequence[dict[str, Any]] = DESIGNS) -> list[PlanRow]:
    """All designs in one cell, best first."""
    rate_bps = units.parse(values.get("links[0].rate", "5 Mbit/s"), units.BIT_RATE)
    loss = units.parse(values.get("links[0].loss", 0), units.FRACTION)
    slowdown = float(values.get("devices[0].slowdown", 1))
    made = [plan(design, rate_bps, loss, slowdown) for design in designs]
    return sorted(made, key=lambda one: (not one.feasible, -(one.value or 0), one.metrics["latency_p95"], one.id))


def row_of(plans: Sequence[PlanRow]) -> CellRow:
    feasible = [one for one in plans if one.feasible]
    chosen = feasible[0] if feasible else None
    return CellRow(
        plans=len(plans),
        feasible=len(feasible),
        chosen=chosen,
        closest=None if chosen else plans[0],
        runner_up=plans[1] if len(plans) > 1 else None,
        certainty=chosen.certainty if chosen else "",
        reasons=(f"the largest on-time accuracy of {len(feasible)} feasible plans",) if chosen else (),
    )


def made_study(
    axes: Sequence[Axis],
    spaced: Sequence[str] = (),
    failed: Sequence[int] = (),
    left: Sequence[int] = (),
    designs: Sequence[dict[str, Any]] = DESIGNS,
    **changes: Any,
) -> StudyResults:
    """A study of all cells of some axes."""
    found = list(cells(axes))

    def cell(index: int, values: dict[str, Any]) -> Cell:
        if index in failed:
            return Cell(index, values, "failed", "devices[0]: the network does not fit into 512 kB of memory")
        if index in left:
            return Cell(index, values, "left")
        return Cell(index, values, "done", row=row_of(plans_at(values, designs)))

    given: dict[str, Any] = {
        "name": "digits over radio",
        "goal": "map",
        "axes": tuple(axes),
        "spaced": tuple(spaced) or ("listed",) * len(axes),
        "requirements": ("accuracy >= 93 %", "latency_p95 <= 50 ms"),
        "objective": "balanced",
        "quality": "accuracy",
        "seed": 7,
        "replications": 5,
        "cells": [cell(index, values) for index, values in enumerate(found)],
        "plans_of": lambda index: plans_at(found[index], designs),
        "spent_s": 412.0,
    }
    return StudyResults(**(given | changes))


def two_ranges(**changes: Any) -> StudyResults:
    """13 rates and 6 losses."""
    return made_study([axis("links[0].rate", RATES), axis("links[0].loss", LOSSES)], ("log", "listed"), **changes)


def three_ranges(**changes: Any) -> StudyResults:
    """The same on devices of three speeds; three cells failed, five are left."""
    axes = [axis("links[0].rate", RATES), axis("links[0].loss", LOSSES), axis("devices[0].slowdown", [0.5, 1, 2])]
    changes = {"failed": (60, 61, 62), "left": (229, 230, 231, 232, 233)} | changes
    return made_study(axes, ("log", "listed", "listed"), **changes)


def many_designs(count: int) -> list[dict[str, Any]]:
    """Made-up splits, each a little deeper than the last."""
    return [
        {
            "id": f"SC{cut:02}-uint{4 + 2 * (cut % 3)}-{'udp' if cut % 2 else 'tcp'}",
            "configuration": "SC",
            "cut": cut,
            "bytes": int(40_000 * 0.96**cut) + 200,
            "accuracy": 0.90 + 0.09 * (1 - 0.97**cut) - 0.02 * (cut % 3 == 0),
            "device_s": 0.001 + 0.0004 * cut,
        }
        for cut in range(1, count + 1)
    ]


def searched() -> StudyResults:
    """A search with 60 trainings, the best of which comes at two thirds."""
    steps, best, spent = [], None, 0.0
    for number in range(60):
        rung = number % 3
        spent += 2.0 * 3**rung
        worth = None if number % 11 == 5 else 0.9 + 0.06 * (1 - exp(-number / 15)) - 0.012 * ((number * 7) % 5)
        if worth is not None and (best is None or worth > best):
            best = worth
        steps.append(SearchStep(30.0 + 11 * spent, spent, f"SC{4 + number % 9:02}, 16x, uint8", rung, worth, best))
    return two_ranges(goal="search", search=tuple(steps))
