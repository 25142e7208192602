"""Cut a traced network into a head and a tail that are modules of their own and share the model's weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from splitimpera.graph.subprograms import program_between
from splitimpera.graph.tracing import ModelGraph
from splitimpera.records.graph import Cut


class Head(nn.Module):
    """What runs in front of the cut: takes what the model takes, returns the tuple of tensors that cross."""

    def __init__(self, program: fx.GraphModule, names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.program = program
        self.names = names

    def forward(self, *inputs: Any, **named: Any) -> tuple[Tensor, ...]:
        given = (inputs, tuple(named[name] for name in self.names if named))
        crossing: tuple[Tensor, ...] = self.program(*pytree.tree_leaves(given))
        return crossing


class Tail(nn.Module):
    """What runs after the cut: takes the tuple that the head returns, returns what the model returns."""

    def __init__(self, program: fx.GraphModule, out_spec: pytree.TreeSpec) -> None:
        super().__init__()
        self.program = program
        self.out_spec = out_spec

    def forward(self, crossing: tuple[Tensor, ...]) -> Any:
        return pytree.tree_unflatten(list(self.program(*crossing)), self.out_spec)


@dataclass(frozen=True, eq=False)
class Partition:
    """A network cut in two: `tail(head(x))` equals `model(x)`.

    Attributes:
        cut: Where.
        head: The layers in front of the cut: inputs -> the tensors that cross.
        tail: The layers behind it: these tensors -> the network's result.
    """

    cut: Cut
    head: Head
    tail: Tail


def split(graph: ModelGraph, cut: Cut | int | str) -> Partition:
    """Cut a traced network.

    Args:
        graph: Traced network.
        cut: Cut, its index, or the name of the layer after which to cut.

    Returns:
        head and tail in eval mode; their parameters are the model's own.

    Raises:
        CutError: there is no such cut.

    Example:
        >>> import torch
        >>> from splitimpera.graph.tracing import trace
        >>> model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.rand(5, 4)
        >>> partition = split(trace(model, x), 1)
        >>> [tuple(tensor.shape) for tensor in partition.head(x)]
        [(5, 3)]
        >>> torch.allclose(partition.tail(partition.head(x)), model(x))
        True
    """
    if not isinstance(cut, Cut):
        cut = graph.cut(cut)
    nodes = list(graph.program.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    crossing = [node for node in nodes if node.name in cut.crossing]
    head = program_between(graph.program, inputs, tuple(crossing))
    tail = program_between(graph.program, crossing, nodes[-1].args[0])
    return Partition(cut, Head(head, graph.names).eval(), Tail(tail, graph.out_spec).eval())


def segment(graph: ModelGraph, start: Cut, end: Cut, weights: fx.GraphModule | None = None) -> fx.GraphModule:
    """What runs between two cuts: takes the tensors that cross `start`, returns the tuple of those that cross `end`.

    Args:
        weights: The program of a tail that begins in front of `start`, whose weights are taken; None: the network's.
    """
    nodes = list(graph.program.graph.nodes)
    given, wanted = ([node for node in nodes if node.name in cut.crossing] for cut in (start, end))
    return program_between(graph.program, given, tuple(wanted), weights).eval()
