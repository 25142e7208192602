"""Lost packets as the decoders of latents see them: blocks of elements that are zero."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from splitimpera.core.errors import ScenarioError


def packets_of(elements: int, packet_elements: int, order: Tensor | None = None) -> Tensor:
    """The packet in which each element travels, int64 (elements,), counted from 0.

    Args:
        elements: elements of one frame's latents, numbered as they lie in memory, one latent after the other.
        packet_elements: elements in a packet; the last one may carry fewer.
        order: the numbers of the elements in the order in which they are sent, (elements,); None: as they lie.

    Raises:
        ScenarioError: fewer than one element in a packet, or an order that is no permutation of all elements.
    """
    if packet_elements < 1:
        raise ScenarioError(f"a packet carries 1 element or more, not {packet_elements}", where="packet_elements")
    places = torch.arange(elements)
    if order is None:
        return places // packet_elements
    order = order.to(device="cpu", dtype=torch.int64)
    if order.shape != (elements,) or not torch.equal(order.sort().values, places):
        raise ScenarioError(
            f"the order of shape {tuple(order.shape)} does not name each of the latents' {elements} elements once",
            where="order",
        )
    packets = torch.empty_like(places)
    packets[order] = places // packet_elements
    return packets


def lose_packets(
    latents: Sequence[Tensor],
    packets: Tensor,
    rates: Tensor,
    generator: torch.Generator,
    coded: Sequence[bool] = (),
) -> tuple[Tensor, ...]:
    """A batch of latents after independent losses.

    Args:
        latents: (N, ...) each; in a frame's payload one lies after the other.
        packets: What `packets_of` returned for all elements of a frame.
        rates: the probability that a packet is lost, for each frame, (N,).
        coded: which of them are latents: the others take their place in packets, and nothing of them is lost. Left
            out, all are.

    Of each frame at least one packet arrives: one of which nothing came has no output that could be trained for.
    SI-NR and COMtune drop single elements in the same place.
    """
    draws = torch.rand(len(rates), int(packets.max()) + 1, generator=generator)
    lost = draws < rates[:, None]
    lost.scatter_(1, draws.argmax(1, keepdim=True), False)
    carried = torch.split(packets, [latent.numel() // len(rates) for latent in latents])
    return tuple(
        latent.masked_fill(lost[:, own].reshape(latent.shape).to(latent.device), 0) if loses else latent
        for latent, own, loses in zip(latents, carried, coded or [True] * len(latents), strict=True)
    )
