"""Early exits at run time: whether a frame leaves, and with which answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from splitimpera.bundle.exit_entries import ExitEntry, HeadEntry
from splitimpera.bundle.manifest import Manifest, PlanEntry, pieces
from splitimpera.bundle.segments import chained
from splitimpera.core.array_types import Array, Row
from splitimpera.core.errors import BundleError
from splitimpera.deploy.machine_layers import Layers, LoadedPrograms
from splitimpera.records.exits import confidences


@dataclass(frozen=True)
class Said:
    """What the head of an exit says of a frame.

    Attributes:
        cut: Behind which it looked.
        logits: (classes,).
        confidence: 0 to just below 1.
        needed: From which confidence on a frame of the class that it found leaves.
    """

    cut: int
    logits: Array
    confidence: float
    needed: float

    @property
    def leaves(self) -> bool:
        """Whether the head is sure enough.

        Example:
            >>> import numpy as np
            >>> [Said(3, np.zeros(2), sure, 0.9).leaves for sure in (0.89, 0.9)]
            [False, True]
        """
        return self.confidence >= self.needed


@dataclass(frozen=True)
class Gate:
    """The layers in front of an exit, its head, and when a frame is sure enough.

    Attributes:
        layers: Those behind the gate before.
        thresholds: One for all classes, or one for each.
    """

    cut: int
    layers: Layers
    head: Layers
    thresholds: tuple[float, ...]

    def __call__(self, frame: Sequence[Array]) -> tuple[Row, Said]:
        """What crosses behind the layers, and what the head says of it."""
        (crossing,) = self.layers([frame])
        ((logits,),) = self.head([crossing])
        (wanted,) = self.head.outputs
        if logits.shape != wanted.shape:
            raise BundleError(f"the head behind cut {self.cut} returns {logits.shape}, {wanted.shape} are expected")
        return crossing, self.said(logits)

    def said(self, logits: Array) -> Said:
        """What some logits of the head mean."""
        sure, found = confidences(logits)
        needed = self.thresholds[int(found)] if len(self.thresholds) > 1 else self.thresholds[0]
        return Said(self.cut, logits, float(sure), needed)


@dataclass(frozen=True)
class Exits:
    """The layers of a machine whose frames may leave early.

    Attributes:
        gates: In the order of the frames' way.
        behind: The layers behind the last one.
        outputs: How many tensors the network returns.
    """

    gates: tuple[Gate, ...]
    behind: Layers
    outputs: int

    def __call__(self, frame: Row) -> tuple[Row, Said]:
        """What comes of a frame, as far as it goes, and what the last head says that looked at it."""
        for gate in self.gates:
            frame, said = gate(frame)
            if said.leaves:
                return frame, said
        (made,) = self.behind([frame])
        return made, said

    def looks(self, frame: Row) -> Iterator[tuple[Row, Said]]:
        """What crosses at each exit and what its head says of it, whether or not the frame leaves."""
        for gate in self.gates:
            frame, said = gate(frame)
            yield frame, said

    def warm_up(self, frame: Row) -> None:
        """Run all of it once, wherever the frame would leave."""
        self.behind([[crossing for crossing, _ in self.looks(frame)][-1]])


def exits_of(loaded: LoadedPrograms, manifest: Manifest, plan: PlanEntry) -> Exits | None:
    """The early exits of a plan; None: it has none."""
    if not plan.exits:
        return None
    part = manifest.part(plan.machines[0])
    *fronts, rest = (chained(part.segments, piece) for piece in pieces(plan, manifest.last))

    def gate(exit: ExitEntry, head: HeadEntry, layers: Layers) -> Gate:
        return Gate(exit.cut, layers, loaded.row([head]), tuple(exit.thresholds))

    gates = tuple(map(gate, plan.exits, part.heads, map(loaded.row, fronts)))
    crossing = gates[-1].layers.outputs
    behind = loaded.row(rest) if rest else Layers(crossing, crossing, None)
    return Exits(gates, behind, len(manifest.result))
