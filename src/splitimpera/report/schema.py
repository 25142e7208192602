"""What `results.json` holds, as models: they write the file, read it, and are all that tables and figures see.

docs/results.md describes every key; docs/results.schema.json, made by `make schema`, is the same as JSON Schema.
Numbers are in SI units; None stands for what is infinite or not known. A new key is a new field here.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from splitimpera.records.requirement import LARGEST_LIMIT, METRICS, QUALITIES, SMALLEST_LIMIT, Metric
from splitimpera.report.entry import (
    Certainty,
    Configuration,
    Count,
    Entry,
    Interval,
    Maybe,
    NamedEntry,
    Number,
    OpenInterval,
    Pair,
    Share,
)
from splitimpera.report.measured_entries import MeasurementsEntry
from splitimpera.report.shown_entries import ShownEntry
from splitimpera.report.token_entries import TokenCurveEntry, TokensEntry

SCHEMA_VERSION: Literal[8] = 8
READ_VERSIONS = (7, 8)  # version 7 has no early exits


class SectionEntry(NamedEntry):
    """A device of the scenario with the keys that were given, or a link with all of them."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]


class NetworkEntry(Entry):
    """Which network."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    model: str


class DataEntry(Entry):
    """Which data."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    source: str


class ScenarioEntry(NamedEntry):
    """The scenario as it can be read back; these keys are what the report looks at."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    network: NetworkEntry
    data: DataEntry
    devices: list[SectionEntry]
    workload: dict[str, JsonValue]


class RequirementEntry(Entry):
    """A limit on a metric; required where `weight` is None, else preferred with that weight."""

    text: str
    metric: str
    limit: Annotated[Number, Field(ge=SMALLEST_LIMIT, le=LARGEST_LIMIT)]
    kind: Literal["upper", "lower"]
    weight: Annotated[Number, Field(gt=0)] | None


class SamplesEntry(Entry):
    """How many samples each part of the data has."""

    train: Count
    validation: Count
    test: Count


class LayerEntry(NamedEntry):
    """What one layer computes and puts out, for one frame."""

    index: int
    operation: str
    macs: Count
    parameters: Count
    bytes: Count


class PresetEntry(Entry):
    """A device whose times come from a preset; `error`: the worst known one of such an estimate, as a share of it."""

    device: str
    preset: str
    error: Maybe


class CutEntry(NamedEntry):
    """Where the network may be cut: what crosses, and what is computed on either side."""

    index: Count
    shapes: Annotated[list[list[Count]], Field(min_length=1)]
    bytes: Count
    macs_head: Count
    macs_tail: Count
    parameters_head: Count
    parameters_tail: Count
    single: bool
    block: bool
    cs: Maybe


class CandidateEntry(NamedEntry):
    """A cut that saliency recommends, and why."""

    cut: Count
    reasons: list[str]


class CurveEntry(Entry):
    """At which cuts CS was taken, over how many samples; of each class one value a cut."""

    cuts: list[Count]
    on_curve: list[bool]
    samples: Count
    per_class: dict[str, list[Maybe]]


class HopEntry(Entry):
    """One crossing from a device to the next; what a frame that crosses takes, in the mean, is None where not known."""

    cut: Count
    codec: str
    bottleneck: Number
    transport: str
    link: str
    payload_bytes: Maybe = None
    packets: Maybe = None


class ExitEntry(Entry):
    """An early exit of a plan: where, from which confidence on a frame leaves, how many do, how good their answers are.

    `thresholds` has one entry, or one for each class.
    """

    cut: Count
    thresholds: Annotated[list[Share], Field(min_length=1)]
    share: Share
    quality: Maybe
    latency_s: list[Number]


class ViolationEntry(Entry):
    """A requirement that a plan violates."""

    requirement: str
    metric: str
    value: Maybe
    limit: Number
    margin: Maybe
    unbounded: bool


class JudgementEntry(Entry):
    """A plan against one requirement."""

    requirement: str
    metric: str
    value: Maybe
    margin: Maybe
    certainty: Certainty
    unbounded: bool
    met: bool


class PlanEntry(Entry):
    """One plan: what it is, what it does, how it is judged."""

    id: str
    configuration: Configuration
    cut: int | None
    codec: str | None
    bottleneck: Number
    transport: str | None
    metrics: dict[str, Maybe]
    intervals: dict[str, OpenInterval]
    quality_ci: Interval | None
    loss_patterns: int | None
    latency_p95_replications_s: list[Maybe]
    latency_quantiles_s: list[Number] | None
    latency_quantiles_low_s: list[Number] | None
    latency_quantiles_high_s: list[Number] | None
    stable: bool
    parts_s: dict[str, Number]
    estimates: list[str]
    utilisation: dict[str, Maybe]
    busiest_stage: str
    device_p50_s: dict[str, Number]
    device_p95_s: dict[str, Number]
    memory_bytes: list[Number]
    energy_j: Maybe
    hops: list[HopEntry]
    devices: Annotated[list[str], Field(min_length=1)]
    cannot_run: list[str]
    feasible: bool
    certainty: Certainty
    judgements: list[JudgementEntry]
    violations: list[ViolationEntry]
    soft_violations: list[ViolationEntry]
    score: Maybe
    penalty: Maybe
    pareto: bool
    exits: list[ExitEntry] = Field(default_factory=list)
    went_on_quality: Maybe = None
    went_on_latency_s: list[Number] = Field(default_factory=list)
    stood_in: Share = 0.0
    tokens: TokensEntry | None = None


class LossCurveEntry(Entry):
    """The quality of a plan at other loss rates, with its 95 % interval."""

    plan: str
    configuration: Configuration
    loss: list[Number]
    quality: list[Number]
    quality_low: list[Number]
    quality_high: list[Number]


class ExitCurveEntry(Entry):
    """The quality against the share of frames that leave at one early exit alone, with its 95 % interval."""

    cut: Count
    threshold: list[Share]
    share: list[Share]
    quality: list[Number]
    quality_low: list[Number]
    quality_high: list[Number]


class ChangeEntry(Entry):
    """A single change with which a plan would be feasible."""

    parameter: str
    before: Number
    after: Number
    ratio: Maybe
    plan: str
    text: str


class TiesEntry(Entry):
    """Of one metric, the plans whose value chance touches, and the pairs that it makes the same; by id."""

    touched: list[str]
    tied: list[Pair]


class DecisionEntry(Entry):
    """The recommendation: of a plan, or of what would have to change."""

    plan: str | None
    certainty: Certainty | None
    reasons: list[str]
    nearest: str | None
    relax: list[str]
    objective: str
    tolerance: Annotated[Number, Field(ge=0, le=1)]
    ties: dict[str, TiesEntry]
    change: ChangeEntry | None
    changes: list[ChangeEntry]
    test_quality: Maybe
    test_quality_ci: Interval | None


class FlipEntry(Entry):
    """Up to which value `before` is the choice, and then `after`."""

    value: Number
    before: str | None
    after: str | None


class SensitivityEntry(Entry):
    """The choice against one parameter."""

    parameter: str
    unit: str
    now: Number
    values: list[Number]
    plans: list[str | None]
    flips: list[FlipEntry]
    text: str


class CapacityEntry(Entry):
    """How many senders the recommended plan serves, and the busiest stage with one more."""

    senders: Count
    busiest_stage: str | None


def _known_quality(name: str) -> str:
    if name not in QUALITIES:
        raise ValueError(f"no quality is called '{name}'")
    return name


class Results(Entry):
    """All that a design run found."""

    schema_version: Literal[7, 8]
    splitimpera_version: str
    scenario: ScenarioEntry
    links: list[SectionEntry]
    seed: int
    replications: Annotated[int, Field(ge=1)]
    quality: Annotated[str, AfterValidator(_known_quality)]
    requirements: Annotated[list[RequirementEntry], Field(min_length=1)]
    samples: SamplesEntry
    measurements: MeasurementsEntry
    base_quality: Number
    base_quality_ci: Interval
    layers: list[LayerEntry]
    uncosted: list[str]
    presets: list[PresetEntry]
    cuts: list[CutEntry]
    candidates: list[CandidateEntry]
    curve: CurveEntry
    latency_shares: list[Number]
    plans: Annotated[list[PlanEntry], Field(min_length=1)]
    loss_curves: list[LossCurveEntry]
    recommendation: DecisionEntry
    sensitivity: list[SensitivityEntry]
    capacity: CapacityEntry | None
    shown: ShownEntry | None
    exit_curves: list[ExitCurveEntry] = Field(default_factory=list)
    token_curves: list[TokenCurveEntry] = Field(default_factory=list)

    @property
    def quality_metric(self) -> Metric:
        """How the quality is written, and which direction is better."""
        return METRICS[self.quality]

    @property
    def quality_title(self) -> str:
        """What people call the quality: "accuracy", "mIoU"."""
        return self.quality_metric.title

    @property
    def cut_names(self) -> dict[int, str]:
        """The layer after which each cut lies, by the cut's index."""
        return {cut.index: cut.name for cut in self.cuts}

    @property
    def early_plan(self) -> PlanEntry | None:
        """The plan with early exits that is drawn: the recommended one, or the best; None: there is none."""
        early = [plan for plan in self.plans if plan.exits]
        return next((plan for plan in early if plan.id == self.recommendation.plan), next(iter(early), None))

    @property
    def asks_tokens(self) -> bool:
        """Whether frames are requests to a language model."""
        return any(plan.tokens is not None for plan in self.plans)

    @property
    def by_id(self) -> dict[str, PlanEntry]:
        """The plans by their ids."""
        return {plan.id: plan for plan in self.plans}

    def to_json(self) -> bytes:
        """The content of `results.json`."""
        return (json.dumps(self.model_dump(), indent=1, allow_nan=False) + "\n").encode()


def json_schema() -> str:
    """The JSON Schema of `results.json`."""
    schema: dict[str, Any] = Results.model_json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema, indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())
