"""module -> ModelGraph: the network traced with `torch.export`, or by `torch.fx` where that fails."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from splitimpera.core.errors import CutError, ShapeError, TraceError, shown
from splitimpera.core.quiet import quiet
from splitimpera.core.registry import nearest
from splitimpera.graph.fallback import trace_with_fx
from splitimpera.graph.frames import MIXED, samples_apart
from splitimpera.graph.functional import remove_in_place
from splitimpera.graph.layers import read_layers
from splitimpera.graph.outputs import result_tensors
from splitimpera.models.imports import contained, telling, where_it_failed
from splitimpera.models.kinds import check_network, unwrapped
from splitimpera.records.graph import Cut, Layer, TensorSpec
from splitimpera.tasks.task import Output

Example = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class ModelGraph:
    """A traced network.

    Attributes:
        layers: The layers in the fixed topological order in which cuts count them.
        cuts: every legal cut, from the input's (index 0) to the result's.
        program: the functional ATen graph that they are read from, in eval mode; it shares the model's parameters.
        out_spec: how the model's results are nested.
        made_by: the layer that makes each value of the program that depends on the input; `INPUT` for the input.
        apart: whether the output for a sample does not depend on the other samples in its batch. Where it does (batch
            statistics in eval mode, a softmax over the batch), samples are run one by one, everywhere.
    """

    layers: tuple[Layer, ...]
    cuts: tuple[Cut, ...]
    program: fx.GraphModule
    out_spec: pytree.TreeSpec
    made_by: Mapping[str, int] = field(default_factory=dict)
    apart: bool = True

    @cached_property
    def _result(self) -> tuple[tuple[Output, ...], tuple[int, ...]]:
        return result_tensors(self.program, self.out_spec, self.cuts[-1])

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The tensors that cross the last cut, by the names that they have in the network's result."""
        return self._result[0]

    def picked(self, result: Any) -> tuple[Tensor, ...]:
        """The tensors of a result, as the network returns it, that `outputs` names, in that order."""
        leaves = pytree.tree_leaves(result)
        return tuple(leaves[place] for place in self._result[1])

    def stacks(self, tensors: Iterable[TensorSpec]) -> bool:
        """Whether frames of which these tensors cross can be run together."""
        return self.apart and all(spec.batch_dim is not None for spec in tensors)

    def cut(self, which: int | str) -> Cut:
        """The cut of an index, or the first one after the layer of that name.

        Raises:
            CutError: there is none.
        """
        if isinstance(which, int):
            if 0 <= which < len(self.cuts):
                return self.cuts[which]
            raise CutError(f"there is no cut {which}", hint=f"this network has cuts 0 to {len(self.cuts) - 1}")
        for cut in self.cuts:
            if cut.name == which:
                return cut
        raise CutError(f"no layer is called '{shown(which)}'", hint=nearest(which, (cut.name for cut in self.cuts)))


def trace(model: nn.Module, example: Example, *, say: Callable[[str], object] = warnings.warn) -> ModelGraph:
    """Trace a network in eval mode; the model is left as it was found, and so is the process.

    Args:
        model: Any `nn.Module` that `torch.export` can trace.
        example: Inputs of the model, one tensor (N, ...) or a tuple of them, N samples. With `frames.SAMPLES` of them,
            real ones, it is tried whether the output for each depends on the others.
        say: Function that is called with a warning where they do.

    Raises:
        ModelError: it is of a kind that cannot be traced (`models.kinds`).
        ShapeError: the model refuses the example.
        TraceError: it cannot be traced; the message names the operation and the line in the user's file.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 10))
        >>> graph = trace(model, torch.rand(1, 3, 8, 8))
        >>> [(cut.index, cut.name, cut.bytes) for cut in graph.cuts]
        [(0, 'input', 768), (1, '0', 1152), (2, '3', 40)]
    """
    given = example if isinstance(example, tuple) else (example,)
    # a batch of one would be taken for a constant
    inputs = tuple(torch.cat([x[:1], x[:1]]) if x.ndim else x for x in given)
    shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
    with contained(), telling(TraceError, "the network cannot be traced"):
        model = unwrapped(check_network(model))
        with evaluating(model), torch.no_grad():
            refusing = f"the network refuses inputs of shape {shapes}"
            with telling(ShapeError, refusing, hint="check the data's shape"):
                expected = model(*inputs)
            program, structure = _traced(model, inputs)
            _check(program, inputs, expected)
            layers, cuts, made_by = read_layers(program, model)
            if not cuts[-1].tensors:
                raise TraceError("the network's result does not depend on its input, or is no tensor")
            apart = samples_apart(model, program, given)
            graph = ModelGraph(layers, cuts, program, structure, made_by, apart)
    if not graph.apart:
        say(MIXED)
    return graph


def _check(program: fx.GraphModule, inputs: tuple[Tensor, ...], expected: Any) -> None:
    """What was traced must compute what the network computes; anything else would be a silent lie at every cut."""
    made = pytree.tree_leaves(program(*inputs))
    for ours, theirs in zip(made, pytree.tree_leaves(expected), strict=True):
        if isinstance(theirs, Tensor) and not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4, equal_nan=True):
            gap = float((ours - theirs).abs().max())
            raise TraceError(
                f"the traced network computes something else than the network: results differ by up to {gap:.3g}",
                hint="is it random in eval mode, or does it write to its own buffers?",
            )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; every module's own mode comes back afterwards, also after an exception."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def _traced(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[fx.GraphModule, pytree.TreeSpec]:
    """A functional program and how its results are nested: by `torch.export`, or where that fails by `torch.fx`."""
    try:
        program = _export(model, inputs)
    except TraceError as failure:
        try:
            return trace_with_fx(model, inputs)
        except KeyboardInterrupt:
            raise
        except BaseException:
            raise failure from failure.__cause__
    return _functional_module(program), program.call_spec.out_spec


def _export(model: nn.Module, inputs: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    shapes = tuple({0: torch.export.Dim.AUTO} if x.ndim else None for x in inputs)
    try:
        # torch warns, logs and dumps half-traced graphs; our error says what counts
        with quiet():
            return torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
    except KeyboardInterrupt:
        raise
    except BaseException as failure:
        raise TraceError(
            f"the network cannot be traced: {where_it_failed(failure)}",
            hint="torch.export must be able to follow it: no step may depend on the values of the data",
        ) from failure


def _functional_module(program: torch.export.ExportedProgram) -> fx.GraphModule:
    """The program as a graph module without in-place operations and without checks of its inputs."""
    module = _without_guards(program)
    if not remove_in_place(module.graph):
        module = _without_guards(program.run_decompositions({}))
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _without_guards(program: torch.export.ExportedProgram) -> fx.GraphModule:
    module = program.module()
    assert isinstance(module, fx.GraphModule)
    for node in list(module.graph.nodes):
        if node.op == "call_module" and not node.users:
            module.graph.erase_node(node)
    return module
