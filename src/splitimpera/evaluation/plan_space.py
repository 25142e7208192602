"""The plans of a design: LC, RC, and SC at every chosen cut, each with every codec and transport."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from splitimpera.codec.codecs import takes_images
from splitimpera.records.device import Device
from splitimpera.records.graph import Cut
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan

INPUT_CODECS = ("uint8", "png")


def build_plans(
    devices: tuple[Device, Device],
    link: Link,
    cuts: Sequence[Cut],
    split_at: Iterable[int],
    *,
    codecs: Sequence[str],
    input_codecs: Sequence[str] = (),
    transports: Sequence[str],
    bottlenecks: Iterable[tuple[int, float]] = (),
    latent_codecs: Sequence[str] = (),
) -> list[Plan]:
    """All plans for one link between two devices.

    Args:
        cuts: all cuts of the network.
        split_at: indices of the cuts that get SC plans.
        codecs: for what crosses a cut, the input included.
        input_codecs: further codecs for the input. It is always also sent as raw 8-bit values and, where it is a
            picture, as PNG: a split that beats only a float32 input proves nothing.
        bottlenecks: cuts, and the compression ratios of trained bottlenecks there.
        latent_codecs: for what these send.
    """
    always = INPUT_CODECS if takes_images(cuts[0].tensors) else INPUT_CODECS[:1]
    for_input = tuple(dict.fromkeys((*codecs, *always, *input_codecs)))
    digits = len(str(len(cuts) - 1))

    def hops(cut: int, names: Iterable[str], ratio: float = 0.0) -> Iterator[Hop]:
        for codec in names:
            for transport in transports:
                yield Hop(cut, codec, transport, link, ratio)

    plans = [Plan("LC", devices[:1])]
    plans += [Plan(f"RC-{_words(hop)}", devices, (hop,)) for hop in hops(0, for_input)]
    for cut in split_at:
        plans += [Plan(f"SC{cut:0{digits}}-{_words(hop)}", devices, (hop,)) for hop in hops(cut, dict.fromkeys(codecs))]
    for cut, ratio in bottlenecks:
        latents = hops(cut, dict.fromkeys(latent_codecs), ratio)
        plans += [Plan(f"SC{cut:0{digits}}-b{ratio:g}-{_words(hop)}", devices, (hop,)) for hop in latents]
    return plans


def _words(hop: Hop) -> str:
    return f"{hop.codec.replace(':', '')}-{hop.transport}"
