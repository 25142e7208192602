"""Multiply-accumulates of traced operations: half of the floating-point operations that PyTorch's own counter has."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils.flop_counter import FlopCounterMode

from splitimpera.graph.functional import called_module

OneFrame = Callable[[int | torch.SymInt], int]
"""A size as it is for a batch of one."""


def counted_macs(node: fx.Node, one_frame: OneFrame) -> int:
    """Multiply-accumulates of one call for one frame; 0 for what the counter does not know.

    The call runs on tensors without values: an operation of several steps (einsum, an LSTM) counts as these.
    """
    if node.op not in ("call_function", "call_module"):
        return 0
    arguments, keywords = fx.map_arg((node.args, node.kwargs), lambda source: _without_values(source, one_frame))
    call: Any = copy.deepcopy(called_module(node)).to("meta") if node.op == "call_module" else node.target
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            call(*arguments, **keywords)
    except Exception:  # an operation may have no way to run without values: then nobody has counted it
        return 0
    return int(counter.get_total_flops()) // 2


def _without_values(source: fx.Node, one_frame: OneFrame) -> Any:
    def made(value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.empty([one_frame(size) for size in value.shape], dtype=value.dtype, device="meta")
        if isinstance(value, torch.SymInt):
            return one_frame(value)
        return type(value)(map(made, value)) if isinstance(value, (tuple, list)) else value

    return made(source.meta.get("val"))
