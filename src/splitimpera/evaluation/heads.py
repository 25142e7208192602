"""The heads of early exits that plans of one testbed may have, by the cut behind which each looks."""

from __future__ import annotations

from copy import deepcopy

from torch import nn

from splitimpera.core.errors import CutError
from splitimpera.cost.work import Work, part_work
from splitimpera.graph.moving import device_of
from splitimpera.graph.tracing import ModelGraph
from splitimpera.training.weight_files import digest

Places = tuple[int, ...]
"""The cuts behind which exits lie, in order."""


class ExitHeads:
    """Heads where the network is timed, and copies of them where it is run on samples.

    Args:
        here: the traced network as it was given.
        there: its copy where samples are run; itself where that is the same place.
    """

    def __init__(self, here: ModelGraph, there: ModelGraph) -> None:
        self.graph = here
        self._there = there
        self._heads: dict[int, tuple[nn.Module, nn.Module]] = {}
        self._works: dict[int, Work] = {}

    def add(self, cut: int, head: nn.Module) -> None:
        """Let plans have an exit behind a cut.

        Args:
            head: takes what crosses the cut, one tensor each, and returns logits (N, classes), divided by its
                temperature.
        """
        head = head.eval().requires_grad_(False)
        there = head if self._there is self.graph else deepcopy(head).to(device_of(self._there))
        self._heads[cut] = head, there
        self._works.pop(cut, None)

    def head(self, cut: int, there: bool = False) -> nn.Module:
        """The head behind a cut.

        Args:
            there: the one where samples are run.

        Raises:
            CutError: none was added there.
        """
        if cut not in self._heads:
            raise CutError(
                f"there is no head for an exit behind cut {cut} ({self.graph.cuts[cut].name})",
                hint="train one and hand it to Testbed.add_exit",
            )
        return self._heads[cut][there]

    def work(self, cut: int) -> Work:
        """What a head computes and needs for one frame."""
        if cut not in self._works:
            self._works[cut] = part_work(self.head(cut), *self.graph.cuts[cut].tensors)
        return self._works[cut]

    def digest(self, cut: int) -> str:
        """A digest of a head's weights and layers."""
        head = self.head(cut)
        return digest(str(head), {**dict(head.named_parameters()), **dict(head.named_buffers())})
