"""results.json -> its models, checked: an older, newer or damaged file is refused with the reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from splitimpera.core import units
from splitimpera.core.errors import DataError, shown, shown_path
from splitimpera.core.files import read_file
from splitimpera.core.image_text import IMAGE_CHARACTERS
from splitimpera.core.results_json import LARGEST_BYTES, parsed_results
from splitimpera.records.outcome import ANSWERED_SHARES
from splitimpera.records.requirement import BALANCED, METRICS
from splitimpera.report.schema import READ_VERSIONS, SCHEMA_VERSION, PlanEntry, Results

DEEPEST = 20
LONGEST_TEXT = 10_000
LARGEST_NUMBER = 1e40
"""What is drawn is divided, multiplied and raised to powers of ten: this much can be borne."""

AGAIN = "run 'splitimpera design' again"
NEEDED_METRICS = ("latency_p95", "fps", "payload_bytes")


def read(folder: str | Path) -> Results:
    """Read and check the `results.json` of a design.

    Raises:
        DataError: there is none, it cannot be read, is too large or no JSON, is of another schema version, or a value
            is missing or wrong.
    """
    folder = Path(folder)
    path = folder / "results.json"
    if not os.path.lexists(path):
        if os.path.isfile(folder):  # noqa: PTH113 (Path.is_file raises where a name is too long)
            raise DataError(f"'{shown_path(folder)}' is a file, the folder of a design is expected")
        hint = "'splitimpera design SCENARIO --out DIR' writes one"
        raise DataError(f"there is no results.json in '{shown_path(folder)}'", hint=hint)
    raw = read_file(path, LARGEST_BYTES, DataError, what="results file", hint=AGAIN)
    return checked(parsed_results(raw, DataError, str(path), AGAIN), str(path))


def checked(values: object, where: str = "") -> Results:
    """The results that plain values hold, where these are the content of a results file of this version.

    Raises:
        DataError: names the first thing that is wrong.
    """
    version = values.get("schema_version") if isinstance(values, dict) else None
    if not isinstance(values, dict) or not isinstance(version, int) or isinstance(version, bool):
        raise DataError("these are not the results of a design", where=where, hint=AGAIN)
    if version not in READ_VERSIONS:
        reason = (
            "older results lack what the choice is made by (metrics with intervals, what each plan is judged by)"
            if version < SCHEMA_VERSION
            else "a newer splitimpera wrote it"
        )
        known = " and ".join(map(str, READ_VERSIONS))
        hint = AGAIN if version < SCHEMA_VERSION else f"use that one, or {AGAIN}"
        raise DataError(
            f"it has schema version {shown(version)}, only {known} can be read: {reason}",
            where=where,
            hint=hint,
        )
    if problem := _unbearable(values):
        raise DataError(f"it is damaged: {problem.lstrip('.')}", where=where, hint=AGAIN)
    try:
        results = Results.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise DataError(f"it is damaged: {_place(first['loc'])}: {first['msg']}", where=where, hint=AGAIN) from None
    for problem in _contradictions(results):
        raise DataError(f"it is damaged: {problem}", where=where, hint=AGAIN)
    return results


def _unbearable(value: object, depth: int = 0, longest: int = LONGEST_TEXT) -> str:
    """What nothing could be drawn or written from, also under keys that nobody looks at: its place and why, or ""."""
    if isinstance(value, (int, float)):
        if not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
            return f": {shown(value)} is out of range, it must be at most {LARGEST_NUMBER:g}"
    elif isinstance(value, str):
        if len(value) > longest:
            return f": it has {len(value)} characters, it must have at most {longest}"
        if not value.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in value):
            return f": '{shown(value)}' has half of a character"
    elif depth == DEEPEST:
        return f": it is nested deeper than {DEEPEST} levels"
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            if problem := _unbearable(entry, depth + 1, longest):
                return f"[{index}]{problem}"
    elif isinstance(value, dict):
        for key, entry in value.items():
            inner = IMAGE_CHARACTERS if key == "images" else longest
            if problem := _unbearable(key) or _unbearable(entry, depth + 1, inner):
                return f".{shown(key)}{problem}"
    return ""


def _contradictions(results: Results) -> Iterator[str]:
    """What is wrong although each value by itself may be right."""
    ids = {plan.id for plan in results.plans}
    cuts = {cut.index for cut in results.cuts}
    decision = results.recommendation
    if len(ids) < len(results.plans):
        yield "plans: two have one id"
    for place, requirement in enumerate(results.requirements):
        metric = METRICS.get(requirement.metric)
        if metric is None:
            yield f"requirements[{place}].metric: '{shown(requirement.metric)}' is not known"
        elif (metric.better == "lower") != (requirement.kind == "upper"):
            yield f"requirements[{place}].kind: {metric.better} {requirement.metric} is better"
        elif metric.dimension is units.FRACTION and requirement.limit > 1:
            yield f"requirements[{place}].limit: it is above 1"
    for place, plan in enumerate(results.plans):
        yield from (f"plans[{place}].{problem}" for problem in _contradictions_of(plan, results))
    if not cuts.issuperset(candidate.cut for candidate in results.candidates):
        yield "candidates: one is at no cut"
    if not cuts.issuperset(results.curve.cuts):
        yield "curve.cuts: one of them is not there"
    if any(len(curve) != len(results.curve.cuts) for curve in results.curve.per_class.values()):
        yield "curve.per_class: not one value a cut"
    for curve in results.loss_curves:
        if any(len(values) != len(curve.loss) for values in (curve.quality, curve.quality_low, curve.quality_high)):
            yield "loss_curves: not one value a loss"
    for exits in results.exit_curves:
        if any(len(values) != len(exits.share) for values in (exits.threshold, exits.quality, exits.quality_low)):
            yield "exit_curves: not one value a share"
        if exits.cut not in cuts or len(exits.quality_high) != len(exits.share):
            yield "exit_curves: one is at no cut, or its interval is missing"
    for waits in results.token_curves:
        each = (waits.ttft_s, waits.ttft_p95_s, waits.tpot_s, waits.tpot_p95_s)
        if any(len(values) != len(waits.values) for values in each):
            yield "token_curves: not one value a rate or delay"
    if decision.objective not in (BALANCED, *METRICS):
        yield f"recommendation.objective: '{shown(decision.objective)}' is not known"
    if (decision.plan or decision.nearest) not in ids:
        yield "recommendation: it names no plan"
    if decision.plan and None in (decision.certainty, decision.test_quality, decision.test_quality_ci):
        yield "recommendation: what is known of the plan is missing"
    if decision.plan and decision.certainty == "unlikely":
        yield "recommendation.certainty: such a plan is not recommended"
    if any(not 0 < len(found.values) == len(found.plans) for found in results.sensitivity):
        yield "sensitivity: not one plan a value"


def _contradictions_of(plan: PlanEntry, results: Results) -> Iterator[str]:
    for name in (results.quality, *NEEDED_METRICS):
        if name not in plan.metrics:
            yield f"metrics: {name} is missing"
    for name in plan.metrics:
        if name not in METRICS:
            yield f"metrics: '{shown(name)}' is not known"
    cuts = {cut.index for cut in results.cuts}
    if not cuts.issuperset(exit.cut for exit in plan.exits):
        yield "exits: one is at no cut"
    latencies = [*(exit.latency_s for exit in plan.exits), plan.went_on_latency_s]
    if any(len(values) not in (0, len(ANSWERED_SHARES)) for values in latencies):
        yield "exits: not one latency a share"
    if bool(plan.exits) != (plan.configuration == "EE"):
        yield "exits: a plan with early exits is called EE, and no other"
    if plan.metrics.get("payload_bytes") is None:
        yield "metrics.payload_bytes: it is null"
    wanted = [requirement.text for requirement in results.requirements]
    if [judgement.requirement for judgement in plan.judgements] != wanted:
        yield "judgements: not one a requirement"
    curves = (plan.latency_quantiles_low_s, plan.latency_quantiles_s, plan.latency_quantiles_high_s)
    known = [curve for curve in curves if curve is not None]
    if 0 < len(known) < len(curves):
        yield "latency_quantiles_s: its band is missing"
    elif any(len(curve) != len(results.latency_shares) for curve in known):
        yield "latency_quantiles_s: not one value a share"
    if plan.feasible and (plan.violations or plan.cannot_run):
        yield "feasible: it violates something"
    if not (plan.feasible or plan.violations or plan.cannot_run):
        yield "violations: none, but it is not feasible"


def _place(location: tuple[int | str, ...]) -> str:
    words = (f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in location)
    return "".join(words).lstrip(".")
