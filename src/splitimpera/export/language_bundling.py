"""A design's plans of a language model -> a bundle's files and manifest, proven by what they write."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from splitimpera.bundle.entries import tensor_entry
from splitimpera.bundle.task_entry import task_entry
from splitimpera.core.errors import BundleError, ScenarioError
from splitimpera.core.files import read_file
from splitimpera.cost.profiles import fingerprint
from splitimpera.deploy.token_text import PackedTokens
from splitimpera.evaluation.testbed import Testbed
from splitimpera.evaluation.token_blocks import TokenBlocks
from splitimpera.evaluation.truths import response_bytes
from splitimpera.export.advice import extras, left_out
from splitimpera.export.bundling import Exported, PlanProof
from splitimpera.export.designed import Designed
from splitimpera.export.joining import check_memory, floor_of
from splitimpera.export.language_parts import TOKENIZER, LanguageParts, exported_language
from splitimpera.export.plan_entries import plan_entries
from splitimpera.export.sample_file import input_entry
from splitimpera.models.imports import is_factory

PROMPTS, MOST_WRITTEN = 8, 32
"""Windows of the validation part by which parts are proven, and how many tokens are written behind each."""
TOKENIZER_BYTES = 64 << 20
BYTES = "bytes"


def exported_writing(
    designs: Sequence[Designed], testbed: Testbed, engines: Sequence[str], samples: int, quantise: bool, policy: bool
) -> Exported:
    """The bundle of plans of a language model.

    Args:
        designs: Plans of one design.
        testbed: With the blocks of its network.
        engines, samples, quantise, policy: What was asked for.

    Raises:
        ScenarioError: something is asked for that such bundles have not.
        SplitImperaError: the parts cannot be run, or write other tokens than the network.
    """
    _check_asked(engines, samples, quantise, policy)
    first, blocks = designs[0], testbed.blocks
    assert blocks is not None
    setting, graph, data = first.setting, testbed.graph, testbed.data
    own = [design.plan for design in designs]
    plans, contents = plan_entries(designs, testbed)
    parts = _parts(designs, testbed, blocks)
    kind = setting.scenario.task.kind
    result = [tensor_entry(spec) for spec in graph.cuts[-1].tensors]
    raw_bytes = sum(spec.bytes for spec in graph.cuts[-1].tensors)
    result_bytes = raw_bytes if is_factory(kind) else response_bytes(testbed)
    prompts, tokens = _prompts(testbed, parts.entry().context)
    manifest, files, proofs = exported_language(
        parts,
        plans,
        contents,
        prompts,
        tokens,
        name=setting.scenario.name,
        network=setting.scenario.network.model,
        fingerprint=fingerprint(graph),
        task=task_entry(testbed.task, kind, graph.outputs, result, result_bytes).model_dump(),
        classes=list(data.classes),
        input=input_entry(testbed).model_dump(),
        floor=floor_of(designs),
    )
    device = own[0].devices[0]
    if len(own) > 1:
        sizes = (manifest.files[segment.file].bytes for segment in manifest.part(device.name).segments)
        check_memory(device, len(own), sum(sizes))
    missing = [key for key in left_out(setting, own, result_bytes) if not key.startswith("workload.response")]
    return Exported(
        manifest,
        files,
        tuple(PlanProof(proof, None, None) for proof in proofs),
        tuple(extras(hop.codec for plan in own for hop in plan.hops)),
        tuple(missing),
    )


def _check_asked(engines: Sequence[str], samples: int, quantise: bool, policy: bool) -> None:
    problems = {
        "--engine": "" if set(engines) == {"onnx"} else "a language model's parts are run by ONNX Runtime alone",
        "--samples": "a language model's bundle has no samples, prompts are given to infer" if samples else "",
        "--quantize": "a language model's parts keep their floats" if quantise else "",
        "--policy": "a language model's bundle has no policy, name its plans by --plan" if policy else "",
    }
    for option, problem in problems.items():
        if problem:
            raise ScenarioError(problem, where=option, hint="leave it out")


def _parts(designs: Sequence[Designed], testbed: Testbed, blocks: TokenBlocks) -> LanguageParts:
    cuts = {hop.cut for design in designs for hop in design.plan.hops} | {0}
    before = {cut: blocks.before(cut) for cut in sorted(cuts)} | {testbed.last: len(blocks.decoder.blocks)}
    specs = {}
    for cut in before:
        crossing = testbed.specs(cut, 0.0)
        if len(crossing) != 1:
            raise BundleError(f"{len(crossing)} tensors cross cut {cut}, of a language model one is expected")
        (specs[cut],) = crossing
    asked = testbed.workload.tokens
    scenario = designs[0].setting.scenario
    tokenizer = getattr(getattr(scenario.data, "tokens", None), "tokenizer", BYTES)
    content = None
    if tokenizer != BYTES:
        path = scenario.folder / tokenizer / TOKENIZER
        content = read_file(path, TOKENIZER_BYTES, BundleError, what="tokenizer")
        PackedTokens(content, blocks.decoder.vocabulary)  # it says what does not fit
    return LanguageParts(blocks.decoder, before, specs, None if asked is None else asked.context, content)


def _prompts(testbed: Testbed, context: int) -> tuple[list[list[int]], int]:
    """Windows from all over the validation part, and how many tokens there is room for behind each."""
    samples = testbed.data.validation
    rows = torch.linspace(0, len(samples) - 1, min(PROMPTS, len(samples))).round().long()
    some = samples.take(rows)
    windows = torch.cat([testbed.inputs(batch)[0] for batch in some.batches(len(rows))])
    tokens = max(min(MOST_WRITTEN, context // 2), 1)
    return [window[: context - tokens].tolist() for window in windows], tokens
