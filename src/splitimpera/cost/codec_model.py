"""How long codecs take on a machine that is not at hand: a model whose figures lie in `codecs.yaml` beside this file.

A codec is one stage or a few: its numbers (or, with an entropy code, numbers and code together), then what its
modifiers add. Each stage costs a start and so much for each of its units, and these the longer of what a core takes and
what their bytes take through the memory; the same figures always give the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml

from splitimpera.codec.codec_names import CODERS, CodecName, parsed
from splitimpera.codec.codecs import PACKET_BYTES
from splitimpera.codec.fec import Layout, repair_packets
from splitimpera.codec.quantised import BITS
from splitimpera.core.errors import CodecError
from splitimpera.records.device import Roofline

Direction = Literal["encode", "decode"]
DIRECTIONS: tuple[Direction, ...] = ("encode", "decode")

FLOAT_BITS = {"float32": 32, "float16": 16, "bfloat16": 16}
ZSTD_LEVEL = "3"


@dataclass(frozen=True)
class Stage:
    """What one step of coding costs on one core of the reference machine.

    Attributes:
        start_s: Seconds of a call.
        unit_s: Seconds of each unit, where its bytes lie in the caches.
        moved_bytes: what each unit reads and writes at least.
    """

    start_s: float
    unit_s: float
    moved_bytes: float


def modelled_s(name: str, direction: Direction, tensor_bytes: float, machine: Roofline, channels: int = 1) -> float:
    """Seconds that a codec takes for one frame on one core of a machine, no packet lost.

    Args:
        tensor_bytes: Size of what is coded, as float32.
        machine: its `core` and its `bytes_per_s`.
        channels: Channels of what is coded, for entropy codes with a model for each.

    Raises:
        UnknownNameError, CodecError: as `codec.codecs.parsed`.
    """
    seconds = 0.0
    for stage, units in _stages(parsed(name), direction, tensor_bytes / 4, channels):
        computing_s = units * stage.unit_s * machine.core
        seconds += stage.start_s * machine.core + max(computing_s, units * stage.moved_bytes / machine.bytes_per_s)
    return seconds


@cache
def figures() -> dict[str, Any]:
    """The content of `codecs.yaml`."""
    content: dict[str, Any] = yaml.safe_load((files("splitimpera.cost") / "codecs.yaml").read_bytes())
    return content


def reference() -> Roofline:
    """The machine on which the figures were measured, as far as coding is concerned."""
    return Roofline("reference", 0.0, float(figures()["reference"]["bytes_per_s"]), 0.0, 0, 0.0, "codecs.yaml")


def stage(name: str, direction: Direction) -> Stage:
    """One of the table's stages."""
    start_us, unit_ns, moved_bytes = figures()["stages"][name][direction]
    return Stage(start_us * 1e-6, unit_ns * 1e-9, moved_bytes)


def _stages(name: CodecName, direction: Direction, elements: float, channels: int) -> Iterator[tuple[Stage, float]]:
    """The stages of a codec, each with its number of units."""
    modifiers = name.modifiers
    coder = next((modifier for modifier in CODERS if modifier in modifiers), None)
    size = elements * _bits(name) / 8
    entropy = f"+{coder}" if coder in ("rans", "rans-packets") else ""
    yield stage(_base(name) + entropy, direction), elements
    if entropy and modifiers[str(coder)] == "channel":
        yield stage("channel model", direction), channels
    if "interleaved" in modifiers:
        yield stage(f"{entropy}+interleaved", direction), elements
    if coder == "zstd":
        yield stage(f"+zstd:{modifiers['zstd'] or ZSTD_LEVEL}", direction), size
    if "fec" in modifiers:
        packets = max(-(-round(size) // PACKET_BYTES), 1)
        repair = repair_packets(packets, int(modifiers["fec"]))
        yield stage("packet", direction), packets + repair
        if direction == "encode":
            groups = Layout(round(size), PACKET_BYTES, packets, repair).groups
            yield stage("repair", direction), packets * PACKET_BYTES * repair / groups


def _base(name: CodecName) -> str:
    if name.kind.family == "own":
        if not name.kind.like:
            raise CodecError(
                f"nobody measured how long '{name.base}' takes on other machines",
                where=name.text,
                hint="take a profile of the device (profile --codecs), or say with like= what takes as long",
            )
        return name.kind.like
    return "webp:lossy" if name.base == "webp" and name.argument else name.base


def _bits(name: CodecName) -> float:
    """Of an element as it is written; what an entropy code or image format saves is not known before."""
    return {**FLOAT_BITS, **BITS}.get(_base(name), 8)
