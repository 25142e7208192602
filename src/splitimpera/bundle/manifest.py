"""`manifest.json` of a bundle, as models: they write the file and read it.

A bundle may come from anywhere. What its manifest says is held to bounds here, and `opened` holds its files to the
manifest. docs/bundle.md describes every key. Numbers are in SI units.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from splitimpera.bundle.canonical_json import canonical, read_strictly
from splitimpera.bundle.entries import Entry, LinkEntry, Name, Number, Path, Tensors, Whole
from splitimpera.bundle.exit_entries import ExitEntry, HeadEntry, MayBeEarly, check_exits, divided
from splitimpera.bundle.language_entry import LanguageEntry
from splitimpera.bundle.proof_entry import ProofEntry
from splitimpera.bundle.schema_versions import (
    FIRST_VERSION,
    SCHEMA_VERSION,
    WITH_DIRECT_ANSWERS,
    WITH_EXITS,
    WITH_LANGUAGE,
    WITH_TAILS,
    Answers,
    version_of,
)
from splitimpera.bundle.segments import Ratio, SegmentEntry, Span, chained
from splitimpera.bundle.task_entry import Responding, TaskEntry, first_entry, responding_of
from splitimpera.core.errors import BundleError, shown
from splitimpera.records.spans import spans_between

MANIFEST = "manifest.json"
MANIFEST_BYTES = 4 << 20
FILE_BYTES = 2 << 30
"""The largest file of a bundle, which is what one ONNX file may have."""
KEYS_AT_MOST = 10_000

Spoken = Literal["tcp", "udp", "udp-interleaved", "udp-arq"]
SPOKEN: tuple[Spoken, ...] = get_args(Spoken)
"""The transports that the two programs speak; others are simulated."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class PixelsEntry(Entry):
    """How inputs follow from images: input = (image / white - mean) / std, one value a channel."""

    mean: Annotated[list[Number], Field(min_length=1, max_length=64)]
    std: Annotated[list[Number], Field(min_length=1, max_length=64)]


class InputEntry(Entry):
    """What the network takes for one frame; `pixels` where it is an image (channels, height, width)."""

    tensors: Tensors
    pixels: PixelsEntry | None


class HopEntry(Entry):
    """From one machine to the next: what crosses, coded and sent how.

    Attributes:
        layer: The layer after which the network is cut.
        bottleneck: Its ratio; 0: none. Encoder and decoder are in the segments.
        tensors: What the codec takes.
        constants: File of the codec's constants; None where it has none.
        packet_bytes: What one datagram carries, headers apart.
        number: What the header of every packet says of this codec and its constants.
        deadline_s: Time from when a frame is due until it is used with what came; None: nobody asked for one, and it is
            a frame period, but no less than a frame takes to pass the link.
    """

    cut: Whole
    layer: Name
    bottleneck: Ratio
    tensors: Tensors
    codec: Name
    constants: Path | None
    packet_bytes: Annotated[int, Field(ge=1, lt=1 << 16)]
    number: Whole
    transport: Spoken
    deadline_s: Annotated[Number, Field(gt=0)] | None
    link: LinkEntry

    @property
    def depth(self) -> int:
        """How many layers have run when something is sent, as `cut_depth >= n` counts them."""
        return self.cut


class RequirementEntry(Entry):
    """A limit on a metric, as the scenario writes it; `weight` where it is soft."""

    text: Name
    weight: Annotated[Number, Field(gt=0)] | None


