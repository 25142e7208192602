"""The heads of early exits in their engine, held to those in PyTorch: the same frames leave, with the same class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from splitimpera.core.array_types import Array, Row
from splitimpera.core.errors import BundleError
from splitimpera.deploy.exit_gates import Said
from splitimpera.deploy.halves import DeviceHalf
from splitimpera.evaluation.batches import stack
from splitimpera.evaluation.testbed import Testbed
from splitimpera.records.exits import GOES_ON
from splitimpera.records.spans import Span

NEAR = 1e-4
"""How near a confidence may be to its threshold, or to that of the next class, for engines to decide otherwise."""


class ExitProof:
    """What becomes of frames at the exits of a device's half.

    Args:
        half: Of a plan with exits.
        testbed: With the heads of these.

    Attributes:
        left_at: Of each frame the place of the exit at which it left; `GOES_ON`: at none.
        differing: How many frames another head in PyTorch would decide otherwise on, and not by a hair.
    """

    def __init__(self, half: DeviceHalf, testbed: Testbed) -> None:
        assert half.exits is not None
        self.half, self.exits, self.testbed = half, half.exits, testbed
        self.left_at: list[int] = []
        self.differing = 0

    def take(self, rows: Sequence[Row]) -> list[Row | None]:
        """The responses to some frames that leave, the network's inputs; None to those that go on."""
        return [self._taken(row, logits) for row, logits in zip(rows, self._references(rows), strict=True)]

    def _taken(self, row: Row, references: Sequence[Array]) -> Row | None:
        found = [said for _, said in self.exits.looks(row)]
        wanted = [gate.said(logits) for gate, logits in zip(self.exits.gates, references, strict=True)]
        self.differing += any(
            _decision(one) != _decision(other) and not (_near(one) or _near(other))
            for one, other in zip(found, wanted, strict=True)
        )
        self.left_at.append(next((place for place, said in enumerate(found) if said.leaves), GOES_ON))
        return None if self.left_at[-1] == GOES_ON else self.half.named_by(found[self.left_at[-1]])

    def _references(self, rows: Sequence[Row]) -> Iterator[tuple[Array, ...]]:
        """What each head says in PyTorch of what the network's own layers make of each frame."""
        at, crossing, found = 0, stack(rows, self.testbed.specs(0, 0.0)), list[Array]()
        for gate in self.exits.gates:
            crossing, at = self.testbed.call(Span(at, gate.cut), crossing), gate.cut
            found.append(self.testbed.look(gate.cut, crossing).numpy())
        return zip(*found, strict=True)

    @property
    def left(self) -> list[float]:
        """Share of frames that leave at each exit."""
        return [self.left_at.count(place) / max(len(self.left_at), 1) for place in range(len(self.exits.gates))]

    def check(self, plan: str) -> None:
        """Refuse heads that decide otherwise.

        Raises:
            BundleError: with the number of frames.
        """
        if self.differing:
            raise BundleError(
                f"the heads of the early exits decide otherwise than in PyTorch on {self.differing} of "
                f"{len(self.left_at)} validation samples. Nothing was written",
                where=f"plan '{plan}'",
                hint="try the other engine ('--engine torch'), and report the network for which this happens",
            )


def _decision(said: Said) -> tuple[bool, int]:
    """Whether a frame leaves, and with which class."""
    return said.leaves, int(said.logits.argmax()) if said.leaves else 0


def _near(said: Said) -> bool:
    """Whether rounding may decide otherwise."""
    exact = said.logits.astype(np.float64)
    shares = np.sort(np.exp(exact - exact.max()) / np.exp(exact - exact.max()).sum())
    return bool(abs(said.confidence - said.needed) <= NEAR or np.diff(shares[-2:]).sum() <= NEAR)
