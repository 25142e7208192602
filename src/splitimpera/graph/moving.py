"""A traced network on another device, as a copy: the user's module stays where it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn

from splitimpera.core.errors import ModelError
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.imports import telling

FACTORIES = {torch.arange, torch.eye, torch.full, torch.linspace, torch.ones, torch.tensor, torch.zeros}
"""Functions that make tensors on the CPU unless told; `torch.export` always writes the device down, `torch.fx` not."""


def device_of(graph: ModelGraph) -> torch.device:
    """Where a traced network lies; the CPU if it has neither weights nor constants."""
    return next((tensor.device for tensor in _tensors(graph.program)), torch.device("cpu"))


def moved(graph: ModelGraph, device: torch.device) -> ModelGraph:
    """The same traced network with all its weights and constants on a device; itself if it lies there already.

    Raises:
        ModelError: it does not fit there, or the device lacks one of its element types.
    """
    home = device_of(graph)
    with telling(ModelError, f"the network cannot be moved to {device}"):
        device = torch.empty(0, device=device).device  # "cuda" is one of several
        if device == home:
            return graph
        copies: dict[int, Any] = {id(tensor): _on(tensor, device) for tensor in _tensors(graph.program)}
        return replace(graph, program=_copied(graph.program, copies, home, device))


def _copied(
    program: fx.GraphModule, copies: dict[int, Any], home: torch.device, device: torch.device
) -> fx.GraphModule:
    """A program that has other tensors in place of its own, by their `id`, and makes what it makes on a device."""

    def there(argument: Any) -> Any:
        return device if isinstance(argument, torch.device) and argument.type == home.type else argument

    graph, nodes, parts = fx.Graph(), dict[fx.Node, fx.Node](), dict[str, Any]()
    for node in program.graph.nodes:
        nodes[node] = made = graph.node_copy(node, nodes.__getitem__)
        if node.op in ("get_attr", "call_module"):
            # a deep copy that finds the tensors among the copies, and makes no others
            parts[str(node.target)] = copy.deepcopy(attrgetter(str(node.target))(program), copies)
        default = {"device": device} if node.target in FACTORIES else {}
        made.args = fx.node.map_aggregate(made.args, there)
        made.kwargs = fx.node.map_aggregate({**default, **made.kwargs}, there)
    return fx.GraphModule(parts, graph).eval()


def _tensors(program: fx.GraphModule) -> Iterator[Tensor]:
    yield from program.parameters()
    yield from program.buffers()
    for node in program.graph.nodes:
        if node.op == "get_attr":
            value = attrgetter(str(node.target))(program)
            if isinstance(value, Tensor):
                yield value


def _on(tensor: Tensor, device: torch.device) -> Tensor:
    there = tensor.detach().to(device)
    return nn.Parameter(there, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else there
