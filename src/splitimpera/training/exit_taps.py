"""A network that also hands out what crosses some cuts: one run gives what all its exits see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from splitimpera.core.errors import ScenarioError
from splitimpera.graph.moving import device_of
from splitimpera.graph.subprograms import program_between
from splitimpera.graph.tracing import ModelGraph
from splitimpera.records.graph import Cut
from splitimpera.tasks.task import Task

Tensors = tuple[Tensor, ...]


class Taps:
    """Runs a network once, and returns what crosses each of some cuts and what it returns; it shares its weights."""

    def __init__(self, graph: ModelGraph, cuts: Sequence[Cut]) -> None:
        nodes = list(graph.program.graph.nodes)
        inputs = [node for node in nodes if node.op == "placeholder"]
        crossing = tuple(tuple(node for node in nodes if node.name in cut.crossing) for cut in cuts)
        self.program = program_between(graph.program, inputs, (crossing, nodes[-1].args[0])).eval()
        self.graph, self.device = graph, device_of(graph)

    def __call__(self, *inputs: Tensor) -> tuple[tuple[Tensors, ...], Tensors]:
        """The tensors that cross each cut, and those that the network returns, in float32."""
        crossing, results = self.program(*(x.to(self.device) for x in inputs))
        picked = self.graph.picked(list(results))
        return crossing, tuple(x.float() if x.is_floating_point() else x for x in picked)


def logits_place(task: Task, graph: ModelGraph) -> int:
    """Which of a network's outputs are the logits that its answer is made of.

    Raises:
        ScenarioError: the task's answers are others.
    """
    answering = task.answering
    if answering.targets != "class":
        raise ScenarioError(
            f"an early exit answers with one class a sample, the task '{answering.name}' has other answers",
            where="exits",
            hint="remove exits, or take a network that is a classifier",
        )
    # its answer is one of the outputs, so that of their indices it makes the index
    return int(answering.answer(tuple(np.arange(len(graph.outputs))))[0])
