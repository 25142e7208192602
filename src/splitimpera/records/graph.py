"""The traced network as records: tensors, layers, cuts. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

DTYPE_BYTES = {
    **{"bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8},
    **{"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16},
}


@dataclass(frozen=True)
class TensorSpec:
    """One tensor as it belongs to one frame.

    Attributes:
        name: the layer that makes it, in the user's words ("input", "features.17", "layer2.0").
        shape: its shape for one frame, without the batch dimension.
        dtype: torch's name of the element type, without the prefix ("float32").
        batch_dim: The place of the batch dimension when frames are stacked; None where the tensor mixes the batch
            with another dimension, so that frames must be run one by one (`shape` is then that of a batch of one).
        channel_dim: which dimension of `shape` holds the channels.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    batch_dim: int | None = 0
    channel_dim: int = 0

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True)
class Layer:
    """A step of the traced network: one operation with the activations and normalisations folded into it.

    Attributes:
        name: the module's path in the user's model, or path and operation for functional calls.
        operation: ATen's name of the operation ("conv2d", "add").
        output: the tensor that it hands on (the first one, where there are several).
        parameters: how many parameters it reads.
        macs: multiply-accumulates for one frame.
    """

    index: int
    name: str
    operation: str
    output: TensorSpec
    parameters: int
    macs: int


@dataclass(frozen=True)
class Cut:
    """A prefix of the graph's topological order, and what crosses there.

    Attributes:
        index: number of layers in the head; 0 means that the input crosses.
        name: the last layer of the head, "input" for cut 0.
        tensors: what crosses, one entry a tensor.
        crossing: the graph nodes of these tensors.
        macs_head, macs_tail: multiply-accumulates on either side, for one frame.
        parameters_head, parameters_tail: parameters that either side reads (shared ones count on both).
        block: True where a single tensor crosses and no block of the user's model is cut through.
    """

    index: int
    name: str
    tensors: tuple[TensorSpec, ...]
    crossing: tuple[str, ...]
    macs_head: int
    macs_tail: int
    parameters_head: int
    parameters_tail: int
    block: bool = False

    @property
    def bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def single(self) -> bool:
        """True at a natural bottleneck of the graph: one tensor crosses."""
        return len(self.tensors) == 1


@dataclass(frozen=True)
class Candidate:
    """A cut worth a plan, and the reasons why."""

    cut: int
    name: str
    reasons: tuple[str, ...]
