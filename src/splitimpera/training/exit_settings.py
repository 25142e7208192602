"""What may be chosen about early exits: where they are, how they are trained, when a frame leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from splitimpera.core.errors import CutError, ScenarioError, listed
from splitimpera.graph.tracing import ModelGraph
from splitimpera.partition.autoencoder import fits
from splitimpera.records.graph import Cut

HeadKind = Literal["linear", "conv"]
MOST_EXITS = 3


@dataclass(frozen=True)
class ExitTraining:
    """How the heads of exits are trained. `exits.train` in a scenario.

    Attributes:
        head: "linear": means over space and one linear layer. "conv": a convolution of 3 x 3 in front of that.
        epochs: Most epochs of each head, and once more of all where the network is trained with them.
        joint: Whether the network itself is trained on, with its exits.
        distill: Weight of the distance to the network's own answers; the labels' cross-entropy has the rest.
        weight: Weight of the mean loss of the exits where the network is trained with them; its own has 1.
        learning_rate: Highest learning rate of the heads (AdamW, one cycle).
        joint_learning_rate: That of the network that is trained with its exits.
        batch: Number of samples in a batch, 2 or more.
        held_out: Share of the samples that is not trained on, where no others are given for it.
        patience: Number of epochs in a row without a lower loss on held-out samples after which a training ends.
        seed: Seed of the first weights, the held-out part and the order of the samples.

    Raises:
        ScenarioError: a value is out of range.
    """

    head: HeadKind = "linear"
    epochs: int = 40
    joint: bool = False
    distill: float = 0.5
    weight: float = 1.0
    learning_rate: float = 0.01
    joint_learning_rate: float = 0.001
    batch: int = 64
    held_out: float = 0.15
    patience: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.head in get_args(HeadKind), "head", self.head, "linear or conv")
        _require(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        _require(0 <= self.distill <= 1, "distill", self.distill, "0 to 1")
        _require(0 < self.weight < math.inf, "weight", self.weight, "above 0")
        for name in ("learning_rate", "joint_learning_rate"):
            _require(0 < getattr(self, name) < math.inf, name, getattr(self, name), "above 0")
        _require(self.batch >= 2, "batch", self.batch, "2 or more")
        _require(0 < self.held_out < 1, "held_out", self.held_out, "above 0 and below 1")
        _require(self.patience >= 1, "patience", self.patience, "1 or more")

    @property
    def alone(self) -> ExitTraining:
        """That of heads for a network that stays as it is: what is said of joint training does not count."""
        return replace(self, joint=False, weight=1.0, joint_learning_rate=0.001)

    def numbers(self) -> dict[str, Any]:
        """All of them, as JSON can write it."""
        return dict(vars(self))


@dataclass(frozen=True)
class ExitSettings:
    """The section `exits` of a scenario.

    Attributes:
        at: Layers after which there are exits, by name or index of the cut; empty: `auto_cuts`.
        train: How their heads are trained.
        threshold: At which confidence a frame leaves: one number; one for each class, by its number; "auto": chosen,
            one for each exit; "per class": chosen, one for each exit and class.
    """

    at: tuple[str | int, ...] = ()
    train: ExitTraining = field(default_factory=ExitTraining)
    threshold: float | Mapping[int, float] | Literal["auto", "per class"] = "auto"


def exit_cuts(graph: ModelGraph, at: Sequence[str | int] = (), most: int = MOST_EXITS) -> tuple[Cut, ...]:
    """The cuts that exits are to lie behind, in order, each once.

    Args:
        at: as `ExitSettings` has it.
        most: How many where none is named.

    Raises:
        CutError: there is no such cut, it is the first or last one, or a head cannot read what crosses it.
    """
    if not at:
        return auto_cuts(graph, most)
    try:
        cuts = {cut.index: cut for cut in map(graph.cut, at)}
    except CutError as error:
        raise error.at("exits.at") from None
    for cut in cuts.values():
        if not 0 < cut.index < len(graph.cuts) - 1:
            raise CutError(
                f"cut {cut.index} ({cut.name}) lies {'in front of' if not cut.index else 'behind'} all layers",
                where="exits.at",
                hint="an exit lies behind some of the layers and in front of others",
            )
        if not graph.apart or not _readable(cut):
            others = listed(f"{other.index} ({other.name})" for other in auto_cuts(graph, most))
            raise CutError(
                f"what crosses cut {cut.index} ({cut.name}) mixes frames, or has nothing in it that a head can read",
                where="exits.at",
                hint=f"possible are {others}" if others else "this network can have no exits",
            )
    return tuple(cuts[index] for index in sorted(cuts))


def auto_cuts(graph: ModelGraph, most: int = MOST_EXITS) -> tuple[Cut, ...]:
    """A few cuts, spread evenly over the network's work: those nearest to 1/4, 2/4 and 3/4 of its MACs.

    What an exit saves is the work behind it, and how much it knows grows with the work in front of it, so that evenly
    spread ones are never far from any compromise. Where blocks of the network end and one tensor crosses, that tensor
    is all that is known so far, and little is to be read; other cuts are taken only where there is no such place.
    """
    inside = [cut for cut in graph.cuts[1:-1] if graph.apart and _readable(cut)]
    inside = [cut for cut in inside if cut.macs_head and cut.macs_tail]  # else there is nothing to read, or to save
    cuts = [cut for cut in inside if cut.block] or [cut for cut in inside if cut.single] or inside
    found = dict[int, Cut]()
    for part in range(1, most + 1):
        for cut in sorted(cuts, key=lambda cut: abs(_share(cut) - part / (most + 1)))[:1]:
            found[cut.index] = cut
    return tuple(found[index] for index in sorted(found))


def _share(cut: Cut) -> float:
    return cut.macs_head / (cut.macs_head + cut.macs_tail)


def _readable(cut: Cut) -> bool:
    return all(spec.batch_dim is not None for spec in cut.tensors) and any(map(fits, cut.tensors))


def _require(holds: bool, where: str, given: object, expected: str) -> None:
    if not holds:
        raise ScenarioError(f"{given} is out of range, it must be {expected}", where=f"exits.train.{where}")
