"""module -> ModelGraph: the network traced with `torch.export`, or by `torch.fx` where that fails."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
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
from splitimpera.graph.running import calling, evaluating, forgetting, results_of_tensors
from splitimpera.models.imports import contained, telling, where_it_failed
from splitimpera.models.kinds import check_network, unwrapped
from splitimpera.records.graph import Cut, Layer, TensorSpec
from splitimpera.tasks.task import Output

Example = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class ModelGraph:
    """A traced network.

    Attributes:
        layers: The layers in the fixed topological order in which cuts count them.
        cuts: every legal cut, from the input's (index 0) to the result's.
        program: the functional ATen graph that they are read from, in eval mode; it shares the model's parameters,
            takes the inputs in order and returns the tuple of all results.
        out_spec: how the model's results are nested.
        made_by: the layer that makes each value of the program that depends on the input; `INPUT` for the input.
        apart: whether the output for a sample does not depend on the other samples in its batch. Where it does (batch
            statistics in eval mode, a softmax over the batch), samples are run one by one, everywhere.
        names: what its inputs are called, in the program's order, where they are given by name.
    """

    layers: tuple[Layer, ...]
    cuts: tuple[Cut, ...]
    program: fx.GraphModule
    out_spec: pytree.TreeSpec
    made_by: Mapping[str, int] = field(default_factory=dict)
    apart: bool = True
    names: tuple[str, ...] = ()

    @cached_property
    def _result(self) -> tuple[tuple[Output, ...], tuple[int, ...]]:
        return result_tensors(self.program, self.out_spec, self.cuts[-1])

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The tensors that cross the last cut, by the names that they have in the network's result."""
        return self._result[0]

    @property
    def inputs(self) -> tuple[Output, ...]:
        """The tensors that the network takes."""
        return tuple(Output(spec.name, spec.shape, spec.dtype) for spec in self.cuts[0].tensors)

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
        example: Inputs of the model, N samples: one tensor (N, ...), a tuple of them, or tensors by the names that the
            model's `forward` gives them. With `frames.SAMPLES` samples, real ones, it is tried whether the output for
            each depends on the others.
        say: Function that is called with a warning where they do, or where a part of the result is left out.

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
    names, given = _named(example)
    # a batch of one would be taken for a constant
    inputs = tuple(torch.cat([x[:1], x[:1]]) if x.ndim else x for x in given)
    shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
    with contained(), telling(TraceError, "the network cannot be traced"):
        model = unwrapped(check_network(model))
        call = calling(model, names)
        with evaluating(model), results_of_tensors(model) as left_out, torch.no_grad():
            beyond = _ids_beyond(model, given)
            refusing = f"the network refuses inputs of shape {shapes}"
            hint = beyond or _how_to_call(model, names, len(given))
            with telling(ShapeError, refusing, hint=hint):
                expected = call(*inputs)
            if left_out and not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(expected)):
                raise TraceError(
                    f"the network returns no tensor, but {', '.join(map(shown, sorted(left_out)))}",
                    hint="return tensors, alone or in tuples, lists and dictionaries",
                )
            with telling(ShapeError, "the network refuses a single sample"):
                # and it may remember the shape of its last call, which must not be the shape that is traced
                call(*(x[:1] if x.ndim else x for x in inputs))
            _check_names(model, names)
            program, structure = _traced(model, inputs, names)
            _check(program, inputs, expected)
            layers, cuts, made_by = read_layers(program, model)
            if not cuts[-1].tensors:
                raise TraceError("the network's result does not depend on its input, or is no tensor")
            apart = samples_apart(call, program, given, beyond)
            graph = ModelGraph(layers, cuts, program, structure, made_by, apart, names)
    if left_out:
        say(f"Left out of the network's result, for they are no tensors: {', '.join(map(shown, sorted(left_out)))}.")
    if not graph.apart:
        say(MIXED)
    return graph


