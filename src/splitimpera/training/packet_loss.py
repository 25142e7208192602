"""Lost packets as the decoder of a latent sees them: blocks of elements that are zero."""

from __future__ import annotations

import torch
from torch import Tensor

from splitimpera.core.errors import ScenarioError


def packets_of(elements: int, packet_elements: int, order: Tensor | None = None) -> Tensor:
    """The packet in which each element travels, int64 (elements,), counted from 0.

    Args:
        elements: elements of one frame's latent, numbered as they lie in memory.
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
            f"the order of shape {tuple(order.shape)} does not name each of the latent's {elements} elements once",
            where="order",
        )
    packets = torch.empty_like(places)
    packets[order] = places // packet_elements
    return packets


def lose_packets(latent: Tensor, packets: Tensor, rates: Tensor, generator: torch.Generator) -> Tensor:
    """A batch of latents after independent losses.

    Args:
        latent: (N, ...).
        packets: What `packets_of` returned.
        rates: the probability that a packet is lost, for each frame, (N,).

    Of each frame at least one packet arrives: one of which nothing came has no output that could be trained for.
    SI-NR and COMtune drop single elements in the same place.
    """
    draws = torch.rand(len(latent), int(packets.max()) + 1, generator=generator)
    lost = draws < rates[:, None]
    lost.scatter_(1, draws.argmax(1, keepdim=True), False)
    return latent.masked_fill(lost[:, packets].reshape(latent.shape).to(latent.device), 0)
