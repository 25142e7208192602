"""Watch activations and their gradients while a traced network runs. The only file that registers hooks.

The traced program is run, not the user's model, with parameters detached: nothing of the model is touched, no weight
gradient is computed, and functional calls are seen like modules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx

from splitimpera.graph.functional import operation_name
from splitimpera.graph.subprograms import program_between
from splitimpera.graph.tracing import ModelGraph

aten = torch.ops.aten
IN_PLACE = {aten.relu.default: aten.relu_.default, aten.hardtanh.default: aten.hardtanh_.default}
"""Activations whose gradient follows from their result, each with what writes it over the argument."""
OVERWRITABLE = {"conv1d", "conv2d", "conv3d", "linear", "batch_norm", "group_norm", "layer_norm", "add"}
"""Operations whose result is memory of its own that their gradient does not need."""

Points = Mapping[int, Collection[str]]
"""By the indices of cuts: the graph nodes that are observed there, of those that cross."""
Observer = Callable[[int, str, Tensor, Tensor], None]
"""Receives a cut's index, a node's name, its activation and its gradient there, as soon as both are known; both are
freed afterwards."""


def gradients(
    graph: ModelGraph,
    inputs: tuple[Tensor, ...],
    score: Callable[[tuple[Any, ...]], Tensor],
    points: Points,
    observe: Observer,
) -> None:
    """One forward and one backward pass of a batch, down to the input and without weight gradients.

    The gradient at a cut is the tail's: what a tensor does to the result by way of layers in front of the cut, which
    read it too, does not count there. So a skip connection that crosses several cuts has a gradient at each.

    Args:
        inputs: the batch, as the model takes it.
        score: what is differentiated, a scalar of the network's result (the flat tuple of its tensors).
        points: what is observed.
    """
    watch = _Watch(observe)
    leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs]
    with torch.enable_grad():
        values: Any = tuple(leaves)
        *sections, last = _sections(graph, points)
        for index, names, program in sections:
            values = program(*values)
            values = tuple(
                watch(index, name, value) if name in points[index] else value
                for name, value in zip(names, values, strict=True)
            )
        total = score(last[2](*values))
    del values
    roots = [leaf for leaf in leaves if leaf.requires_grad] + watch.leaves
    if total.requires_grad:
        torch.autograd.grad(total, roots, allow_unused=True)


class _Watch:
    """Called with each watched value during the forward pass; what it returns is to be used from there on."""

    def __init__(self, observe: Observer) -> None:
        self.observe = observe
        self.leaves: list[Tensor] = []  # where gradients end, beside the inputs

    def __call__(self, index: int, name: str, value: Tensor) -> Tensor:
        if not value.requires_grad:
            if not value.is_floating_point():
                return value
            self.leaves.append(value.requires_grad_())  # the first floats of a network that takes token numbers
        here = value.view_as(value)  # with a gradient of its own
        activation = [here.detach()]  # emptied when used, so that the memory goes as soon as it can
        here.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: self.observe(index, name, activation.pop(), gradient)
        )
        return here


_Section = tuple[int, tuple[str, ...], fx.GraphModule]
"""The index of the cut at its end, what crosses there, and the program up to there."""
_made: WeakKeyDictionary[ModelGraph, dict[tuple[int, ...], list[_Section]]] = WeakKeyDictionary()


def _sections(graph: ModelGraph, points: Points) -> list[_Section]:
    """The traced network from each observed cut to the next; the last section makes the result."""
    made = _made.setdefault(graph, {})
    key = tuple(points)
    if key not in made:
        nodes = list(graph.program.graph.nodes)
        given, sections = [node for node in nodes if node.op == "placeholder"], list[_Section]()
        for index in sorted(points):
            crossing = [node for node in nodes if node.name in graph.cuts[index].crossing]
            program = _section(graph.program, given, tuple(crossing))
            sections.append((index, tuple(node.name for node in crossing), program))
            given = crossing
        sections.append((len(graph.cuts), (), _section(graph.program, given, nodes[-1].args[0])))
        made[key] = sections
    return made[key]


def _section(whole: fx.GraphModule, given: Sequence[fx.Node], wanted: Any) -> fx.GraphModule:
    """A part of a program with parameters detached, and activations written over what nobody else reads."""
    program = program_between(whole, given, wanted)
    constants: dict[str, Any] = {}
    for node in program.graph.nodes:
        if node.op == "get_attr":
            constants[node.target] = _detached(program, node.target)
        elif node.op == "call_module":
            constants[node.target] = program.get_submodule(node.target)
    for node in program.graph.nodes:
        if _may_overwrite(node):
            node.target = IN_PLACE[node.target]
    return fx.GraphModule(constants, program.graph)


def _may_overwrite(node: fx.Node) -> bool:
    """Whether an activation may be written over its argument, which nothing else reads: less memory to go through."""
    if node.target not in IN_PLACE:
        return False
    argument = node.args[0]
    return isinstance(argument, fx.Node) and operation_name(argument) in OVERWRITABLE and list(argument.users) == [node]


def _detached(module: torch.nn.Module, path: str) -> Any:
    owner, _, name = path.rpartition(".")
    value = getattr(module.get_submodule(owner), name)
    return value.detach() if isinstance(value, Tensor) else value
