"""`splitimpera export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splitimpera.cli.verbosity import Verbose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from splitimpera.bundle.manifest import Manifest
    from splitimpera.export import Exported


def run(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a design, with its results.json.")],
    out: Annotated[
        Path, typer.Option(metavar="BUNDLE", help="Where to write the bundle: a folder, or a file that ends in .zip.")
    ],
    plan: Annotated[str | None, typer.Option(metavar="ID", help="Which plan (default: the recommended one).")] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="What runs the parts: onnx (ONNX Runtime) or torch (PyTorch); 'onnx,torch': the one on the device, "
            "the other on the server."
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
    """Export a plan of a design as a bundle: the programs that run on each machine.

    All validation samples go through them first; what does not compute what the network does is not written.
    """
    from splitimpera.export.designed import read_design
    from splitimpera.export.placing import check_place, files_of, machine_called, write_bundle

    place = out.absolute()  # before the user's code runs, which may go elsewhere
    check_place(place)
    if only is not None:
        machine_called(only, read_design(folder, plan).entry.devices)

    from splitimpera.cli.terminal import console, progress
    from splitimpera.export import export_bundle

    with progress() as track:
        exported = export_bundle(
            folder, plan, engine=engine, samples=samples, quantize=quantize, track=track, say=console.print
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
    from splitimpera.core.units import format_bytes, format_fraction

    manifest, proven = exported.manifest, exported.proven
    promised = exported.promised
    yield ""
    yield f"Plan {proven.plan}: {len(proven.whole.found)} validation samples through all parts in their engine"
    parts = exported.before.parts if exported.before is not None else proven.parts
    yield f"  programs     {parts.equal:.2%} equal answers, results differ by up to {parts.difference:.3g}"
    if manifest.plans[0].hops:
        kind = "lossless" if proven.lossless else "lossy"
        whole = exported.before.whole if exported.before is not None else proven.whole
        codec = manifest.plans[0].hops[0].codec
        yield (
            f"  with codec   {whole.equal:.2%} equal answers, results differ by up to {whole.difference:.3g} "
            f"({codec}, {kind})"
        )
    accuracy = proven.accuracy if exported.before is None else exported.before.accuracy
    stated = (
        "was not computed in the design" if promised is None else f"the design promised {format_fraction(promised)}"
    )
    yield f"  accuracy     {accuracy:.2%}, {stated}"
    yield f"  time         {_ms(proven if exported.before is None else exported.before)} a frame, one thread, here"
    if exported.before is not None:
        yield (
            f"  as int8      {proven.accuracy:.2%} accuracy, {proven.whole.equal:.2%} equal answers, "
            f"{_ms(proven)} a frame"
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


def _ms(proven: object) -> str:
    from splitimpera.core.units import format_time

    return format_time(getattr(proven, "seconds"))  # noqa: B009


def _next(manifest: Manifest, out: Path) -> Iterator[str]:
    plan, source = manifest.plans[0], "samples" if manifest.samples else "SOURCE"
    if plan.hops:
        yield f"On {plan.machines[-1]}: splitimpera serve {out} --listen HOST:PORT"
        yield f"On {plan.machines[0]}: splitimpera infer {out} --server HOST:PORT --input {source}"
    else:
        yield f"On {plan.machines[0]}: splitimpera infer {out} --input {source}"
