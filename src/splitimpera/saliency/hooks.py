"""Watch activations and their gradients while a traced network runs. The only file that registers hooks.

The traced program is run, not the user's model, with parameters detached: nothing of the model is touched, no weight
gradient is computed, and functional calls are seen like modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx

from splitimpera.graph.functional import operation_name
from splitimpera.graph.tracing import ModelGraph

aten = torch.ops.aten
IN_PLACE = {aten.relu.default: aten.relu_.default, aten.hardtanh.default: aten.hardtanh_.default}
"""Activations whose gradient follows from their result, each with what writes it over the argument."""
OVERWRITABLE = {"conv1d", "conv2d", "conv3d", "linear", "batch_norm", "group_norm", "layer_norm", "add"}
"""Operations whose result is memory of its own that their gradient does not need."""

Observer = Callable[[str, Tensor, Tensor], None]
"""Receives a node's name, its activation and its gradient, as soon as both are known; both are freed afterwards."""


def gradients(
    graph: ModelGraph,
    inputs: tuple[Tensor, ...],
    score: Callable[[tuple[Any, ...]], Tensor],
    points: tuple[str, ...],
    observe: Observer,
) -> None:
    """One forward and one backward pass of a batch, down to the input and without weight gradients.

    Args:
        inputs: the batch, as the model takes it.
        score: what is differentiated, a scalar of the network's result (the flat tuple of its tensors).
        points: the graph nodes to observe.
    """
    watch = _Watch(observe)
    leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs]
    with torch.enable_grad():
        total = score(_watched_program(graph, points)(watch, *leaves))
    roots = [leaf for leaf in leaves if leaf.requires_grad] + watch.leaves
    if total.requires_grad:
        torch.autograd.grad(total, roots, allow_unused=True)


class _Watch:
    """Called with each watched value during the forward pass."""

    def __init__(self, observe: Observer) -> None:
        self.observe = observe
        self.leaves: list[Tensor] = []  # where gradients end, beside the inputs

    def __call__(self, name: str, value: Tensor) -> None:
        if not value.requires_grad:
            if not value.is_floating_point():
                return
            self.leaves.append(value.requires_grad_())  # the first floats of a network that takes token numbers
        activation = [value.detach()]  # emptied when used, so that the memory goes as soon as it can
        value.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: self.observe(name, activation.pop(), gradient)
        )


_programs: WeakKeyDictionary[ModelGraph, dict[tuple[str, ...], fx.GraphModule]] = WeakKeyDictionary()


def _watched_program(graph: ModelGraph, points: tuple[str, ...]) -> fx.GraphModule:
    """The traced network as a program that takes a `_Watch` first and calls it with each value of `points`."""
    made = _programs.setdefault(graph, {})
    if points not in made:
        watched, copies = fx.Graph(), dict[fx.Node, fx.Node]()
        watch = watched.placeholder("watch")
        constants: dict[str, Any] = {}
        for node in graph.program.graph.nodes:
            copies[node] = watched.node_copy(node, copies.__getitem__)
            if node.op == "get_attr":
                constants[node.target] = _detached(graph.program, node.target)
            elif node.op == "call_module":
                constants[node.target] = graph.program.get_submodule(node.target)
            if node.name in points:
                watched.call_function(_call, (watch, node.name, copies[node]))
            if _may_overwrite(node, points):
                copies[node].target = IN_PLACE[node.target]
        made[points] = fx.GraphModule(constants, watched)
    return made[points]


def _may_overwrite(node: fx.Node, points: tuple[str, ...]) -> bool:
    """Whether an activation may be written over its argument, which nothing else reads: less memory to go through."""
    if node.target not in IN_PLACE:
        return False
    argument = node.args[0]
    return (
        isinstance(argument, fx.Node)
        and operation_name(argument) in OVERWRITABLE
        and list(argument.users) == [node]
        and argument.name not in points
    )


def _call(watch: _Watch, name: str, value: Tensor) -> None:
    watch(name, value)


def _detached(module: torch.nn.Module, path: str) -> Any:
    owner, _, name = path.rpartition(".")
    value = getattr(module.get_submodule(owner), name)
    return value.detach() if isinstance(value, Tensor) else value
