"""A language model's plans -> programs of whole blocks with caches, and what the manifest says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from splitimpera.bundle.entries import TensorEntry, tensor_entry
from splitimpera.bundle.language_entry import BlocksEntry, LanguageEntry
from splitimpera.bundle.manifest import Manifest, PlanEntry, identified, spans
from splitimpera.bundle.schema_versions import version_of
from splitimpera.bundle.segments import Span, span_keys
from splitimpera.bundle.task_entry import RAW, ResponseEntry, TaskEntry
from splitimpera.core.errors import BundleError, ModelError
from splitimpera.core.version import __version__
from splitimpera.export.block_programs import block_program
from splitimpera.export.bundling import held
from splitimpera.export.writing_proof import WritingProof, prove_writing
from splitimpera.language.block_runs import BlockRun
from splitimpera.language.decoder import Decoder
from splitimpera.records.graph import TensorSpec

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, eq=False)
class LanguageParts:
    """A language model and where it may be cut.

    Attributes:
        blocks: How many blocks are in front of each cut that plans have, of cut 0, and of the last one: as
            `language.block_cuts` has them, with all blocks in front of the last cut.
        specs: What crosses each of them, of a window of tokens; ids of shape (T,), hidden states and logits (T, C).
        context: The most tokens of prompt and output together; None: as many as the network has positions.
        tokenizer: Content of a tokenizer.json; None: a token is a byte.
        end: The token that ends a text; None: there is none.
    """

    decoder: Decoder
    blocks: Mapping[int, int]
    specs: Mapping[int, TensorSpec]
    context: int | None = None
    tokenizer: bytes | None = None
    end: int | None = None
    _made: dict[tuple[int, int], bytes] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The cut that only logits cross."""
        return max(self.blocks)

    def entry(self) -> LanguageEntry:
        """What the manifest says of it.

        Raises:
            BundleError: its caches, or its vocabulary beside its tokenizer, are none that can be deployed.
        """
        try:
            return LanguageEntry(
                vocabulary=self.decoder.vocabulary,
                context=self.context or self.decoder.context,
                width=self.decoder.width,
                key_value_shape=list(self.decoder.key_value_shape),
                blocks=[BlocksEntry(cut=cut, blocks=count) for cut, count in sorted(self.blocks.items())],
                tokenizer=None if self.tokenizer is None else TOKENIZER,
                end=self.end,
            )
        except ValueError as failure:
            raise BundleError(f"this language model cannot be deployed: {_first_line(failure)}") from None

    def program(self, span: Span) -> bytes:
        """The program of the blocks between two cuts.

        Raises:
            ModelError: these cannot be run.
        """
        where = span.start, span.end
        if where not in self._made:
            self._made[where] = block_program(self.run(span))
        return self._made[where]

    def run(self, span: Span) -> BlockRun:
        """The blocks between two cuts, without the head where hidden states cross behind the last one."""
        return BlockRun(self.decoder, self.blocks[span.start], self.blocks[span.end], head=span.end == self.last)


def check_decoder(decoder: Decoder) -> None:
    """Raises ModelError where its hidden states are no float32, which all that runs deployed has."""
    if str(decoder.dtype) != "torch.float32":
        raise ModelError(f"hidden states of {decoder.dtype} cannot be deployed", hint="load the network as float32")


def exported_language(
    parts: LanguageParts,
    plans: Sequence[PlanEntry],
    contents: Mapping[str, bytes],
    prompts: Iterable[Sequence[int]],
    tokens: int,
    **keys: Any,
) -> tuple[Manifest, dict[str, bytes], list[WritingProof]]:
    """A language model's bundle, proven: the manifest, the content of every other file, what was found of each plan.

    Args:
        plans: For the same machines, as `plan_entries` has them.
        contents: Files of their codecs' constants.
        prompts: Ids from the data, by which the parts are compared with the network.
        tokens: How many are written behind each.
        keys: Other keys of the manifest, such as `name`, `network` or `task`.

    Raises:
        SplitImperaError: the parts cannot be run, or write other tokens than the network.
    """
    check_decoder(parts.decoder)
    language, found = parts.entry(), dict(contents)
    if parts.tokenizer is not None:
        found[TOKENIZER] = parts.tokenizer
    machines = dict.fromkeys(name for plan in plans for name in plan.machines)
    segments: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in machines}
    for plan in plans:
        for machine, span in zip(plan.machines, spans(plan, parts.last), strict=True):
            if not span.empty:
                file = f"{machine}/blocks-{span.start}-{span.end}.onnx"
                found[file] = parts.program(span)
                tensors = {"inputs": [_entry(parts, span.start)], "outputs": [_entry(parts, span.end)]}
                segments[machine][file] = span_keys(span) | {"engine": "onnx", "file": file} | tensors
    files = {name: {"sha256": sha256(each).hexdigest(), "bytes": len(each)} for name, each in found.items()}
    manifest = identified(
        {
            "schema_version": version_of(plans, (), language=True),
            "name": "language model",
            "made_by": f"splitimpera {__version__}",
            "network": "language model",
            "fingerprint": "0" * 16,
            "task": _raw_task(parts).model_dump(),
            "classes": [],
            "input": {"tensors": [_entry(parts, 0)], "pixels": None},
            "result": [_entry(parts, parts.last)],
            "last": parts.last,
            "plans": [plan.model_dump(mode="json") for plan in plans],
            "parts": [
                {
                    "machine": machine,
                    "segments": list(own.values()),
                    "files": [*own, *dict.fromkeys(_constants(plans, machine)), *([TOKENIZER] * (TOKENIZER in found))],
                }
                for machine, own in segments.items()
            ],
            "proofs": [],
            "samples": None,
            "files": files,
            "language": language.model_dump(mode="json"),
        }
        | keys
    )
    bundle, asked = held(manifest, found), [list(prompt) for prompt in prompts]
    proofs = [prove_writing(bundle, plan, parts.decoder, asked, tokens) for plan in plans]
    for proof in proofs:
        proof.check()
    proven = [proof.entry().model_dump(mode="json") for proof in proofs]
    return identified(manifest.model_dump(mode="json") | {"proofs": proven}), found, proofs


def _entry(parts: LanguageParts, cut: int) -> dict[str, Any]:
    entry: TensorEntry = tensor_entry(parts.specs[cut])
    return entry.model_dump()


def _raw_task(parts: LanguageParts) -> TaskEntry:
    spec = parts.specs[parts.last]
    response = ResponseEntry(name=spec.name, shape=list(spec.shape), dtype="float32")
    return TaskEntry(
        kind=RAW,
        options={},
        metric="agreement",
        outputs=["0"],
        mask=None,
        response=[response],
        most=None,
        result_bytes=spec.bytes,
    )


def _constants(plans: Iterable[PlanEntry], machine: str) -> list[str]:
    return [hop.constants for plan in plans for hop in plan.hops if hop.constants and machine in plan.machines]


def _first_line(failure: ValueError) -> str:
    errors = getattr(failure, "errors", None)
    return str(errors()[0]["msg"]) if errors is not None else str(failure)
