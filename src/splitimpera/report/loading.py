"""results.json -> plain values, checked: an older, newer or damaged file is refused with the reason."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splitimpera.core import units
from splitimpera.core.errors import DataError, shown, shown_path
from splitimpera.core.files import read_file
from splitimpera.records.requirement import BALANCED, LARGEST_LIMIT, METRICS, QUALITIES, SMALLEST_LIMIT
from splitimpera.report.results import SCHEMA_VERSION, Results

LARGEST_BYTES = 100_000_000
MOST_VALUES = 4_000_000
DEEPEST = 20
LONGEST_TEXT = 10_000
LARGEST_NUMBER = 1e40
"""What is drawn is divided, multiplied and raised to powers of ten: this much can be borne."""

AGAIN = "run 'splitimpera design' again"
NEEDED_METRICS = ("latency_p95", "fps", "payload_bytes")

Number = Annotated[float, Field(allow_inf_nan=False)]  # and no larger than LARGEST_NUMBER, as every value
Maybe = Number | None
Interval = Annotated[list[Number], Field(min_length=2, max_length=2)]
OpenInterval = Annotated[list[Maybe], Field(min_length=2, max_length=2)]
Count = Annotated[int, Field(ge=0)]
Certainty = Literal["certain", "likely", "unlikely"]
Configuration = Literal["LC", "RC", "SC"]
Shape = list[Count]


class _Part(BaseModel):
    # more keys than these do no harm
    model_config = ConfigDict(strict=True)


class _Named(_Part):
    name: str


class _Network(_Part):
    model: str


class _Data(_Part):
    source: str


class _Scenario(_Named):
    network: _Network
    data: _Data
    devices: list[_Named]
    workload: dict[str, Any]


class _Requirement(_Part):
    text: str
    metric: str
    limit: Annotated[Number, Field(ge=SMALLEST_LIMIT, le=LARGEST_LIMIT)]
    kind: Literal["upper", "lower"]
    weight: Annotated[Number, Field(gt=0)] | None


class _Pictures(_Part):
    train: Count
    validation: Count
    test: Count


class _Layer(_Named):
    index: int
    operation: str
    macs: Count
    parameters: Count
    bytes: Count


class _Cut(_Named):
    index: Count
    shapes: Annotated[list[Shape], Field(min_length=1)]
    bytes: Count
    macs_head: Count
    macs_tail: Count
    parameters_head: Count
    parameters_tail: Count
    cs: Maybe


class _Candidate(_Named):
    cut: Count
    reasons: list[str]


class _Curve(_Part):
    cuts: list[Count]
    pictures: Count
    per_class: dict[str, list[Maybe]]


class _Miss(_Part):
    requirement: str
    metric: str
    value: Maybe
    limit: Number
    margin: Maybe
    unbounded: bool


class _Judgement(_Part):
    requirement: str
    metric: str
    value: Maybe
    margin: Maybe
    certainty: Certainty
    unbounded: bool
    met: bool


class _Hop(_Part):
    cut: Count
    codec: str
    transport: str
    link: str


class _Plan(_Part):
    id: str
    configuration: Configuration
    cut: int | None
    codec: str | None
    bottleneck: Number
    transport: str | None
    metrics: dict[str, Maybe]
    intervals: dict[str, OpenInterval]
    accuracy_ci: Interval
    latency_p95_seeds_s: list[Maybe]
    latency_quantiles_s: list[Number] | None
    latency_quantiles_low_s: list[Number] | None
    latency_quantiles_high_s: list[Number] | None
    stable: bool
    parts_s: dict[str, Number]
    estimates: list[str]
    utilisation: dict[str, Maybe]
    busiest_stage: str
    memory_bytes: list[Number]
    energy_j: Maybe
    hops: list[_Hop]
    devices: Annotated[list[str], Field(min_length=1)]
    cannot_run: list[str]
    feasible: bool
    certainty: Certainty
    judgements: list[_Judgement]
    violations: list[_Miss]
    soft_violations: list[_Miss]
    score: Maybe
    penalty: Maybe
    pareto: bool


class _LossCurve(_Part):
    plan: str
    configuration: Configuration
    loss: list[Number]
    accuracy: list[Number]
    accuracy_low: list[Number]
    accuracy_high: list[Number]


class _Change(_Part):
    parameter: str
    before: Number
    after: Number
    ratio: Maybe
    plan: str
    text: str


class _Ties(_Part):
    touched: list[str]
    tied: list[Annotated[list[str], Field(min_length=2, max_length=2)]]


class _Recommendation(_Part):
    objective: str
    tolerance: Annotated[Number, Field(ge=0, le=1)]
    ties: dict[str, _Ties]
    plan: str | None
    certainty: Certainty | None
    reasons: list[str]
    nearest: str | None
    relax: list[str]
    change: _Change | None
    changes: list[_Change]
    test_accuracy: Maybe
    test_accuracy_ci: Interval | None


class _Flip(_Part):
    value: Number
    before: str | None
    after: str | None


class _Sensitivity(_Part):
    parameter: str
    unit: str
    now: Number
    values: list[Number]
    plans: list[str | None]
    flips: list[_Flip]
    text: str


class _Capacity(_Part):
    senders: Count
    busiest_stage: str | None


class _Preset(_Part):
    device: str
    preset: str
    error: Maybe


class _Results(_Part):
    splitimpera_version: str
    scenario: _Scenario
    links: list[_Named]
    seed: int
    replications: Annotated[int, Field(ge=1)]
    quality: Literal[QUALITIES]  # type: ignore[valid-type]
    requirements: Annotated[list[_Requirement], Field(min_length=1)]
    pictures: _Pictures
    base_accuracy: Number
    base_accuracy_ci: Interval
    layers: list[_Layer]
    uncosted: list[str]
    presets: list[_Preset]
    cuts: list[_Cut]
    candidates: list[_Candidate]
    curve: _Curve
    latency_shares: list[Number]
    plans: Annotated[list[_Plan], Field(min_length=1)]
    loss_curves: list[_LossCurve]
    recommendation: _Recommendation
    sensitivity: list[_Sensitivity]
    capacity: _Capacity | None


def load_results(folder: Path) -> Results:
    """Read and check the `results.json` of a design.

    Raises:
        DataError: there is none, it cannot be read, is too large or no JSON, is of another schema version, or a value
            is missing or wrong.
    """
    path = folder / "results.json"
    if not os.path.lexists(path):
        if os.path.isfile(folder):  # noqa: PTH113 (Path.is_file raises where a name is too long)
            raise DataError(f"'{shown_path(folder)}' is a file, the folder of a design is expected")
        hint = "'splitimpera design SCENARIO --out DIR' writes one"
        raise DataError(f"there is no results.json in '{shown_path(folder)}'", hint=hint)
    raw = read_file(path, LARGEST_BYTES, DataError, what="results file", hint=AGAIN)
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MOST_VALUES:
        raise DataError(
            f"there are more than {MOST_VALUES} values in it, no design writes such a file", where=str(path)
        )
    try:
        values = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise DataError("this is not text in UTF-8", where=str(path), hint=AGAIN) from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else shown(error)
        raise DataError(f"this is not valid JSON: {reason}", where=str(path), hint=AGAIN) from None
    return check_results(values, str(path))


def check_results(values: object, where: str = "") -> Results:
    """Refuse what is not the content of a results file of this version.

    Raises:
        DataError: names the first thing that is wrong.
    """
    version = values.get("schema_version") if isinstance(values, dict) else None
    if not isinstance(values, dict) or not isinstance(version, int) or isinstance(version, bool):
        raise DataError("these are not the results of a design", where=where, hint=AGAIN)
    if version != SCHEMA_VERSION:
        reason = (
            "older results lack what the choice is made by (metrics with intervals, what each plan is judged by)"
            if version < SCHEMA_VERSION
            else "a newer splitimpera wrote it"
        )
        hint = AGAIN if version < SCHEMA_VERSION else f"use that one, or {AGAIN}"
        raise DataError(
            f"it has schema version {shown(version)}, only {SCHEMA_VERSION} can be read: {reason}",
            where=where,
            hint=hint,
        )
    if problem := _unbearable(values):
        raise DataError(f"it is damaged: {problem.lstrip('.')}", where=where, hint=AGAIN)
    try:
        _Results.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise DataError(f"it is damaged: {_place(first['loc'])}: {first['msg']}", where=where, hint=AGAIN) from None
    for problem in _contradictions(values):
        raise DataError(f"it is damaged: {problem}", where=where, hint=AGAIN)
    return values


def _unbearable(value: object, depth: int = 0) -> str:
    """What nothing could be drawn or written from, also under keys that nobody looks at: its place and why, or ""."""
    if isinstance(value, (int, float)):
        if not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
            return f": {shown(value)} is out of range, it must be at most {LARGEST_NUMBER:g}"
    elif isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            return f": it has {len(value)} characters, it must have at most {LONGEST_TEXT}"
        if not value.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in value):
            return f": '{shown(value)}' has half of a character"
    elif depth == DEEPEST:
        return f": it is nested deeper than {DEEPEST} levels"
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            if problem := _unbearable(entry, depth + 1):
                return f"[{index}]{problem}"
    elif isinstance(value, dict):
        for key, entry in value.items():
            if problem := _unbearable(key) or _unbearable(entry, depth + 1):
                return f".{shown(key)}{problem}"
    return ""


def _contradictions(values: Results) -> Iterator[str]:
    """What is wrong although each value by itself may be right."""
    ids = [plan["id"] for plan in values["plans"]]
    cuts = {cut["index"] for cut in values["cuts"]}
    decision = values["recommendation"]
    if len(set(ids)) < len(ids):
        yield "plans: two have one id"
    for place, requirement in enumerate(values["requirements"]):
        metric = METRICS.get(requirement["metric"])
        if metric is None:
            yield f"requirements[{place}].metric: '{shown(requirement['metric'])}' is not known"
        elif (metric.better == "lower") != (requirement["kind"] == "upper"):
            yield f"requirements[{place}].kind: {metric.better} {requirement['metric']} is better"
        elif metric.dimension is units.FRACTION and requirement["limit"] > 1:
            yield f"requirements[{place}].limit: it is above 1"
    for place, plan in enumerate(values["plans"]):
        yield from (f"plans[{place}].{problem}" for problem in _contradictions_of(plan, values))
    if not cuts.issuperset(candidate["cut"] for candidate in values["candidates"]):
        yield "candidates: one is at no cut"
    if not cuts.issuperset(values["curve"]["cuts"]):
        yield "curve.cuts: one of them is not there"
    if any(len(curve) != len(values["curve"]["cuts"]) for curve in values["curve"]["per_class"].values()):
        yield "curve.per_class: not one value a cut"
    for curve in values["loss_curves"]:
        if any(len(curve[key]) != len(curve["loss"]) for key in ("accuracy", "accuracy_low", "accuracy_high")):
            yield "loss_curves: not one value a loss"
    if decision["objective"] not in (BALANCED, *METRICS):
        yield f"recommendation.objective: '{shown(decision['objective'])}' is not known"
    if (decision["plan"] or decision["nearest"]) not in ids:
        yield "recommendation: it names no plan"
    if decision["plan"] and None in (decision["certainty"], decision["test_accuracy"], decision["test_accuracy_ci"]):
        yield "recommendation: what is known of the plan is missing"
    if decision["plan"] and decision["certainty"] == "unlikely":
        yield "recommendation.certainty: such a plan is not recommended"
    if any(not 0 < len(found["values"]) == len(found["plans"]) for found in values["sensitivity"]):
        yield "sensitivity: not one plan a value"


def _contradictions_of(plan: Results, values: Results) -> Iterator[str]:
    for name in (values["quality"], *NEEDED_METRICS):
        if name not in plan["metrics"]:
            yield f"metrics: {name} is missing"
    for name in plan["metrics"]:
        if name not in METRICS:
            yield f"metrics: '{shown(name)}' is not known"
    if plan["metrics"].get("payload_bytes") is None:
        yield "metrics.payload_bytes: it is null"
    wanted = [requirement["text"] for requirement in values["requirements"]]
    if [judgement["requirement"] for judgement in plan["judgements"]] != wanted:
        yield "judgements: not one a requirement"
    known = [plan[f"latency_quantiles{end}_s"] for end in ("_low", "", "_high")]
    if None in known and known != [None] * 3:
        yield "latency_quantiles_s: its band is missing"
    if None not in known and any(len(curve) != len(values["latency_shares"]) for curve in known):
        yield "latency_quantiles_s: not one value a share"
    if plan["feasible"] and (plan["violations"] or plan["cannot_run"]):
        yield "feasible: it misses something"
    if not (plan["feasible"] or plan["violations"] or plan["cannot_run"]):
        yield "violations: none, but it does not fit"


def _place(location: tuple[int | str, ...]) -> str:
    words = (f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in location)
    return "".join(words).lstrip(".")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")
