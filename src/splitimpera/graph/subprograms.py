"""Parts of a traced program: what makes some of its values from others, as a program of its own."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import fx

from splitimpera.core.errors import CutError


def program_between(
    whole: fx.GraphModule, given: Sequence[fx.Node], wanted: Any, weights: fx.GraphModule | None = None
) -> fx.GraphModule:
    """The part of a program that makes `wanted` (a structure of nodes) from `given`.

    Args:
        weights: Where parameters and constants are taken from, under the names that they have in `whole`; None: there.
    """
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
    return fx.GraphModule(whole if weights is None else weights, graph)


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
