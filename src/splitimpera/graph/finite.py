"""Answers that are no numbers: where NaN and infinite values first appear in a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from splitimpera.core.errors import DataError, ModelError, shown
from splitimpera.graph.cuts import INPUT
from splitimpera.graph.functional import operation_name
from splitimpera.graph.tracing import ModelGraph


def check_finite(graph: ModelGraph, inputs: Sequence[Tensor], results: Iterable[Any]) -> None:
    """Refuse results that are not finite: an argmax would take them for predictions like any other.

    Args:
        inputs: a batch, as the network takes it.
        results: what the network made of it.

    Raises:
        DataError: the inputs are not finite already.
        ModelError: the results are not; the message names the first layer whose output is not.
    """
    results = list(results)
    bad = [kind for kind in ("NaN", "infinite") if _has(kind, results)]
    if not bad:
        return
    if any(_has(kind, list(inputs)) for kind in ("NaN", "infinite")):
        raise DataError("some inputs are NaN or infinite", hint="leave them out of the data, or mend them")
    finder = _Finder(graph)
    with torch.no_grad():
        finder.run(*inputs, enable_io_processing=False)
    places = [f"{kind} values appear first in {finder.found[kind]}" for kind in finder.found]
    raise ModelError(
        f"the network's outputs are {' and '.join(bad)} for some inputs: {', '.join(places) or 'not each time'}",
        hint="check the weights, the scale of the inputs, and steps such as log, division and exp there",
    )


class _Finder(fx.Interpreter):
    """Runs a network and notes the layers that make the first values of each kind that are not finite."""

    def __init__(self, graph: ModelGraph) -> None:
        super().__init__(graph.program)
        self.traced = graph
        self.found: dict[str, str] = {}

    def run_node(self, n: fx.Node) -> Any:
        weights = [self.env[source] for source in n.all_input_nodes if source.op == "get_attr"]
        value = super().run_node(n)
        made = self.traced.made_by.get(n.name, INPUT)
        for kind in ("NaN", "infinite"):
            if made != INPUT and kind not in self.found and _has(kind, value):
                why = f", whose weights have {kind} values" if _has(kind, weights) else ""
                layer = shown(self.traced.layers[made].name)
                self.found[kind] = f"layer '{layer}' ({shown(operation_name(n))}){why}"
        return value


def _has(kind: str, value: Any) -> bool:
    test = torch.isnan if kind == "NaN" else torch.isinf
    return any(
        bool(test(tensor).any())
        for tensor in pytree.tree_leaves(value)
        if isinstance(tensor, Tensor) and (tensor.is_floating_point() or tensor.is_complex())
    )
