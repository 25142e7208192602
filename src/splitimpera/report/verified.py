"""What `verification.json` holds, as models: a deployed run beside what its design predicted.

docs/verify.md describes every key; docs/verification.schema.json is the same as JSON Schema. Numbers are in SI units;
None stands for what is not known. The page and the terminal's tables are drawn from these alone.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

from splitimpera.report.entry import Count, Entry, Interval, Maybe, NamedEntry, Number
from splitimpera.report.schema import RequirementEntry

SCHEMA_VERSION: Literal[2] = 2

Kind = Literal["time", "share", "bytes", "rate", "bit rate", "count"]


class LogEntry(Entry):
    """A log: what ran, and how many of its frames were compared."""

    file: str
    begun: str
    machine: str
    engine: str
    threads: Count
    carrier: str
    transport: str
    secure: str
    fps: Maybe
    round_trip_s: Maybe
    frames: Count
    compared: Count


class QuantityEntry(NamedEntry):
    """One number, predicted and measured.

    Attributes:
        interval: Of the measured one, at `level`; `unit`: what it takes for independent.
        agrees: Whether the two are the same within `limit`, in words; None: that cannot be said.
    """

    kind: Kind
    predicted: Maybe
    measured: Maybe
    interval: Interval | None
    level: Number
    unit: str
    limit: str
    agrees: bool | None
    note: str


class TimesEntry(Entry):
    """Seconds of a part of the frames' time.

    Attributes:
        typical_s: Mean over the frames of the middle half, by latency; `slow_s`: over the slowest tenth.
    """

    typical_s: Number
    slow_s: Number
    mean_s: Number
    p50_s: Number
    p95_s: Number


class PartEntry(NamedEntry):
    """A part of the frames' time; all without a `within` add up to the latency.

    Attributes:
        within: The key of the part that this one is a share of, split as `notes` say; None: it is measured.
        difference_s: Measured less predicted, of typical frames.
        share: Of the difference of the whole; None where that is within tolerance, or this part goes against it.
        off: Whether the difference is beyond tolerance.
    """

    key: str
    within: str | None
    predicted: TimesEntry | None
    measured: TimesEntry
    difference_s: Number
    share: Maybe
    off: bool


class DistributionEntry(Entry):
    """The latency distributions: within which time each share of frames has its response.

    Attributes:
        low_s, high_s: Of the quickest and the slowest predicted replication.
        distance: Kolmogorov-Smirnov, with the `tolerance` in words.
        by_chance: Largest distance of a predicted replication of this length from all others.
    """

    shares: list[Number]
    predicted_s: list[Number]
    low_s: list[Number]
    high_s: list[Number]
    measured_s: list[Number]
    distance: Number
    by_chance: Number
    tolerance: str


class RequirementCheck(Entry):
    """A requirement, and what the measured run makes of it; None: not measured."""

    requirement: RequirementEntry
    predicted: Maybe
    predicted_met: bool
    measured: Maybe
    met: bool | None
    note: str


class DriftEntry(Entry):
    """Something that is no longer as it was designed for.

    Attributes:
        key: What: "device", "encode", "round_trip", "goodput", "lost_packets", "lost_frames", "server_wait", "decode",
            "server", "payload" or "confidence"; of later hops with their number behind it, "decode_2", and "link_2".
        predicted: As designed for, by the unit of `kind`; of a confidence: at the start of the run.
        measured: Median over the frames that are not as expected; of losses the mean.
        log: In whose frames.
        since_frame, since_s: The first of them, and when it was due after the start of the run.
        until_frame, until_s: The first that is as expected again; None: it holds until the last one.
        frames: How many they are.
        told: The same in a sentence.
    """

    key: str
    kind: Kind
    predicted: Number
    measured: Number
    log: str
    since_frame: Count
    since_s: Number
    until_frame: Count | None
    until_s: Maybe
    frames: Count
    told: str


class FramesEntry(Entry):
    """Latencies in the order of the frames; of many frames the slowest of each few."""

    of_each: Count
    latency_s: list[Maybe]


class Verification(Entry):
    """A deployed run held against the prediction of its design.

    Attributes:
        anew: How to design anew from what was measured; empty where nothing has drifted.
    """

    schema_version: Literal[2]
    splitimpera_version: str
    scenario: str
    plan: str
    plan_words: str
    bundle: str
    made_by: str
    headline: str
    agrees: bool
    logs: list[LogEntry]
    outcomes: dict[str, Count]
    left_out: str
    warnings: list[str]
    findings: list[str]
    drift: list[DriftEntry]
    anew: str
    quantities: list[QuantityEntry]
    distribution: DistributionEntry
    parts: list[PartEntry]
    requirements: list[RequirementCheck]
    frames: FramesEntry
    notes: list[str]

    def to_json(self) -> bytes:
        """The content of `verification.json`."""
        return (json.dumps(self.model_dump(), indent=1, allow_nan=False) + "\n").encode()


def verification_schema() -> str:
    """The JSON Schema of `verification.json`."""
    schema: dict[str, Any] = Verification.model_json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema, indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(verification_schema())
