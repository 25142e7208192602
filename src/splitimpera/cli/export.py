"""`splitimpera export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splitimpera.cli.verbosity import Verbose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from splitimpera.bundle.manifest import Manifest, PlanEntry
    from splitimpera.export.bundling import Exported, PlanProof
    from splitimpera.export.writing_proof import WritingProof
    from splitimpera.tasks.sameness import Comparison


def run(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a design, with its results.json.")],
    out: Annotated[
        Path, typer.Option(metavar="BUNDLE", help="Where to write the bundle: a folder, or a file that ends in .zip.")
    ],
    plan: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Which plan; may be repeated (default: the policy's, or the recommended one)."),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What 'splitimpera policy' wrote: it goes with its plans into the bundle."),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="What runs the parts: onnx (ONNX Runtime) or torch (PyTorch); 'onnx,torch': the one on the device, "
            "the other on the server; one for each machine."
        ),
    ] = "onnx",
    samples: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="How many labelled samples of the test part go with the bundle.")
    ] = 0,
    quantize: Annotated[
        str | None, typer.Option(metavar="int8", help="Quantise the parts: int8, calibrated on training data.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="MACHINE", help="Write only what one machine needs: device, server, or its name."),
    ] = None,
    verbose: Verbose = 0,
) -> None:
    """Export plans of a design as a bundle: the programs that run on each machine.

    All validation samples go through them first; what does not compute what the network does is not written.
    """
    from splitimpera.export.bundling import ids_of
    from splitimpera.export.designed import read_designs
    from splitimpera.export.joining import machines_of
    from splitimpera.export.placing import check_place, files_of, machine_called, write_bundle
    from splitimpera.records.policy import load_policy

    place = out.absolute()  # before the user's code runs, which may go elsewhere
    check_place(place)
    known = None if policy is None else load_policy(policy)
    if only is not None:
        machine_called(only, machines_of(read_designs(folder, ids_of(plan, known), known)))

    from splitimpera.cli.terminal import console, progress
    from splitimpera.export import export_bundle

    with progress() as track:
        exported = export_bundle(
            folder,
            plan,
            policy=known,
            engine=engine,
            samples=samples,
            quantize=quantize,
            track=track,
            say=console.print,
        )
    files = files_of(exported.manifest, exported.contents, only)
    write_bundle(files, place)
    for line in _account(exported):
        console.print(line, soft_wrap=True)
    console.print(f"Written: {out}" + (f" (what '{only}' needs)" if only else ""), soft_wrap=True)
    for line in _next(exported.manifest, out):
        console.print(line, soft_wrap=True)


def _account(exported: Exported) -> Iterator[str]:
    """What was found and what is in the bundle."""
    from splitimpera.bundle.task_entry import RAW
    from splitimpera.core.units import format_bytes

    manifest = exported.manifest
    for plan, proof in zip(manifest.plans, exported.proofs, strict=True):
        yield from _proof(plan, proof)
    if not isinstance(manifest.task, str) and manifest.task.kind == RAW:
        yield (
            "The task is your own, and no other machine has its code: responses are the network's outputs as they are, "
            "and neither infer nor verify says how good they are."
        )
    yield ""
    for part in manifest.parts:
        sizes = [f"{name} ({format_bytes(manifest.files[name].bytes)})" for name in part.files]
        yield f"{part.machine} needs manifest.json" + "".join(f", {size}" for size in sizes)
    for extra in exported.extras:
        yield (
            f"Both machines need the extra [{extra}] for the codec: pip install 'split-et-impera[{extra}]' (it has no "
            "wheel for ARM and is compiled there)."
        )
    if exported.left_out:
        keys = "; ".join(exported.left_out)
        yield (
            "The prediction leaves out what the two programs send besides the payload. To count it, design again "
            f"with {keys}"
        )


def _proof(plan: PlanEntry, proof: PlanProof) -> Iterator[str]:
    """What was found of a plan."""
    from splitimpera.core.units import format_fraction, format_time
    from splitimpera.tasks.qualities import QUALITIES

    def same(compared: Comparison) -> str:
        return f"{format_fraction(compared.equal)} {compared.words}, results differ by up to {compared.difference:.3g}"

    from splitimpera.export.writing_proof import WritingProof

    final, promised = proof.proven, proof.promised
    if isinstance(final, WritingProof):
        yield from _written(plan, final)
        return
    metric = QUALITIES[final.metric]
    first = proof.before or final
    yield ""
    yield f"Plan {final.plan}: {len(final.whole)} validation samples through all parts in their engine"
    yield f"  programs     {same(first.parts)}"
    for hop in plan.hops:
        yield f"  with codec   {same(first.whole)} ({hop.codec}, {'lossless' if first.lossless else 'lossy'})"
    lossy = any(hop.link.loss and hop.transport != "tcp" for hop in plan.hops)
    stated = "the design did not compute it" if promised is None else f"the design promised {metric.format(promised)}"
    stated += ", losses on the link included" if lossy and promised is not None else ""
    yield f"  {metric.title:<12} {metric.format(first.quality)}, {stated}"
    if first.exits is not None:
        leave = [
            f"{format_fraction(share)} after {exit.layer}"
            for share, exit in zip(first.exits.left, plan.exits, strict=True)
        ]
        yield f"  exits        {', '.join(leave)} leave; the {metric.title} counts them, all else is without"
    yield f"  time         {format_time(first.seconds)} a frame for the programs, one thread, here"
    if proof.before is not None:
        yield f"  as int8      {same(final.whole)}"
        yield f"               {metric.format(final.quality)} {metric.title}, {format_time(final.seconds)} a frame"


def _written(plan: PlanEntry, found: WritingProof) -> Iterator[str]:
    """What was found of a language model's plan."""
    from splitimpera.core.units import format_fraction, format_time

    def same(count: int) -> str:
        return f"{format_fraction(count / found.compared)} of the network's tokens"

    yield ""
    yield f"Plan {found.plan}: {found.compared} tokens written behind validation samples by all parts in their engine"
    yield f"  programs     {same(found.plain)}, logits differ by up to {found.difference:.3g}"
    for hop in plan.hops:
        yield f"  with codec   {same(found.coded)} ({hop.codec}, {'lossless' if found.lossless else 'lossy'})"
    yield f"  time         {format_time(found.seconds)} a token for the programs, one thread, here"


def _next(manifest: Manifest, out: Path) -> Iterator[str]:
    plan = max(manifest.plans, key=lambda plan: len(plan.hops))
    source = "--input samples" if manifest.samples else "--input SOURCE"
    if manifest.language is not None:
        source = "--prompt TEXT --tokens 64"
    if plan.hops:
        *others, last = plan.machines[1:]
        answers = " --answers HOST:PORT" if manifest.answered_directly(plan) else ""
        yield "First splitimpera keys KEYS --host SERVER; then, with --keys KEYS in each line:"
        yield f"On {last}: splitimpera serve {out} --listen HOST:PORT"
        for machine in reversed(others):
            yield f"On {machine}: splitimpera serve {out} --machine {machine} --listen HOST:PORT --next HOST:PORT"
        yield f"On {plan.machines[0]}: splitimpera infer {out} --server HOST:PORT{answers} {source}"
    else:
        yield f"On {plan.machines[0]}: splitimpera infer {out} {source}"
