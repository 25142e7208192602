"""What waking up costs a machine that idled: the first milliseconds after it, whatever is run then.

A pass over a network pays for it in its first layers, so that what follows a later cut seems to be cheaper than it is
where a device of its own is woken for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from splitimpera.core.array_types import FloatArray
from splitimpera.cost.timing import timed
from splitimpera.graph.tracing import ModelGraph
from splitimpera.partition.cutter import segment

SHARE = 0.1
"""Of the network's time that is left after the cut from which it is run: little, so that the difference is not lost."""


def waking_timers(
    graph: ModelGraph, inputs: tuple[Tensor, ...], layers_s: FloatArray
) -> dict[tuple[object, ...], Callable[[], float]]:
    """A call that times the end of a network, to be made right after idle time; none for a single layer.

    Args:
        layers_s: What each layer takes, shape (layers,).
    """
    left_s = np.cumsum(layers_s[::-1])[::-1]
    cuts = np.flatnonzero(left_s >= SHARE * left_s[0])
    cut = int(cuts[-1]) if len(cuts) else 0
    if not cut:
        return {}
    crossing = segment(graph, graph.cuts[0], graph.cuts[cut])(*inputs)
    tail = segment(graph, graph.cuts[cut], graph.cuts[-1])
    return {("woken", cut): timed(lambda: tail(*crossing))}


def wake_s(taken: Mapping[tuple[Any, ...], FloatArray], layers_s: FloatArray, call_s: FloatArray) -> float:
    """How much longer the end of a network took right after idle time than in whole passes, in the median; 0 or more.

    Args:
        taken: the times of `waking_timers`, among others.
        layers_s: Passes right after idle time, shape (passes, layers).
        call_s: Calls without layers, shape (passes,).
    """
    found = [(key[1], times_s) for key, times_s in taken.items() if key[0] == "woken"]
    extra_s = [np.median(times_s) - np.median(layers_s[:, cut:].sum(1) + call_s) for cut, times_s in found]
    return max(0.0, *(float(extra) for extra in extra_s)) if extra_s else 0.0
