"""A network traced on the data that it is for."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from torch import nn

from splitimpera.core.errors import ModelError, shown
from splitimpera.graph.footprint import fitting
from splitimpera.graph.frames import SAMPLES
from splitimpera.graph.tracing import ModelGraph, trace
from splitimpera.models.samples import Samples


def trace_on(model: nn.Module, samples: Samples, *, say: Callable[[str], object] = warnings.warn) -> ModelGraph:
    """Trace a network on a few samples from all over, of whose inputs it uses each.

    Raises:
        ModelError: two samples need more memory than is free, or nothing follows from an input; and whatever `trace`
            raises.
    """
    graph = trace(model, fitting(model, samples.example(samples.spread(SAMPLES))), say=say)
    inputs = [node.name for node in graph.program.graph.nodes if node.op == "placeholder"]
    called = zip(graph.names or inputs, inputs, strict=True)
    unused = [name for name, node in called if node not in graph.cuts[0].crossing]
    if unused:
        raise ModelError(
            f"the network's result does not depend on its input '{shown(unused[0])}', which would be sent for nothing",
            hint="leave it out of the data; wrap the network where its `forward` insists on it",
        )
    return graph