class PlanEntry(MayBeEarly):
    """A plan: machine i runs the layers between hop i - 1 and hop i.

    Attributes:
        machines: Their names, in the order of the frames' way.
        predicted: What the design says of it, by metric; None: not known, or unbounded.
        exits: Where frames may leave early, on the first machine.
    """

    id: Name
    configuration: Literal["LC", "RC", "SC", "EE"]
    machines: Annotated[list[Name], Field(min_length=1, max_length=16)]
    hops: Annotated[list[HopEntry], Field(max_length=15)]
    fps: Annotated[Number, Field(gt=0)]
    requirements: Annotated[list[RequirementEntry], Field(max_length=1000)]
    predicted: Annotated[dict[Name, Number | None], Field(max_length=1000)]
    exits: Annotated[list[ExitEntry], Field(max_length=1000)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _joined(self) -> Self:
        if len(self.machines) != len(self.hops) + 1 or len(set(self.machines)) < len(self.machines):
            raise ValueError("there is one hop between two machines, each with a name of its own")
        if [hop.cut for hop in self.hops] != sorted(hop.cut for hop in self.hops):
            raise ValueError("the cuts go back, no layer is run twice")
        places = [exit.cut for exit in self.exits]
        if places != sorted(set(places)) or any(hop.cut < place for hop in self.hops[:1] for place in places):
            raise ValueError("its early exits lie in order, on its first machine")
        if (self.configuration == "EE") is not bool(places):
            raise ValueError("a plan with early exits, and no other, is of the configuration EE")
        return self


class PartEntry(MayBeEarly):
    """What one machine needs; `heads`: the programs of its early exits, in their order."""

    machine: Name
    segments: Annotated[list[SegmentEntry], Field(max_length=1000)]
    files: Annotated[list[Path], Field(max_length=KEYS_AT_MOST)]
    heads: Annotated[list[HeadEntry], Field(max_length=1000)] = Field(default_factory=list)


class FileEntry(Entry):
    """A file of the bundle."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0, le=FILE_BYTES)]


class Manifest(Entry):
    """All that a bundle says of itself.

    Attributes:
        bundle: SHA-256 of `canonical` of all other keys. Halves of two designs differ in it, and never talk.
        task: What the network is for, and what a response is.
        last: The cut that only the result crosses.
        classes: Names of the classes; empty where they have none.
        samples: File of labelled samples; None: none are there.
        policy: File that says which plan is used at which link condition; None: none is there.
        floor: The privacy floor: at least so many layers run on the device before anything is sent; 0: none.
        answers: How those of plans of more than two machines come back: along the way, or from the last machine
            directly. The key stands in the file where they do so directly; all other bundles are what they were before.
        language: Where tokens are read and written one after another, with caches. No key in the file: nowhere.
    """

    schema_version: Annotated[int, Field(ge=FIRST_VERSION, le=WITH_LANGUAGE)]
    bundle: Sha256
    name: Name
    made_by: Name
    network: Name
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    task: TaskEntry | Literal["classification"]
    classes: Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=1_000_000)]
    input: InputEntry
    result: Tensors
    last: Whole
    plans: Annotated[list[PlanEntry], Field(min_length=1, max_length=1000)]
    parts: Annotated[list[PartEntry], Field(min_length=1, max_length=16)]
    proofs: Annotated[list[ProofEntry], Field(max_length=1000)]
    samples: Path | None
    files: Annotated[dict[Path, FileEntry], Field(max_length=KEYS_AT_MOST)]
    policy: Path | None = None
    floor: Whole = 0
    answers: Answers = "along"
    language: LanguageEntry | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        nothing = {"answers": "along", "language": None}
        return {key: value for key, value in written(self).items() if key not in nothing or value != nothing[key]}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if isinstance(self.task, str) is not (self.schema_version == FIRST_VERSION):
            raise ValueError(f"the task is a name in schema version {FIRST_VERSION}, a section in later ones")
        parts = {part.machine: part for part in self.parts}
        if len(parts) < len(self.parts) or len({plan.id for plan in self.plans}) < len(self.plans):
            raise ValueError("two parts or plans have the same name")
        wanted = [hop.constants for plan in self.plans for hop in plan.hops if hop.constants]
        wanted += [name for part in self.parts for name in part.files]
        wanted += [segment.file for part in self.parts for segment in part.segments]
        wanted += [head.file for part in self.parts for head in part.heads]
        tokenizer = None if self.language is None else self.language.tokenizer
        for name in [*wanted, *filter(None, [self.samples, self.policy, tokenizer])]:
            if name not in self.files:
                raise ValueError(f"the file '{shown(name)}' is not listed")
        for plan in self.plans:
            if plan.hops and plan.hops[0].depth < self.floor:
                depth = plan.hops[0].depth
                raise ValueError(
                    f"plan '{shown(plan.id)}' sends after {depth} layers, the privacy floor is {self.floor}"
                )
        self._check_programs(parts)
        self._check_version()
        self._check_early(parts)
        self._check_answers()
        self._check_language()
        return self

    def _check_version(self) -> None:
        programs = (segment.span for part in self.parts for segment in part.segments)
        needed = version_of(self.plans, programs, self.answers, self.language is not None)
        if max(self.schema_version, SCHEMA_VERSION) != needed:
            raise ValueError(
                f"early exits are of schema version {WITH_EXITS}, layers of a bottleneck's tail on several machines of "
                f"{WITH_TAILS}, direct answers of {WITH_DIRECT_ANSWERS}, language models of {WITH_LANGUAGE}: "
                f"this bundle has to be of {needed}"
            )

    def _check_early(self, parts: Mapping[str, PartEntry]) -> None:
        early = [plan for plan in self.plans if plan.exits]
        if any(part.heads for part in self.parts if part.machine not in {plan.machines[0] for plan in early}):
            raise ValueError("there are heads of early exits where no frame leaves")
        if early and len(self.plans) > 1:
            raise ValueError("a bundle with early exits has one plan")
        for plan in early:
            part = parts[plan.machines[0]]
            check_exits(plan.exits, part.heads, part.segments, pieces(plan, self.last), self.last, self.responding)

    def _check_answers(self) -> None:
        if self.answers == "along":
            return
        if self.policy is not None or any(plan.exits for plan in self.plans):
            raise ValueError("answers come back directly, which neither a policy nor early exits allow")
        if not any(len(plan.machines) > 2 for plan in self.plans):
            raise ValueError("answers come back directly, and no plan has a machine in the middle")

    def _check_language(self) -> None:
        if self.language is None:
            return
        if self.policy is not None or any(plan.exits or len(plan.machines) > 2 for plan in self.plans):
            raise ValueError("a language model has neither a policy nor early exits, nor machines in the middle")
        hops = [hop for plan in self.plans for hop in plan.hops]
        if any(hop.transport != "tcp" or hop.bottleneck for hop in hops):
            raise ValueError("tokens cross by TCP, without a bottleneck")
        ends = [end for part in self.parts for one in part.segments for end in (one.start, one.end)]
        self.language.check_cuts(ends, self.last)
        for hop in hops:
            self.language.check_crossing(hop.cut, hop.tensors)

    def _check_programs(self, parts: Mapping[str, PartEntry]) -> None:
        """Each place and each joint of programs once: plans are many, and have most of both in common."""
        places = {
            (machine, span): plan.id
            for plan in self.plans
            for machine, span in zip(plan.machines, spans(plan, self.last), strict=True)
            if not span.empty
        }
        joints: set[tuple[int, int]] = set()
        for (machine, span), plan in places.items():
            chain = chained(parts[machine].segments, span) if machine in parts else []
            if not chain:
                raise ValueError(f"plan '{shown(plan)}' lacks a program for machine '{shown(machine)}'")
            for one, other in pairwise(chain):
                joint = id(one), id(other)
                if joint not in joints and one.outputs != other.inputs:
                    raise ValueError(f"the programs of plan '{shown(plan)}' on '{shown(machine)}' do not fit together")
                joints.add(joint)

    @cached_property
    def responding(self) -> Responding:
        """What makes responses of the network's outputs.

        Raises:
            BundleError: there is no such task, or the outputs are none of it.
        """
        if isinstance(self.task, str):
            return responding_of(first_entry(self.result), self.result, self.input.tensors)
        return responding_of(self.task, self.result, self.input.tensors)

    def plan(self, id: str | None = None) -> PlanEntry:
        """A plan by its name; None: the first, which is the recommended one.

        Raises:
            BundleError: there is none of this name.
        """
        for plan in self.plans:
            if id in (None, plan.id):
                return plan
        known = ", ".join(plan.id for plan in self.plans)
        raise BundleError(f"the bundle has no plan '{shown(id)}'", hint=f"it has {known}")

    def answered_directly(self, plan: PlanEntry) -> bool:
        """Whether the answers of a plan come from its last machine to the first one, past those in the middle."""
        return self.answers == "direct" and len(plan.machines) > 2

    def part(self, machine: str) -> PartEntry:
        """What a machine needs.

        Raises:
            BundleError: the bundle knows no such machine.
        """
        for part in self.parts:
            if part.machine == machine:
                return part
        known = ", ".join(part.machine for part in self.parts)
        raise BundleError(f"the bundle has no part for '{shown(machine)}'", hint=f"it has {known}")

    def chain(self, plan: PlanEntry, place: int) -> list[SegmentEntry]:
        """The programs that a machine of a plan runs one after another; none where it has no layers of its own."""
        span = spans(plan, self.last)[place]
        return [] if span.empty else chained(self.part(plan.machines[place]).segments, span)

    def rest(self, plan: PlanEntry, place: int) -> list[SegmentEntry]:
        """The programs by which a machine finishes by itself what comes to it; none where it lacks some of them."""
        span = rest_of(plan, place, self.last)
        return [] if span.empty else chained(self.part(plan.machines[place]).segments, span)


def pieces(plan: PlanEntry, last: int) -> list[Span]:
    """What the first machine of a plan runs one after another: up to each early exit, and the rest, perhaps empty."""
    return divided(spans(plan, last)[0], plan.exits)


def spans(plan: PlanEntry, last: int) -> list[Span]:
    """Which layers each machine of a plan runs, in order."""
    return spans_between([(hop.cut, hop.bottleneck) for hop in plan.hops], last)


def rest_of(plan: PlanEntry, place: int, last: int) -> Span:
    """All layers behind the hop by which frames come to a machine."""
    return spans(plan, last)[place]._replace(end=last, leaving=0.0)


def identified(content: dict[str, Any]) -> Manifest:
    """The manifest of some keys, with the bundle's id.

    Raises:
        BundleError: they make no manifest.
    """
    plain = _validated(content | {"bundle": "0" * 64}).model_dump(mode="json")  # each number in one way: 1 as 1.0
    del plain["bundle"]
    return _validated(plain | {"bundle": hashlib.sha256(canonical(plain)).hexdigest()})


def written(manifest: Manifest) -> bytes:
    """The content of `manifest.json`."""
    return canonical(manifest.model_dump(mode="json")) + b"\n"


def read_manifest(content: bytes) -> Manifest:
    """The manifest in a file's content, which may be anybody's.

    Raises:
        BundleError: it is damaged, was changed, or is of another schema.
    """
    try:
        plain = read_strictly(content)
    except (ValueError, RecursionError) as failure:
        raise BundleError(f"the manifest is no JSON: {shown(failure)}", where=MANIFEST) from None
    if not isinstance(plain, dict):
        raise BundleError("a JSON object is expected", where=MANIFEST)
    if plain.get("schema_version") not in range(FIRST_VERSION, WITH_LANGUAGE + 1):
        given = shown(plain.get("schema_version", "none"), 20)
        raise BundleError(
            f"the bundle's schema version is {given}, this version reads {FIRST_VERSION} to {WITH_LANGUAGE}",
            where=MANIFEST,
            hint="export it again, or install the version of Split-Et-Impera that wrote it",
        )
    manifest = _validated(plain)
    plain.pop("bundle")
    if hashlib.sha256(canonical(plain)).hexdigest() != manifest.bundle:
        raise BundleError("the manifest is not what its own id says: it was changed", where=MANIFEST)
    return manifest


def _validated(plain: dict[str, Any]) -> Manifest:
    try:
        return Manifest.model_validate(plain)
    except ValidationError as failure:
        first = failure.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise BundleError(f"{shown(place, 200)}: {shown(first['msg'], 200)}", where=MANIFEST) from None
