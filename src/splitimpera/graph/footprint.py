"""What a network's activations take, told before it is run for the first time: by tensors without numbers."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from splitimpera.core.errors import ModelError
from splitimpera.core.memory import free_bytes
from splitimpera.core.quiet import quiet
from splitimpera.core.units import format_bytes
from splitimpera.graph.running import calling
from splitimpera.models.imports import contained

Given = TypeVar("Given", bound=Tensor | tuple[Tensor, ...] | dict[str, Tensor])

LEAST = 2
"""How many samples are traced at the least: a batch of one would be taken for a constant."""


def fitting(model: nn.Module, samples: Given) -> Given:
    """Samples that a network can be traced on: all, or the first two where all need more memory than is free.

    Args:
        samples: (n, ...); of a network with several inputs a tuple of such tensors, or tensors by name.

    Raises:
        ModelError: two do not fit, and the system would end the process.
    """
    some: Given = pytree.tree_map(lambda x: x[:LEAST], samples)
    inputs, names = pytree.tree_leaves(some), tuple(samples) if isinstance(samples, dict) else ()
    taken, free = footprint_bytes(model, tuple(inputs), names), free_bytes()
    of_one = taken / len(inputs[0])
    if LEAST * of_one > free:
        raise ModelError(
            f"one sample takes {format_bytes(of_one)} of memory or more, {LEAST} are run together to trace the "
            f"network, and {format_bytes(free)} are free",
            where="network.model",
            hint="give smaller inputs ('size' under 'data', for images), or take a machine with more memory",
        )
    return samples if of_one * len(pytree.tree_leaves(samples)[0]) <= free else some


def footprint_bytes(model: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...] = ()) -> int:
    """At least what a network's activations take at one time: what one operation reads and writes; weights are not
    counted. 0 where the network cannot be followed without numbers. Inputs with names are given by name.

    Example:
        >>> footprint_bytes(nn.Sequential(nn.Linear(4, 100), nn.Linear(100, 2)), (torch.rand(1, 4),))
        416
    """
    largest = _Largest()
    try:
        weights = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
        with contained(), quiet(), torch.no_grad():
            own = copy.deepcopy(model, weights).eval()  # it may keep what it computes, which would be without numbers
            mode = FakeTensorMode(allow_non_fake_inputs=True)
            fakes = [mode.from_tensor(x) for x in inputs]
            with mode, largest:
                calling(own, names)(*fakes)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return 0  # whatever a user's code raises is told where the network is run in earnest
    return largest.bytes


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the most that an operation reads and writes, apart from weights and what is made of weights alone."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self._constants: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        given, results = self._memory((args, kwargs)), self._memory(made)
        if given:
            self.bytes = max(self.bytes, sum(memory.nbytes() for memory in (given | results).values()))
        else:
            self._constants |= results
        return made

    def _memory(self, values: Any) -> dict[int, torch.UntypedStorage]:
        """What tensors lie in; views share it with their bases."""
        memory = [x.untyped_storage() for x in pytree.tree_leaves(values) if isinstance(x, FakeTensor)]
        return {one._cdata: one for one in memory if one._cdata not in self._constants}
