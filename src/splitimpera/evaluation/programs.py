"""A network's layers between any two cuts as programs, on one device."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from splitimpera.core.errors import CutError
from splitimpera.graph.moving import device_of
from splitimpera.graph.tracing import ModelGraph
from splitimpera.partition.cutter import segment as segment_of
from splitimpera.records.spans import NETWORK, Span
from splitimpera.training.trained import TrainedSplit

Program = Callable[..., tuple[Tensor, ...]]
"""Takes the tensors that cross a span's start, returns those that cross its end."""


class Programs:
    """Programs of one network, each made when it is asked for.

    Args:
        graph: Traced network; the programs run where it lies.
    """

    def __init__(self, graph: ModelGraph) -> None:
        self.graph = graph
        self.device = device_of(graph)
        self._splits: dict[tuple[int, float], TrainedSplit] = {}
        self._programs: dict[Span, Program] = {}

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

    def between(self, span: Span) -> Program:
        """The program of a span, with the parts of the bottlenecks at its ends.

        Raises:
            CutError: it lacks a bottleneck, or divides a head with weights of its own.
        """
        if span not in self._programs:
            self._programs[span] = self._made(span)
        return self._programs[span]

    def layers(self, span: Span) -> fx.GraphModule:
        """The layers of a span without these parts: the network's, or those of the tail of the bottleneck before.

        Raises:
            CutError: as `between`.
        """
        graph, (cut, ratio) = self.graph, span.weights
        tail = self.split(cut, ratio).tail.program if ratio else None
        if tail is not None and (span.start, span.end) == (cut, len(graph.cuts) - 1):
            return tail
        return segment_of(graph, graph.cuts[span.start], graph.cuts[span.end], tail)

    def own_head(self, span: Span) -> fx.GraphModule | None:
        """The head that belongs to the bottleneck at a span's end, in place of the layers; None: it has none.

        Raises:
            CutError: it lacks the bottleneck, or there are layers of the head on the device before.
        """
        if not span.leaving:
            return None
        split = self.split(span.end, span.leaving)
        if not split.finetune_head:
            return None
        if span.start or span.weights != NETWORK:
            raise CutError(
                "a bottleneck whose head has weights of its own needs the whole head on one device: that is the first "
                "one that computes",
                hint="leave out bottlenecks.finetune_head, or the bottleneck on this hop",
            )
        return split.head.program

    def _made(self, span: Span) -> Program:
        if span.arriving and span.empty:
            return lambda *latents: latents  # they go on as they are
        program: Program = self.own_head(span) or self.layers(span)
        if span.arriving:
            program = _joined(self.split(span.start, span.arriving).decoder, program)
        return _joined(program, self.split(span.end, span.leaving).encode) if span.leaving else program


def _joined(first: Program, then: Program) -> Program:
    return lambda *given: tuple(tree_leaves(then(*first(*given))))