def _named(example: Example) -> tuple[tuple[str, ...], tuple[Tensor, ...]]:
    """The names of the inputs, where they have any, and the inputs."""
    names: tuple[str, ...] = ()
    inputs: tuple[Any, ...]
    if isinstance(example, Mapping):
        names, inputs = tuple(example), tuple(example.values())
    else:
        inputs = example if isinstance(example, tuple) else (example,)
    for index, value in enumerate(inputs):
        if not isinstance(value, Tensor):
            which = f"'{shown(names[index])}'" if names else f"{index + 1}"
            raise ShapeError(
                f"input {which} of the network is {shown(type(value).__name__)}, a tensor is expected",
                hint="give a tensor, a tuple of tensors, or a dict of tensors by the names of forward's parameters",
            )
    return names, inputs


def _how_to_call(model: nn.Module, names: tuple[str, ...], count: int) -> str:
    """What to check where a network refuses its inputs: their shape, or which of them it takes."""
    taken = inspect.signature(model.forward).parameters
    by_position = [name for name, one in taken.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    if len(taken) == len(names or by_position) == count and set(names) <= set(taken):
        return "check the data's shape"
    by_name = "" if names else "or give the inputs by name, as a dict: "
    return f"check the data's shape, {by_name}'forward' takes {shown(', '.join(taken))}"


def _ids_beyond(model: nn.Module, given: tuple[Tensor, ...]) -> str:
    """What to check where whole numbers are given that an embedding has no row for; "" where all have one."""
    rows = sorted({module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)})
    largest = max(
        (int(x.max()) for x in given if x.numel() and not (x.is_floating_point() or x.is_complex())), default=-1
    )
    if not rows or largest < rows[0]:
        return ""
    return (
        f"embeddings have {' and '.join(map(str, rows))} rows, and {largest} is among the numbers that are given: take "
        "the tokenizer that the network was trained with, or shorter windows where positions are embedded"
    )


def _check_names(model: nn.Module, names: tuple[str, ...]) -> None:
    unknown = [name for name in names if name not in inspect.signature(model.forward).parameters]
    if unknown:
        raise TraceError(
            f"the network's 'forward' has no parameter '{shown(unknown[0])}' of its own",
            hint="write the inputs' names in place of **kwargs",
        )


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


def _traced(
    model: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...]
) -> tuple[fx.GraphModule, pytree.TreeSpec]:
    """A functional program and how its results are nested: by `torch.export`, or where that fails by `torch.fx`."""
    try:
        program = _export(model, inputs, names)
    except TraceError as failure:
        try:
            if names:
                raise
            return trace_with_fx(model, inputs)
        except KeyboardInterrupt:
            raise
        except BaseException:
            raise failure from failure.__cause__
    return _functional_module(program), program.call_spec.out_spec


def _export(model: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...]) -> torch.export.ExportedProgram:
    positional, by_name = (() if names else inputs), dict(zip(names, inputs, strict=bool(names)))
    shapes = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
    for x in inputs:
        if x.ndim:
            shapes[x] = {0: torch.export.Dim.AUTO}
    dynamic: Any = shapes
    try:
        # torch warns, logs and dumps half-traced graphs; our error says what counts
        with quiet(), forgetting(model):
            return torch.export.export(model, positional, by_name, dynamic_shapes=dynamic, strict=False)
    except KeyboardInterrupt:
        raise
    except BaseException as failure:
        raise TraceError(
            f"the network cannot be traced: {where_it_failed(failure)}",
            hint="torch.export must be able to follow it: no step may depend on the values of the data",
        ) from failure


def _functional_module(program: torch.export.ExportedProgram) -> fx.GraphModule:
    """The program as a graph module of flat inputs and results, without in-place operations and input checks."""
    module = _without_guards(program)
    if not remove_in_place(module.graph):
        module = _without_guards(program.run_decompositions({}))
    module.graph.set_codegen(fx.graph.CodeGen())
    module.graph.eliminate_dead_code()
    return fx.GraphModule(module, module.graph).eval()


def _without_guards(program: torch.export.ExportedProgram) -> fx.GraphModule:
    module = program.module()
    assert isinstance(module, fx.GraphModule)
    for node in list(module.graph.nodes):
        if node.op == "call_module" and not node.users:
            module.graph.erase_node(node)
    return module
