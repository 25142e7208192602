"""A machine's layers as one module that any engine's exporter can follow, and tensors to try it with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from splitimpera.bundle.segments import Span
from splitimpera.core.array_types import Array
from splitimpera.evaluation.batches import stack
from splitimpera.evaluation.testbed import Testbed
from splitimpera.records.graph import TensorSpec
from splitimpera.training.trained import TrainedSplit

EXAMPLES = 2
"""A batch of one would be taken for a constant."""


@dataclass(frozen=True, eq=False)
class Part:
    """The layers of one machine.

    Attributes:
        module: Takes the tensors that arrive, returns the tuple of those that leave.
        inputs, outputs: These tensors; `batch_dim` None: the module takes and returns those of a single frame.
        examples: Tensors that it can be called with.
    """

    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    examples: tuple[Tensor, ...]

    @property
    def together(self) -> bool:
        """Whether frames are run together."""
        return all(spec.batch_dim is not None for spec in self.inputs)

    @property
    def bytes(self) -> int:
        """What its weights take."""
        return sum(weight.nbytes for weight in (*self.module.parameters(), *self.module.buffers()))


def part_of(testbed: Testbed, span: Span) -> Part:
    """The part for some layers, with the parts of the bottlenecks at their ends in it.

    Raises:
        CutError: there is no such part of this network.
    """
    inputs, outputs = testbed.specs(span.start, span.arriving), testbed.specs(span.end, span.leaving)
    together = testbed.graph.stacks(inputs + outputs)
    module = _Part(_program(testbed, span), inputs, outputs, together).eval()
    row = testbed.example(span.start, span.arriving)
    given: tuple[Array | Tensor, ...] = stack([row] * EXAMPLES, inputs) if together else row
    examples = tuple(torch.as_tensor(tensor) for tensor in given)
    return Part(module, _as_run(inputs, together), _as_run(outputs, together), examples)


def head_of(testbed: Testbed, cut: int) -> Part:
    """The head of the early exit behind a cut: takes what crosses, returns logits divided by its temperature.

    Raises:
        CutError: none was added there.
    """
    inputs, head = testbed.specs(cut, 0.0), testbed.heads.head(cut)
    together = testbed.graph.stacks(inputs)
    row = testbed.example(cut)
    examples = tuple(torch.as_tensor(tensor) for tensor in (stack([row] * EXAMPLES, inputs) if together else row))
    (logits,) = testbed.look(cut, tuple(torch.as_tensor(tensor) for tensor in stack([row], inputs)))
    outputs = (TensorSpec("logits", tuple(logits.shape)),)
    module = _Part(_Head(head), inputs, outputs, together).eval()
    return Part(module, _as_run(inputs, together), _as_run(outputs, together), examples)


def _as_run(specs: Sequence[TensorSpec], together: bool) -> tuple[TensorSpec, ...]:
    return tuple(spec if together else replace(spec, batch_dim=None) for spec in specs)


def _program(testbed: Testbed, span: Span) -> nn.Module:
    program: nn.Module = testbed.layers(span)
    if span.arriving:
        program = _Decoding(testbed.split(span.start, span.arriving), program)
    return _Encoding(program, testbed.split(span.end, span.leaving)) if span.leaving else program


class _Part(nn.Module):
    """`program` for arrays: bfloat16 is float32 outside, and single frames have no batch dimension."""

    def __init__(
        self, program: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], together: bool
    ) -> None:
        super().__init__()
        self.program = program
        self.inputs, self.outputs, self.together = tuple(inputs), tuple(outputs), together

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        given = [self._given(array, spec) for array, spec in zip(arrays, self.inputs, strict=True)]
        made = self.program(*given)
        return tuple(self._made(tensor, spec) for tensor, spec in zip(made, self.outputs, strict=True))

    def _given(self, array: Tensor, spec: TensorSpec) -> Tensor:
        tensor = array.to(torch.bfloat16) if spec.dtype == "bfloat16" else array
        return tensor if self.together or spec.batch_dim is None else tensor.unsqueeze(spec.batch_dim)

    def _made(self, tensor: Tensor, spec: TensorSpec) -> Tensor:
        one = tensor if self.together or spec.batch_dim is None else tensor.squeeze(spec.batch_dim)
        return one.to(torch.float32) if spec.dtype == "bfloat16" else one


class _Head(nn.Module):
    """The head of an exit, whose logits are a tuple as all else that leaves a program."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, *crossing: Tensor) -> tuple[Tensor, ...]:
        return (self.head(*crossing),)


class _Encoding(nn.Module):
    """Some layers, the encoder of the bottleneck behind them, and its quantiser with the levels that training found."""

    def __init__(self, program: nn.Module, split: TrainedSplit) -> None:
        super().__init__()
        self.program, self.encoder = program, split.encoder
        self.dtypes = tuple(getattr(torch, latent.dtype) for latent in split.latents)
        self.highs = split.highs
        self.levels = 2 ** (split.bits or 1) - 1

    def forward(self, *crossing: Tensor) -> tuple[Tensor, ...]:
        made = zip(self.encoder(*self.program(*crossing)), self.dtypes, self.highs, strict=True)
        return tuple(self._rounded(latent.to(dtype), high) for latent, dtype, high in made)

    def _rounded(self, latent: Tensor, high: float | None) -> Tensor:
        if high is None:
            return latent
        step = (high or 1.0) / self.levels
        rounded: Tensor = torch.round(latent.clamp(0.0, high) / step) * step
        return rounded


class _Decoding(nn.Module):
    """A bottleneck's decoder and some layers of its tail."""

    def __init__(self, split: TrainedSplit, program: nn.Module) -> None:
        super().__init__()
        self.decoder, self.program = split.decoder, program

    def forward(self, *latents: Tensor) -> tuple[Any, ...]:
        return tuple(tree_leaves(self.program(*self.decoder(*latents))))
