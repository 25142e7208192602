"""Plans of a design -> a bundle's files and manifest, proven; nothing is written here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from splitimpera.bundle.entries import tensor_entry
from splitimpera.bundle.manifest import Manifest, PlanEntry, identified, pieces, rest_of, spans
from splitimpera.bundle.opened import Bundle
from splitimpera.bundle.schema_versions import Answers, version_of
from splitimpera.bundle.segments import Span, span_keys
from splitimpera.bundle.task_entry import TaskEntry, task_entry
from splitimpera.core.errors import BundleError, ModelError, ScenarioError, shown
from splitimpera.core.progress import Track, no_progress
from splitimpera.core.registry import nearest
from splitimpera.core.version import __version__
from splitimpera.cost.profiles import fingerprint
from splitimpera.cost.spending import memory_bytes
from splitimpera.evaluation.testbed import Testbed
from splitimpera.evaluation.truths import response_bytes
from splitimpera.export.advice import check_machines, extras, left_out
from splitimpera.export.designed import Designed, Say, load_again, read_designs
from splitimpera.export.engine_files import CannotRunError, engines_called, file_of, suffix_of, title_of_engine
from splitimpera.export.int8 import quantised_files
from splitimpera.export.joining import answers_of, check_memory, floor_of, machines_of
from splitimpera.export.lacking import refusal
from splitimpera.export.part_modules import Part, head_of, part_of
from splitimpera.export.plan_entries import plan_entries
from splitimpera.export.proof import Proven, prove
from splitimpera.export.sample_file import input_entry, sample_file
from splitimpera.export.segmenting import segments_of
from splitimpera.export.writing_proof import WritingProof
from splitimpera.models.imports import is_factory
from splitimpera.models.threads import torch_threads
from splitimpera.records.policy import POLICY, Policy, written_policy

SAMPLES = "samples.npz"
FLOAT, INT8 = "Running the parts in their engine", "Running the quantised parts"


@dataclass(frozen=True, eq=False)
class PlanProof:
    """What was found of a plan.

    Attributes:
        proven: Of the parts as they are in the bundle; `before`: of the same as floats, where they are quantised.
        promised: Quality that the design predicts; None: it was not computed.
    """

    proven: Proven | WritingProof
    before: Proven | None
    promised: float | None


@dataclass(frozen=True, eq=False)
class Exported:
    """A bundle that is proven and not yet written.

    Attributes:
        contents: Every file but the manifest, by its path in the bundle.
        proofs: Of each plan.
        extras: Extras of the package that both machines need.
        left_out: Keys of the scenario, with values, by which the prediction would count what the programs add.
    """

    manifest: Manifest
    contents: Mapping[str, bytes]
    proofs: tuple[PlanProof, ...]
    extras: tuple[str, ...]
    left_out: tuple[str, ...]


def export_bundle(
    run: Path,
    plan: str | Sequence[str] | None = None,
    *,
    policy: Policy | None = None,
    engine: str = "onnx",
    samples: int = 0,
    quantize: str | None = None,
    track: Track[Any] = no_progress,
    say: Say = str,
) -> Exported:
    """The bundle of plans that a design found; layers that several of them share are stored once.

    Args:
        run: The results folder of the design.
        plan: The plan's id, or several; None: those of the policy or, without one, the recommended plan.
        policy: Goes with the bundle, and so do all plans that it has.
        engine: "onnx" or "torch"; with a comma between them the device's and the server's.
        samples: How many samples of the test part go with it.
        quantize: "int8": ONNX Runtime's static quantisation, calibrated on training data.
        track: Shows progress.
        say: Takes a line of news.

    Raises:
        SplitImperaError: the design cannot be read again, is of another network or data, names a machine without an
            engine, has a layer that the engine lacks, or the parts do not compute what the network does; the policy is
            for other plans; a plan sends before the privacy floor; several plans are for other machines than each
            other, or take more than the device has.
    """
    _check_options(samples, quantize)
    designs = read_designs(Path(run), ids_of(plan, policy), policy)
    machines, floor, answers = machines_of(designs), floor_of(designs), answers_of(designs, policy is not None)
    for design in designs:
        check_machines(design.plan)
    engines = dict(zip(machines, engines_called(engine, len(machines)), strict=True))
    if quantize and set(engines.values()) != {"onnx"}:
        raise ScenarioError(
            "ONNX Runtime quantises its own files only", where="--quantize", hint="take '--engine onnx'"
        )
    testbed = load_again(designs, track, say)
    with torch_threads(1):  # as the halves are run
        if testbed.blocks is not None:
            from splitimpera.export.language_bundling import exported_writing  # it needs what is made here

            return exported_writing(designs, testbed, [*engines.values()], samples, bool(quantize), policy is not None)
        return _Export(designs, testbed, engines, samples, policy, floor, answers, track).made(quantize is not None)


def ids_of(plan: str | Iterable[str] | None, policy: Policy | None) -> list[str | None]:
    """The plans of a bundle, each once; None: the recommended one."""
    named = [] if plan is None else [plan] if isinstance(plan, str) else [*plan]
    return [*dict.fromkeys([*named, *(known.id for known in (policy.plans if policy else ()))])] or [None]


def _check_options(samples: int, quantize: str | None) -> None:
    if samples < 0:
        raise ScenarioError(f"{samples} is out of range, it must be 0 or more", where="--samples")
    if quantize not in (None, "int8"):
        hint = nearest(str(quantize), ["int8"])
        raise ScenarioError(f"'{shown(quantize)}' is no way to quantise", where="--quantize", hint=hint)


@dataclass(frozen=True, eq=False)
class _Stored:
    """A program of a machine; one of no layers is the head of the exit behind that cut.

    Attributes:
        spare: No plan needs it, it finishes frames while the next machine is away.
    """

    machine: str
    span: Span
    file: str
    part: Part
    spare: bool = False

    def entry(self, engine: str) -> dict[str, Any]:
        """What the manifest says of it."""
        where = {"cut": self.span.start} if self.span.empty else span_keys(self.span)
        tensors = {"inputs": self.part.inputs, "outputs": self.part.outputs}
        entries = {key: [tensor_entry(spec).model_dump() for spec in specs] for key, specs in tensors.items()}
        return where | {"engine": engine, "file": self.file} | entries


@dataclass(frozen=True, eq=False)
class _Export:
    designs: Sequence[Designed]
    testbed: Testbed
    engines: Mapping[str, str]
    samples: int
    policy: Policy | None
    floor: int
    answers: Answers
    track: Track[Any]

    def made(self, quantise: bool) -> Exported:
        plans, contents = plan_entries(self.designs, self.testbed)
        stored = [each for machine in self.engines for each in self._stored(machine, plans)]
        stored += self._heads(plans)
        for each in self.track(stored, "Exporting the parts", len(stored)):
            content = self._written(each, plans)
            if content is not None:
                contents[each.file] = content
        stored = self._that_fit(stored, contents)
        if not quantise:
            self._check_memory(stored, contents)
        if self.samples:
            contents[SAMPLES] = sample_file(self.testbed, self.samples)
        if self.policy is not None:
            contents[POLICY] = written_policy(self.policy)
        manifest = self._manifest(plans, stored, contents)
        proven, before = self._proven(manifest, contents, FLOAT), list[Proven]()
        for found in proven:
            found.check()
        if quantise:
            contents |= quantised_files(held(manifest, contents), self.testbed, self.track)
            self._check_memory(stored, contents)
            manifest = self._manifest(plans, stored, contents)
            proven, before = self._proven(manifest, contents, INT8), proven
        firsts: list[Proven | None] = [*before] or [None] * len(proven)
        proofs = [found.entry(first).model_dump(mode="json") for found, first in zip(proven, firsts, strict=True)]
        own = [design.plan for design in self.designs]
        return Exported(
            identified(manifest.model_dump(mode="json") | {"proofs": proofs}),
            contents,
            tuple(
                PlanProof(found, first, design.entry.metrics.get(design.results.quality))
                for found, first, design in zip(proven, firsts, self.designs, strict=True)
            ),
            tuple(extras(hop.codec for plan in own for hop in plan.hops)),
            tuple(left_out(self.designs[0].setting, own, self._result_bytes)),
        )

    def _that_fit(self, stored: Sequence[_Stored], contents: dict[str, bytes]) -> list[_Stored]:
        """All programs, but for the spare ones of machines that cannot run or hold them; those leave the contents."""
        longest = max((design.plan for design in self.designs), key=lambda plan: len(plan.devices))
        lacking = {each.machine for each in stored if each.file not in contents}
        for device in longest.devices:
            sizes = [
                len(contents[each.file]) for each in stored if each.machine == device.name and each.file in contents
            ]
            limit = memory_bytes(device)
            if limit is not None and sum(sizes) > limit:
                lacking.add(device.name)
        left_out = [each for each in stored if each.spare and each.machine in lacking]
        for each in left_out:
            contents.pop(each.file, None)
        return [each for each in stored if each not in left_out]

    def _check_memory(self, stored: Iterable[_Stored], contents: Mapping[str, bytes]) -> None:
        device = self.designs[0].plan.devices[0]
        if len(self.designs) > 1:
            needed = (len(contents[each.file]) for each in stored if each.machine == device.name)
            check_memory(device, len(self.designs), sum(needed))

    @cached_property
    def _result_bytes(self) -> int:
        """Mean size of what a response carries, of a task that the other machine knows; else that of the outputs."""
        if is_factory(self.designs[0].setting.scenario.task.kind):
            return sum(spec.bytes for spec in self.testbed.specs(self.testbed.last, 0.0))
        return response_bytes(self.testbed)

    def _task_entry(self) -> TaskEntry:
        graph, kind = self.testbed.graph, self.designs[0].setting.scenario.task.kind
        result = [tensor_entry(spec) for spec in graph.cuts[-1].tensors]
        return task_entry(self.testbed.task, kind, graph.outputs, result, self._result_bytes)

    def _stored(self, machine: str, plans: Iterable[PlanEntry]) -> list[_Stored]:
        """The programs of a machine."""
        own = [span for plan in plans for span in _spans_on(plan, machine, self.testbed.last)]
        spare = [span for plan in plans for span in _rests_on(plan, machine, self.testbed.last)]
        graph, suffix = self.testbed.graph, suffix_of(self.engines[machine])
        found = []
        for span in segments_of([*own, *spare], lambda cut: graph.stacks(graph.cuts[cut].tensors)):
            of_none = not any(_within(span, whole) for whole in own)
            part, layers = part_of(self.testbed, span), _words(span, self.testbed.last)
            found.append(_Stored(machine, span, f"{machine}/{layers}.{suffix}", part, of_none))
        return found

    def _heads(self, plans: Iterable[PlanEntry]) -> list[_Stored]:
        """The programs of early exits."""
        return [
            _Stored(
                machine := plan.machines[0],
                Span(exit.cut, exit.cut),
                f"{machine}/head-{exit.cut}.{suffix_of(self.engines[machine])}",
                head_of(self.testbed, exit.cut),
            )
            for plan in plans
            for exit in plan.exits
        ]

    def _written(self, stored: _Stored, plans: Iterable[PlanEntry]) -> bytes | None:
        try:
            return file_of(stored.part, self.engines[stored.machine])
        except CannotRunError as failure:
            if stored.spare:
                return None
            if stored.span.empty:
                name, engine = self.testbed.graph.cuts[stored.span.start].name, self.engines[stored.machine]
                raise ModelError(
                    f"{title_of_engine(engine)} cannot run the head of the exit after {shown(name)}: {failure}",
                    where="--engine",
                    hint="take '--engine torch', or choose a plan without early exits",
                ) from None
            plan = next(
                plan
                for plan in plans
                if any(_within(stored.span, whole) for whole in _spans_on(plan, stored.machine, self.testbed.last))
            )
            engines = [self.engines[machine] for machine in plan.machines]
            place = plan.machines.index(stored.machine)
            raise refusal(self.testbed, spans(plan, self.testbed.last), engines, place, str(failure)) from None

    def _manifest(
        self, plans: Sequence[PlanEntry], stored: Sequence[_Stored], contents: Mapping[str, bytes]
    ) -> Manifest:
        setting, graph, data = self.designs[0].setting, self.testbed.graph, self.testbed.data
        return identified(
            {
                "schema_version": version_of(plans, (each.span for each in stored), self.answers),
                "answers": self.answers,
                "name": setting.scenario.name,
                "made_by": f"splitimpera {__version__}",
                "network": setting.scenario.network.model,
                "fingerprint": fingerprint(graph),
                "task": self._task_entry().model_dump(),
                "classes": list(data.classes),
                "input": input_entry(self.testbed).model_dump(),
                "result": [tensor_entry(spec).model_dump() for spec in graph.cuts[-1].tensors],
                "last": self.testbed.last,
                "plans": [plan.model_dump(mode="json") for plan in plans],
                "parts": [self._part_entry(machine, plans, stored, contents) for machine in self.engines],
                "proofs": [],
                "samples": SAMPLES if SAMPLES in contents else None,
                "files": {
                    name: {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
                    for name, content in contents.items()
                },
                "policy": POLICY if POLICY in contents else None,
                "floor": self.floor,
            }
        )

    def _part_entry(
        self, machine: str, plans: Sequence[PlanEntry], stored: Sequence[_Stored], contents: Mapping[str, bytes]
    ) -> dict[str, Any]:
        own = [each for each in stored if each.machine == machine]
        segments, heads = (
            [each.entry(self.engines[machine]) for each in own if each.span.empty is empty] for empty in (False, True)
        )
        constants = [
            hop.constants
            for plan in plans
            for place, hop in enumerate(plan.hops)
            if hop.constants and machine in plan.machines[place : place + 2]
        ]
        first = machine == plans[0].machines[0]
        others = [name for name in ([SAMPLES] if first else []) + [POLICY] if name in contents]
        files = [*(each["file"] for each in (*segments, *heads)), *dict.fromkeys(constants), *others]
        return {"machine": machine, "segments": segments, "files": files, "heads": heads}

    def _proven(self, manifest: Manifest, contents: Mapping[str, bytes], what: str) -> list[Proven]:
        bundle, samples = held(manifest, contents), self.testbed.data.validation
        for plan in manifest.plans:
            for place in range(1, len(plan.hops)):
                if manifest.rest(plan, place):  # what is to stand in for the machines behind is proven as they are
                    prove(bundle, plan.id, self.testbed, samples, self.track, what, place).check()
        return [prove(bundle, plan.id, self.testbed, samples, self.track, what) for plan in manifest.plans]


def _spans_on(plan: PlanEntry, machine: str, last: int) -> list[Span]:
    if machine == plan.machines[0]:
        return pieces(plan, last)
    return [span for name, span in zip(plan.machines, spans(plan, last), strict=True) if name == machine]


def _rests_on(plan: PlanEntry, machine: str, last: int) -> list[Span]:
    """All layers behind the hop by which frames come to a machine in the middle."""
    return [rest_of(plan, place, last) for place, name in enumerate(plan.machines[1:-1], 1) if name == machine]


def _words(span: Span, last: int) -> str:
    """What the file of a program is called: each end's ratio behind its cut, that of a tail alone behind all."""
    alone = span.end == last
    arriving, leaving = (f"b{ratio:g}" if ratio else "" for ratio in (span.arriving, span.leaving))
    before = "" if alone else arriving
    after = arriving if alone else leaving
    name = f"layers-{span.start}{before}-{span.end}" + (f"-{after}" if after else "")
    cut, ratio = span.behind
    return name + (f"-of-{cut}b{ratio:g}" if ratio else "")


def _within(part: Span, whole: Span) -> bool:
    """Whether a plan that runs all of these layers runs the program of a part of them."""
    return whole.start <= part.start and part.end <= whole.end and whole[2:] == part[2:]


@dataclass(frozen=True)
class _Contents:
    """Files that are not written yet."""

    contents: Mapping[str, bytes]

    def read(self, name: str, most_bytes: int) -> bytes:
        if name not in self.contents:
            raise BundleError(f"the bundle lacks '{shown(name)}'")
        return self.contents[name]


def held(manifest: Manifest, contents: Mapping[str, bytes]) -> Bundle:
    """A bundle in memory."""
    return Bundle(Path(manifest.name), manifest, _Contents(contents))
