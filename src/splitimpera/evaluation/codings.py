"""How hops code what crosses them, and what the device between two hops has to do for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from splitimpera.codec.framing import IP_UDP_HEADER_BYTES
from splitimpera.core.array_types import IntArray
from splitimpera.records.plan import Hop
from splitimpera.records.spans import NETWORK, Place, Span, origins

Segment = tuple[int, int, float, float]
"""Layers that take time and memory: from which cut to which, and the ratios of the bottlenecks there, 0 for none.

Whose weights they have makes no difference to either.
"""
LEAST = 0.8
"""How much smaller than the smallest of a few payloads one may be whose size depends on the sample."""


class Coding(NamedTuple):
    """How a hop codes: what crosses, by which codec; a packet has room for so many bytes.

    Attributes:
        behind: The bottleneck of whose tail the layers are that made what crosses; `NETWORK`: they are its own. What it
            was made of, and by which bottlenecks before that one, makes no difference to the codec.
    """

    cut: int
    codec: str
    bottleneck: float
    packet_bytes: int
    behind: Place = NETWORK

    def onwards(self, end: int, leaving: float = 0.0) -> Span:
        """The layers behind it."""
        return Span(self.cut, end, self.bottleneck, leaving, NETWORK if self.bottleneck else self.behind)


class Provisional(NamedTuple):
    """What is known of payloads before all samples were coded.

    Attributes:
        sizes: bytes of those of some samples, shape (n,).
        fixed: whether all have this size, whatever they hold.
        element_bytes: the size of an element, which no packet cuts.
    """

    sizes: IntArray
    fixed: bool
    element_bytes: int

    @property
    def least_bytes(self) -> int:
        """The least that a payload may take, from those of a few samples."""
        least = int(self.sizes.min())
        return least if self.fixed else max(1, int(min(LEAST * least, self.sizes.mean() - 4 * self.sizes.std())))


def coding_of(hop: Hop, behind: Place = NETWORK) -> Coding:
    """How a hop codes; without `behind` that of what the network itself makes, which takes as long."""
    room = hop.link.mtu_bytes - IP_UDP_HEADER_BYTES - hop.link.app_header_bytes
    return Coding(hop.cut, hop.codec, hop.bottleneck, room, behind)


def route_of(hops: Sequence[Hop]) -> tuple[Coding, ...]:
    """How the hops of a plan code, one after another."""
    return tuple(map(coding_of, hops, origins(map(_place, hops))))


def rests(arriving: Hop | None, leaving: Hop | None) -> bool:
    """Whether a device between two hops runs no layer: what crosses is the same."""
    return arriving is not None and leaving is not None and _place(arriving) == _place(leaving)


def forwards(arriving: Hop | None, leaving: Hop | None) -> bool:
    """Whether it hands payloads on as they came, where nothing of them is missing: they would be coded alike."""
    return arriving is not None and leaving is not None and coding_of(arriving) == coding_of(leaving)


def _place(hop: Hop) -> tuple[int, float]:
    return hop.cut, hop.bottleneck


class Around(TypedDict):
    """The ratios of the bottlenecks around a run of layers, 0 for none."""

    arriving: float
    leaving: float


def around(arriving: Hop | None, leaving: Hop | None) -> Around:
    """The bottlenecks of the hops on either side of a device."""
    return {"arriving": arriving.bottleneck if arriving else 0.0, "leaving": leaving.bottleneck if leaving else 0.0}
