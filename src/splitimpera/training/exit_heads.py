"""The trained heads of a network's exits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from splitimpera.core.errors import CutError, ModelError, SplitImperaError
from splitimpera.cost.work import Work, part_work
from splitimpera.graph.tracing import ModelGraph
from splitimpera.records.exits import ExitCosts
from splitimpera.records.graph import Cut
from splitimpera.training.checkpoints import without_prefix
from splitimpera.training.exit_head import ExitHead
from splitimpera.training.exit_settings import HeadKind
from splitimpera.training.temperature import Calibrated
from splitimpera.training.trained import weights_of
from splitimpera.training.weight_files import pack, unpack

KIND = "heads of exits"


@dataclass(frozen=True, eq=False)
class TrainedExit:
    """One exit: a cut, and the head that reads what crosses it.

    Attributes:
        cut: Behind which it lies.
        head: Takes the tensors that cross, returns logits (N, classes); in eval mode, its weights are frozen.
        accuracy: The task's quality of its answers on the held-out samples.
        calibration: What its temperature does there.
        losses: On the held-out samples, before the first epoch and after each.
    """

    cut: Cut
    head: ExitHead
    accuracy: float
    calibration: Calibrated
    losses: tuple[float, ...]

    @cached_property
    def work(self) -> Work:
        """What the head costs: multiply-accumulates, bytes moved, weights and memory, of one frame."""
        return part_work(self.head, *self.cut.tensors)

    def facts(self) -> dict[str, Any]:
        """All but the weights, as JSON can write it."""
        return {
            "cut": self.cut.index,
            "crossing": list(self.cut.crossing),
            "kind": self.head.kind,
            "classes": self.head.linear.out_features,
            "accuracy": self.accuracy,
            "calibration": asdict(self.calibration),
            "losses": list(self.losses),
        }

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], graph: ModelGraph) -> TrainedExit:
        cut, kind = graph.cuts[int(facts["cut"])], facts["kind"]
        if list(cut.crossing) != facts["crossing"]:
            raise ValueError(f"cut {cut.index} is another one in this network")
        head = ready(ExitHead(cut.tensors, int(facts["classes"]), kind))
        head.load_state_dict(dict(tensors))
        calibration = Calibrated(**{name: _pair(value) for name, value in facts["calibration"].items()})
        return cls(cut, head, facts["accuracy"], calibration, tuple(facts["losses"]))


@dataclass(frozen=True, eq=False)
class TrainedExits:
    """The exits of one network, in the order of their cuts.

    Attributes:
        exits: each with its head.
        network: Checksum of the weights of the network that they belong to.
        network_accuracy: The task's quality of that network on the held-out samples.
        held_out: how many samples these are.
    """

    exits: tuple[TrainedExit, ...]
    network: str
    network_accuracy: float
    held_out: int

    @property
    def cuts(self) -> tuple[int, ...]:
        """The indices of the cuts."""
        return tuple(each.cut.index for each in self.exits)

    def at(self, cut: int) -> TrainedExit:
        """The exit behind a cut.

        Raises:
            CutError: there is none.
        """
        if cut not in self.cuts:
            raise CutError(f"there is no exit behind cut {cut}", hint=f"those behind {[*self.cuts]} are trained")
        return self.exits[self.cuts.index(cut)]

    @property
    def macs(self) -> ExitCosts:
        """What a frame costs in multiply-accumulates."""
        cuts = [each.cut for each in self.exits]
        layers = [*(cut.macs_head for cut in cuts), *(cut.macs_head + cut.macs_tail for cut in cuts[-1:])]
        return ExitCosts(tuple(map(float, layers)), tuple(float(each.work.macs) for each in self.exits))

    def to_bytes(self, more: Mapping[str, Tensor] | None = None) -> bytes:
        """A safetensors file's content: the heads' weights, and `more` beside them."""
        tensors = {
            f"{each.cut.index}.{name}": value for each in self.exits for name, value in each.head.state_dict().items()
        }
        facts = {
            "version": 1,
            "exits": [each.facts() for each in self.exits],
            "network": self.network,
            "network_accuracy": self.network_accuracy,
            "held_out": self.held_out,
        }
        return pack(KIND, {**tensors, **(more or {})}, facts)

    @classmethod
    def from_bytes(cls, content: bytes, graph: ModelGraph) -> TrainedExits:
        """What `to_bytes` wrote, for the network that they were trained for.

        Raises:
            ModelError: the content is damaged, or belongs to another network.
        """
        try:
            tensors, facts = unpack(KIND, content)
            if facts["network"] != weights_of(graph):
                raise ValueError("they were trained for a network of other weights")
            exits = tuple(
                TrainedExit.of_facts(each, without_prefix(tensors, f"{each['cut']}."), graph) for each in facts["exits"]
            )
            return cls(exits, facts["network"], facts["network_accuracy"], int(facts["held_out"]))
        except (SplitImperaError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as failure:
            words = (str(failure).splitlines() or [""])[0]
            raise ModelError(f"these heads of exits do not fit the network: {words}") from None


def ready(head: ExitHead) -> ExitHead:
    """The head in eval mode and without gradients; it can no longer be trained by accident."""
    head.zero_grad(set_to_none=True)
    return head.eval().requires_grad_(False)


def untrained(cut: Cut, classes: int, kind: HeadKind) -> ExitHead:
    """A new head for a cut.

    Raises:
        CutError: nothing crosses there that it can read.
    """
    try:
        return ExitHead(cut.tensors, classes, kind)
    except CutError as error:
        raise error.at("exits.at") from None


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
