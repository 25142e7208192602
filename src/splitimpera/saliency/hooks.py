"""Watch activations and their gradients while a traced network runs. The only file that registers hooks.

The traced program is run, not the user's model, with parameters detached: nothing of the model is touched, no weight
gradient is computed, and functional calls are seen like modules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, fx

from splitimpera.graph.tracing import ModelGraph

Observer = Callable[[str, Tensor, Tensor], None]
"""Receives a node's name, its activation and its gradient, as soon as both are known; both are freed afterwards."""


class Watched(fx.Interpreter):
    """Runs a traced network and calls `observe` for each node of `points` during the backward pass."""

    def __init__(self, graph: ModelGraph, points: Collection[str], observe: Observer) -> None:
        super().__init__(graph.program, garbage_collect_values=True)
        self.points = points
        self.observe = observe
        self.leaves: list[Tensor] = []  # where gradients end, beside the inputs

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        return value.detach() if isinstance(value, Tensor) else value

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self.points:
            self._watch(n.name, value)
        return value

    def _watch(self, name: str, value: Tensor) -> None:
        if not value.requires_grad:
            if not value.is_floating_point():
                return
            self.leaves.append(value.requires_grad_())  # the first floats of a network that takes token numbers
        activation = value.detach()
        holder = [activation]  # emptied when used, so that the memory goes as soon as it can

        def reduce(gradient: Tensor) -> None:
            self.observe(name, holder.pop(), gradient)

        value.register_hook(reduce)  # type: ignore[no-untyped-call]


def gradients(
    graph: ModelGraph,
    inputs: tuple[Tensor, ...],
    score: Callable[[tuple[Any, ...]], Tensor],
    points: Collection[str],
    observe: Observer,
) -> tuple[Any, ...]:
    """One forward and one backward pass of a batch, down to the input and without weight gradients.

    Args:
        inputs: the batch, as the model takes it.
        score: what is differentiated, a scalar of the network's result (the flat tuple of its tensors).
        points: the graph nodes to observe.

    Returns:
        the network's result, detached.
    """
    leaves = tuple(x.detach().requires_grad_(x.is_floating_point()) for x in inputs)
    watched = Watched(graph, points, observe)
    with torch.enable_grad():
        result = watched.run(*leaves, enable_io_processing=False)
        roots = [leaf for leaf in leaves if leaf.requires_grad]
        torch.autograd.grad(score(result), [*roots, *watched.leaves], allow_unused=True)
    return tuple(value.detach() if isinstance(value, Tensor) else value for value in result)
