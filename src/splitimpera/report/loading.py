"""results.json -> plain values, checked: an older, newer or damaged file is refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splitimpera import units
from splitimpera.errors import DataError
from splitimpera.qos.requirement import METRICS, QUALITIES
from splitimpera.report.results import SCHEMA_VERSION, Results

LARGEST_BYTES = 500_000_000
AGAIN = "run 'splitimpera design' again"
NEEDED_METRICS = ("latency_p95", "fps", "payload_bytes")

Number = Annotated[float, Field(allow_inf_nan=False)]
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
    links: list[_Named]
    workload: dict[str, Any]


class _Requirement(_Part):
    text: str
    metric: str
    limit: Annotated[Number, Field(ge=1e-15, le=1e15)]
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
    endless: bool


class _Judgement(_Part):
    requirement: str
    metric: str
    value: Maybe
    margin: Maybe
    certainty: Certainty
    endless: bool
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
    busiest: str
    memory_bytes: list[Number]
    energy_j: Maybe
    hops: list[_Hop]
    devices: Annotated[list[str], Field(min_length=1)]
    impossible: list[str]
    feasible: bool
    certainty: Certainty
    judgements: list[_Judgement]
    misses: list[_Miss]
    soft_misses: list[_Miss]
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
    lever: str
    before: Number
    after: Number
    ratio: Maybe
    plan: str
    text: str


class _Recommendation(_Part):
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
    lever: str
    unit: str
    now: Number
    values: list[Number]
    plans: list[str | None]
    flips: list[_Flip]
    text: str


class _Carried(_Part):
    senders: Count
    bottleneck: str | None


class _Preset(_Part):
    device: str
    preset: str
    error: Maybe


class _Results(_Part):
    splitimpera_version: str
    scenario: _Scenario
    seed: int
    seeds: Annotated[int, Field(ge=1)]
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
    carried: _Carried | None


def load_results(folder: Path) -> Results:
    """Read and check the `results.json` of a design.

    Raises:
        DataError: there is none, it cannot be read, is too large or no JSON, is of another schema version, or a value
            is missing or wrong.
    """
    path = folder / "results.json"
    try:
        if folder.is_file():
            raise DataError(f"'{folder}' is a file, the folder of a design is expected")
        if path.stat().st_size > LARGEST_BYTES:
            raise DataError(
                f"'{path}' is larger than {units.format_bytes(LARGEST_BYTES)}, no design writes such a file"
            )
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "'splitimpera design SCENARIO --out DIR' writes one"
        raise DataError(f"there is no results.json in '{folder}'", hint=hint) from None
    except UnicodeDecodeError:
        raise DataError("this is not text in UTF-8", where=str(path), hint=AGAIN) from None
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}") from None
    try:
        values = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
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
            f"it has schema version {version}, only {SCHEMA_VERSION} can be read: {reason}", where=where, hint=hint
        )
    try:
        _Results.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"it is damaged: {_place(first['loc'])}: {first['msg']}", where=where, hint=AGAIN) from None
    for problem in _contradictions(values):
        raise DataError(f"it is damaged: {problem}", where=where, hint=AGAIN)
    return values


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
            yield f"requirements[{place}].metric: '{requirement['metric']}' is not known"
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
            yield f"metrics: '{name}' is not known"
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
    if plan["feasible"] and (plan["misses"] or plan["impossible"]):
        yield "feasible: it misses something"
    if not (plan["feasible"] or plan["misses"] or plan["impossible"]):
        yield "misses: none, but it does not fit"


def _place(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")
