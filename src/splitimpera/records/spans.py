"""Which layers a device of a plan runs, and whose weights these have.

A bottleneck was trained with the layers behind it, its tail: they are those of the network with weights of their own.
So from a bottleneck on all devices run its tail's layers, as far as the next bottleneck, which has a tail of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

Place = tuple[int, float]
"""Where something crosses: a cut, and the ratio of the bottleneck there; 0: none."""
NETWORK: Place = (0, 0.0)
"""In place of a bottleneck: layers have the weights of the network itself."""


class Span(NamedTuple):
    """Which layers: from one cut to another, with the ratios of the bottlenecks there, 0 for none.

    Attributes:
        behind: The bottleneck of whose tail the layers are, where none is at `start`; `NETWORK`: they are its own.
    """

    start: int
    end: int
    arriving: float = 0.0
    leaving: float = 0.0
    behind: Place = NETWORK

    @property
    def empty(self) -> bool:
        """Whether nothing is to be run: what arrives leaves as it is."""
        return (self.start, self.arriving) == (self.end, self.leaving)

    @property
    def weights(self) -> Place:
        """The bottleneck of whose tail its layers are; `NETWORK`: they are the network's own."""
        return (self.start, self.arriving) if self.arriving else self.behind


def origins(places: Iterable[Place]) -> list[Place]:
    """Of what crosses at some places one after another, the bottleneck of whose tail the layers are that made it.

    Example:
        >>> origins([(3, 0.0), (5, 32.0), (5, 32.0), (8, 0.0), (9, 16.0)])
        [(0, 0.0), (0, 0.0), (0, 0.0), (5, 32.0), (5, 32.0)]
    """
    found, behind, before = list[Place](), NETWORK, NETWORK
    for place in places:
        if before[1] and place != before:
            behind = before
        found.append(behind)
        before = place
    return found


def spans_between(places: Sequence[Place], last: int) -> list[Span]:
    """Which layers each device of a plan runs, in order.

    Args:
        places: where it hops.
        last: The cut that only the result crosses.

    Example:
        >>> for span in spans_between([(5, 32.0), (8, 0.0)], 12):
        ...     print(tuple(span))
        (0, 5, 0.0, 32.0, (0, 0.0))
        (5, 8, 32.0, 0.0, (0, 0.0))
        (8, 12, 0.0, 0.0, (5, 32.0))
    """
    borders = [NETWORK, *places, (last, 0.0)]
    return [
        Span(start, end, arriving, leaving, NETWORK if arriving else behind)
        for ((start, arriving), (end, leaving)), behind in zip(pairwise(borders), origins(borders[1:]), strict=True)
    ]
