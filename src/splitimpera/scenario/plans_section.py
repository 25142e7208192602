"""The scenario's sections on the plans to evaluate, and on bottlenecks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from splitimpera.scenario.base_section import Section
from splitimpera.scenario.quantities import MOST_ENTRIES, Cuts, Factor, Fraction, Names, Row


class PlansSection(Section):
    """The plans to evaluate."""

    cuts: Literal["candidates", "blocks", "single", "all"] | Cuts = "candidates"
    """`candidates` (the peaks of the cumulative-saliency curve, and the cuts that CDE would choose), `blocks` (between
    blocks, where one tensor crosses), `single` (wherever one tensor crosses), `all`, or a list of layer names or
    indices."""
    codecs: Annotated[Names, Field(min_length=1)] = ["float32", "uint8"]
    """Codecs for the tensors that cross a cut, and for the input."""
    input_codecs: Names = []
    """More codecs for the input: any of these, and image codecs."""
    transports: Annotated[Names, Field(min_length=1)] = ["tcp", "udp"]
    """`tcp` (CUBIC, also `tcp-cubic`), `tcp-reno`, `udp`, `udp-interleaved` (a frame's packets are sent in strides, so
    that a burst of losses does not hit neighbours), `udp-arq` (lost packets are sent again while they can arrive
    before the deadline)."""


class BottlenecksSection(Section):
    """Trained autoencoders that shrink what crosses, and how they are trained."""

    ratios: Annotated[list[Annotated[Factor, Field(gt=1, le=1e6)]], Field(max_length=MOST_ENTRIES)] = []
    """Compression ratios: elements that cross the cut / elements sent, all tensors together."""
    cuts: Cuts | None = None
    """A list of layer names or indices. Default: those of `plans`."""
    codecs: Annotated[Names, Field(min_length=1)] = ["uint8"]
    """Codecs for the latents."""
    epochs: Row[tuple[Annotated[int, Field(ge=0, le=10_000)], Annotated[int, Field(ge=0, le=10_000)]]] = (20, 20)
    """Largest number of training epochs, of the bottleneck alone and end to end."""
    bits: Annotated[int, Field(ge=1, le=16)] | None = 8
    """Number of bits to which latents are quantised in training; `null`: not at all."""
    packet_loss: Annotated[Fraction, Field(ge=0, lt=1)] = 0.0
    """Packets are lost in training, at up to this rate, so that losses cost less later."""
    finetune_head: bool = False
    """Train a copy of the head too."""
