"""`splitimpera profile`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from splitimpera.cli.saliency import NETWORK
from splitimpera.cli.verbosity import Verbose
from splitimpera.cli.whole_numbers import whole
from splitimpera.core.errors import (
    CodecError,
    CutError,
    DataError,
    OutputError,
    SplitImperaError,
    UnitError,
    printable,
    shown,
    shown_path,
)

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from splitimpera.core.array_types import FloatArray
    from splitimpera.graph.tracing import Example, ModelGraph
    from splitimpera.records.device import CutTime, PacedTimes, Profile

SLOWEST = 10
ELEMENTS_AT_MOST = 50_000_000
CODECS_AT_MOST = 100
DIMENSIONS_AT_MOST, DIGITS_AT_MOST = 10, 15
THREADS_AT_MOST, ROUNDS = 1024, (3, 1000)


def _frame_rate(given: object) -> float:
    from splitimpera.core import units
    from splitimpera.core.bounds import BOUNDS

    try:
        rate = units.parse(given, units.FREQUENCY)
    except UnitError as error:  # which Typer would take for a ValueError of its own
        raise DataError(error.problem, where="--fps", hint=error.hint) from None
    if not BOUNDS["fps"].holds(rate):
        raise DataError(f"'{shown(str(given))}' is out of range, it must be {BOUNDS['fps']}", where="--fps")
    return rate


def run(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=NETWORK)],
    shape: Annotated[str, typer.Option("--input", help="Shape of one input frame, such as 1,3,224,224.")] = "",
    data: Annotated[
        str, typer.Option(help="Use a sample of this data as the input: a built-in set, folder, or factory.")
    ] = "",
    weights: Annotated[Path | None, typer.Option(help="State dict for the network (.safetensors or .pt).")] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="INTEGER",
            parser=whole("--threads", 1, THREADS_AT_MOST),
            help="Number of PyTorch threads (default: PyTorch's choice).",
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="What runs heads and tails: eager, compile, or onnxruntime.")] = "eager",
    cuts: Annotated[
        str, typer.Option(help="Cuts whose heads and tails are timed: single, blocks, or indices such as 3,7.")
    ] = "single",
    codecs: Annotated[str, typer.Option(help="Codecs to time, separated by commas.")] = "float32,uint8",
    rounds: Annotated[
        int,
        typer.Option(
            metavar="INTEGER", parser=whole("--rounds", *ROUNDS), help="Number of times that everything is timed."
        ),
    ] = 30,
    fps: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            parser=_frame_rate,
            help="Also measure frames that come at this rate, such as 10, with idle time between them; a design then "
            "uses these times.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write the profile to (default: profile.json).")] = None,
    verbose: Verbose = 0,
) -> None:
    """Time a network on this machine: every layer, the head and tail at each cut, and codecs."""
    from splitimpera.core.files import check_file

    named = out or Path("profile.json")
    path = named.absolute()  # a network's code may go to another folder
    check_file(path, "--out")
    if out is None and path.exists():
        raise OutputError(
            f"'{shown_path(named)}' exists already",
            where="--out",
            hint=f"add --out {shown_path(named)} to replace it, or name another file",
        )
    if bool(shape) == bool(data):
        hint = "write for example --input 1,3,224,224 or --data digits"
        raise DataError("give either --input or --data, which say how large the input is", where="--input", hint=hint)

    from splitimpera.cli.terminal import console, progress
    from splitimpera.codec.codec_names import codec_kind
    from splitimpera.core.units import format_bytes
    from splitimpera.cost.engines import ENGINES
    from splitimpera.cost.measuring import chosen_cuts, profile_network
    from splitimpera.cost.profiles import write_profile
    from splitimpera.cost.work import uncosted
    from splitimpera.graph.tracing import trace
    from splitimpera.models.networks import load_network
    from splitimpera.scenario import NetworkSection, section_of

    with _option("--engine"):
        ENGINES[engine]
    names = list(dict.fromkeys(name.strip() for name in codecs.split(",") if name.strip()))
    with _option("--codecs"):
        if len(names) > CODECS_AT_MOST:
            raise CodecError(f"{len(names)} codecs are given, at most {CODECS_AT_MOST} are allowed")
        for name in names:
            if codec_kind(name).images_only:
                raise CodecError(f"'{name}' encodes images only", hint="name a codec for tensors, such as uint8")
    x = _sample(data) if data else _random(shape)
    with progress() as track:
        network = load_network(
            section_of(NetworkSection, {"model": "MODEL", "weights": "--weights"}, model=model, weights=weights),
            Path.cwd(),
            track,
        )
        graph = trace(network, x, say=lambda line: console.print(line, highlight=False))
        with _option("--cuts"):
            wanted = chosen_cuts(graph, _cuts(cuts))
        with _option("--engine"):
            profile = profile_network(
                graph,
                _tensors(x),
                network=model,
                cuts=wanted,
                codecs=names,
                threads=threads,
                engine=engine,
                rounds=rounds,
                fps=fps,
                track=track,
            )
    write_profile(profile, path)
    lines = partial(console.print, highlight=False, soft_wrap=True, markup=False, emoji=False)
    lines(f"{printable(profile.machine)}, {profile.threads} threads, {profile.engine}")
    console.print(_slowest(profile, graph))
    console.print(_cut_table(profile.cuts, graph, "Heads and tails, back to back"))
    if profile.paced is not None and profile.paced.cuts:
        console.print(_cut_table(profile.paced.cuts, graph, f"Heads and tails at {profile.paced.fps:g} frames/s"))
    lines(
        f"The whole network takes {_whole(profile)} per frame back to back; the process peaked at "
        f"{format_bytes(profile.peak_bytes)} of memory.",
        *([] if profile.paced is None else [f"At {profile.paced.fps:g} frames/s it takes {_whole(profile.paced)}."]),
        *_codec_lines(profile),
        sep="\n",
    )
    missing = uncosted(graph)
    if missing:
        lines(f"Operations whose MACs are unknown: {printable(', '.join(missing))}.")
    place = printable(str(named))
    lines(
        f"\nWritten to {place}. To use it in a scenario, for this machine:\n\n"
        f"    devices:\n      - {{name: ..., profile: {place}}}",
    )


@contextmanager
def _option(name: str) -> Iterator[None]:
    """Errors from inside name the option."""
    try:
        yield
    except SplitImperaError as error:
        raise error.at(name) from error.__cause__


def _random(shape: str) -> Tensor:
    import torch

    sides = [part.strip() for part in shape.split(",")]
    if len(sides) > DIMENSIONS_AT_MOST or not all(
        side.isascii() and side.isdecimal() and len(side) <= DIGITS_AT_MOST and int(side) > 0 for side in sides
    ):
        raise DataError(f"'{shown(shape)}' is not a shape", where="--input", hint="write for example 1,3,224,224")
    sizes = [int(side) for side in sides]
    if sizes[0] != 1:
        raise DataError(
            f"'{shown(shape)}' is a batch of {sizes[0]} frames, a profile needs one frame",
            where="--input",
            hint=f"write 1,{','.join(sides[1:])}",
        )
    if prod(sizes) > ELEMENTS_AT_MOST:
        raise DataError(
            f"'{shown(shape)}' is too large: {prod(sizes):.4g} elements, at most {ELEMENTS_AT_MOST:.4g} are allowed",
            where="--input",
        )
    return torch.randn(sizes, generator=torch.Generator().manual_seed(0))


def _sample(data: str) -> Example:
    from splitimpera.models.datasets import load_data
    from splitimpera.scenario import DataSection, section_of

    samples = load_data(section_of(DataSection, {"source": "--data"}, source=data), Path.cwd()).validation
    return samples.example(samples.read(slice(1)))


def _tensors(x: Example) -> tuple[Tensor, ...]:
    if isinstance(x, Mapping):
        return tuple(x.values())
    return x if isinstance(x, tuple) else (x,)


def _cuts(text: str) -> Literal["single", "blocks"] | list[int]:
    if text == "single":
        return "single"
    if text == "blocks":
        return "blocks"
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) <= DIGITS_AT_MOST for part in parts):
        raise CutError(f"'{shown(text)}' is not a list of cuts", hint="write single, blocks, or indices such as 3,7")
    return [int(part) for part in parts]


def _slowest(profile: Profile, graph: ModelGraph) -> Table:
    from rich.table import Table
    from rich.text import Text

    from splitimpera.core.units import format_count, format_time

    total_s = sum(layer.seconds for layer in profile.layers)
    table = Table(title=f"The slowest of {len(profile.layers)} layers; all layers take {format_time(total_s)}")
    table.add_column("layer", no_wrap=True)
    table.add_column("operation")
    for column in ("time", "share", "MACs", "MACs/s"):
        table.add_column(column, justify="right")
    slowest = sorted(zip(profile.layers, graph.layers, strict=True), key=lambda pair: -pair[0].seconds)
    for measured, layer in slowest[:SLOWEST]:
        rate = layer.macs / measured.seconds if measured.seconds else 0.0
        table.add_row(
            *(Text(printable(f"{layer.index} {layer.name}")), Text(printable(layer.operation))),
            format_time(measured.seconds),
            f"{measured.seconds / total_s:.1%}" if total_s else "",
            *(format_count(layer.macs), format_count(rate) if rate else ""),
        )
    return table


def _cut_table(cuts: Sequence[CutTime], graph: ModelGraph, title: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    from splitimpera.core.units import format_bytes, format_time

    table = Table(title=title)
    table.add_column("cut")
    for column in ("crosses", "head", "p95", "tail", "p95"):
        table.add_column(column, justify="right")
    for measured in cuts:
        cut = graph.cuts[measured.cut]
        table.add_row(
            Text(printable(f"{cut.index} {cut.name}")),
            format_bytes(cut.bytes),
            *map(format_time, (measured.head_s or 0.0, _p95(measured.head_samples_s))),
            *map(format_time, (measured.tail_s or 0.0, _p95(measured.tail_samples_s))),
        )
    return table


def _whole(times: Profile | PacedTimes) -> str:
    """Median and p95 of the whole network, in words."""
    from splitimpera.core.units import format_time

    if times.cuts:
        median_s, p95_s = times.cuts[-1].head_s or 0.0, _p95(times.cuts[-1].head_samples_s)
    else:
        median_s = times.call_s + sum(layer.seconds for layer in times.layers)
        p95_s = _p95(times.call_s + times.sums_s[:, -1])
    return f"{format_time(median_s)} (p95 {format_time(p95_s)})"


def _p95(samples_s: Sequence[float] | FloatArray) -> float:
    import numpy as np

    return float(np.percentile(samples_s, 95))


def _codec_lines(profile: Profile) -> Iterator[str]:
    from splitimpera.core.units import format_time

    for codec in profile.codecs:
        encode, decode = (
            f"{format_time(start_s)} plus {format_time(1e6 * per_byte_s)} per MB"
            for start_s, per_byte_s in (
                (codec.encode_start_s, codec.encode_per_byte_s),
                (codec.decode_start_s, codec.decode_per_byte_s),
            )
        )
        yield f"{codec.codec} takes {encode} to encode, and {decode} to decode."
