"""Cut a traced network into a head and a tail that are modules of their own and share the model's weights."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from splitimpera.core.errors import CutError
from splitimpera.graph.tracing import ModelGraph
from splitimpera.records.graph import Cut


class Head(nn.Module):
    """What runs in front of the cut: takes what the model takes, returns the tuple of tensors that cross."""

    def __init__(self, program: fx.GraphModule) -> None:
        super().__init__()
        self.program = program

    def forward(self, *inputs: Any) -> tuple[Tensor, ...]:
        crossing: tuple[Tensor, ...] = self.program(*pytree.tree_leaves(inputs))
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
    """A network cut in two: `tail(head(x))` equals `model(x)`."""

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
    head = _program(graph.program, inputs, tuple(crossing))
    tail = _program(graph.program, crossing, nodes[-1].args[0])
    return Partition(cut, Head(head).eval(), Tail(tail, graph.out_spec).eval())


def segment(graph: ModelGraph, start: Cut, end: Cut) -> fx.GraphModule:
    """What runs between two cuts: takes the tensors that cross `start`, returns the tuple of those that cross `end`."""
    nodes = list(graph.program.graph.nodes)
    given, wanted = ([node for node in nodes if node.name in cut.crossing] for cut in (start, end))
    return _program(graph.program, given, tuple(wanted)).eval()


def _program(whole: fx.GraphModule, given: Sequence[fx.Node], wanted: Any) -> fx.GraphModule:
    """The part of a program that makes `wanted` (a structure of nodes) from `given`."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in given:
        copies[node] = graph.placeholder(node.name)
        copies[node].meta = dict(node.meta)
    needed = _needed(given, wanted)
    sizes = _Sizes(graph, given, copies)
    for node in whole.graph.nodes:
        if node in copies or node not in needed:
            continue
        copies[node] = sizes.measure(node) if _measures(node) else graph.node_copy(node, copies.__getitem__)
    graph.output(fx.map_arg(wanted, copies.__getitem__))
    return fx.GraphModule(whole, graph)


def _needed(given: Iterable[fx.Node], wanted: Any) -> set[fx.Node]:
    needed, pending, stop = set[fx.Node](), list[fx.Node](), set(given)
    fx.map_arg(wanted, lambda node: pending.append(node))
    while pending:
        node = pending.pop()
        if node in stop or node in needed:
            continue
        needed.add(node)
        if not _measures(node):
            pending += node.all_input_nodes
    return needed


def _measures(node: fx.Node) -> bool:
    """Whether a node reads a size off a tensor; only tensors cross, so head and tail measure those that they have."""
    return node.target is torch.ops.aten.sym_size.int and isinstance(node.meta.get("val"), torch.SymInt)


class _Sizes:
    """Writes nodes that find the number of samples in the tensors that a head or tail is given."""

    def __init__(self, graph: fx.Graph, given: Sequence[fx.Node], copies: dict[fx.Node, fx.Node]) -> None:
        self.graph = graph
        self.given = given
        self.copies = copies

    def measure(self, node: fx.Node) -> fx.Node:
        """A node of the same value as `node`, whose size is a multiple of the number of samples."""
        expression = node.meta["val"].node.expr
        symbol = next(iter(expression.free_symbols))
        for source in self.given:
            for dim, size in enumerate(source.meta["val"].shape):
                if isinstance(size, torch.SymInt) and (size.node.expr / symbol).is_Integer:
                    samples = self._call(torch.ops.aten.sym_size.int, self.copies[source], dim)
                    samples = self._scale(operator.floordiv, samples, size.node.expr / symbol)
                    if (expression / symbol).is_Integer:
                        return self._scale(operator.mul, samples, expression / symbol)
        raise CutError(f"the tail needs the size {expression}, which none of the tensors that cross tells")

    def _call(self, target: Callable[..., Any], *arguments: Any) -> fx.Node:
        return self.graph.call_function(target, arguments)

    def _scale(self, by: Callable[..., Any], node: fx.Node, factor: Any) -> fx.Node:
        return node if factor == 1 else self._call(by, node, int(factor))
