"""A network's layers between any two cuts as programs, on one device."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.utils._pytree import tree_leaves

from splitimpera.core.errors import CutError
from splitimpera.graph.moving import device_of
from splitimpera.graph.tracing import ModelGraph
from splitimpera.partition.cutter import segment as segment_of
from splitimpera.training.trained import TrainedSplit

Segment = tuple[int, int, float, float]
"""From which cut to which, and the ratios of the bottlenecks there, 0 for none."""
Program = Callable[..., tuple[Tensor, ...]]
"""Takes the tensors that cross a segment's start, returns those that cross its end."""


class Programs:
    """Programs of one network, each made when it is asked for.

    Args:
        graph: Traced network; the programs run where it lies.
    """

    def __init__(self, graph: ModelGraph) -> None:
        self.graph = graph
        self.device = device_of(graph)
        self._splits: dict[tuple[int, float], TrainedSplit] = {}
        self._programs: dict[Segment, Program] = {}

    def add_split(self, ratio: float, split: TrainedSplit) -> None:
        """Let programs use a trained bottleneck of this ratio; a copy where it lies on another device."""
        self._splits[split.cut.index, ratio] = split.beside(self.graph)

    def split(self, cut: int, ratio: float) -> TrainedSplit:
        """The trained split at a cut.

        Raises:
            CutError: none of this ratio was added there.
        """
        if (cut, ratio) not in self._splits:
            raise CutError(
                f"no bottleneck of ratio {ratio:g} was trained at cut {cut} ({self.graph.cuts[cut].name})",
                hint="train one with trained_split and hand it to Testbed.add_split",
            )
        return self._splits[cut, ratio]

    def between(self, segment: Segment) -> Program:
        """The program of a segment."""
        if segment not in self._programs:
            self._programs[segment] = self._made(*segment)
        return self._programs[segment]

    def _made(self, start: int, end: int, arriving: float, leaving: float) -> Program:
        if arriving and (start, arriving) == (end, leaving):
            return lambda *latents: latents  # they go on as they are
        if arriving and (leaving or end != len(self.graph.cuts) - 1):
            raise CutError("a plan has one bottleneck, in front of the last device that runs layers")
        if arriving:
            partition = self.split(start, arriving)
            return lambda *latents: tuple(tree_leaves(partition.predict(*latents)))
        program = segment_of(self.graph, self.graph.cuts[start], self.graph.cuts[end])
        if not leaving:
            return program
        before = self.split(end, leaving)
        if before.finetune_head:
            if start:
                raise CutError("a bottleneck whose head has weights of its own needs the whole head on one device")
            return lambda *inputs: before.encode(*before.head(*inputs))
        return lambda *crossing: before.encode(*program(*crossing))
