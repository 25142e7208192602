"""Trace with `torch.fx` what `torch.export` cannot: operators without an abstract implementation, scripted functions.

Symbolic tracing follows no shapes, so the network is run for two and for three samples: what grows with the number of
samples is written as such, what does not is a constant. Modules of `torch.nn` stay calls of modules.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.utils import _pytree as pytree

from splitimpera.core.errors import TraceError

OUT_OF_PLACE: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


def trace_with_fx(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[fx.GraphModule, pytree.TreeSpec]:
    """A functional program of flat results, each node's `meta["val"]` with a symbolic number of samples.

    Args:
        model: The network, in eval mode.
        inputs: two equal samples.

    Raises:
        Exception: whatever symbolic tracing raises.
        TraceError: the network writes in place what is read later, or mixes samples in a way that cannot be followed.
    """
    traced = fx.symbolic_trace(model)
    for name, module in list(traced.named_modules()):
        if getattr(module, "inplace", False):  # a copy that shares the parameters: the user's module stays as it is
            functional = copy.copy(module)
            functional.inplace = False
            traced.set_submodule(name, functional)
    _write_out_of_place(traced.graph)
    traced.recompile()
    with torch.no_grad():
        two = _values(traced, inputs)
        three = _values(traced, tuple(torch.cat([x, x[:1]]) for x in inputs))
    _Shapes(traced.graph, two, three).write()
    output = next(iter(reversed(traced.graph.nodes)))
    results, structure = pytree.tree_flatten(output.args[0])
    if not all(value is None or isinstance(value, (fx.Node, int, float, str)) for value in results):
        raise TraceError("the network's result holds what is no tensor")
    output.args = (tuple(results),)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced, structure


def _write_out_of_place(graph: fx.Graph) -> None:
    order = {node: place for place, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        method = node.op == "call_method" and str(node.target).endswith("_") and not str(node.target).endswith("__")
        if not method and node.target not in OUT_OF_PLACE and not node.kwargs.get("inplace"):
            continue
        written = node.args[0]
        if isinstance(written, fx.Node) and any(order[user] > order[node] for user in written.users):
            raise TraceError(f"'{node}' writes in place what '{written}' holds, which is read again afterwards")
        if method:
            node.target = str(node.target)[:-1]
        elif node.target in OUT_OF_PLACE:
            node.target = OUT_OF_PLACE[node.target]
        else:
            node.kwargs = {key: value for key, value in node.kwargs.items() if key != "inplace"}


def _values(module: fx.GraphModule, inputs: tuple[Tensor, ...]) -> dict[fx.Node, Any]:
    """What every node holds: tensors as their shape and type, everything else as it is."""
    seen: dict[fx.Node, Any] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            seen[n] = pytree.tree_map_only(Tensor, lambda t: (tuple(t.shape), t.dtype), value)
            return value

    Recorder(module).run(*inputs)
    return seen


class _Shapes:
    """Writes `meta["val"]`, and constants or measurements in place of sizes that Python read off tensors."""

    def __init__(self, graph: fx.Graph, two: dict[fx.Node, Any], three: dict[fx.Node, Any]) -> None:
        self.graph = graph
        self.two = two
        self.three = three
        environment = ShapeEnv()
        self.mode = FakeTensorMode(shape_env=environment)
        context: StatelessSymbolicContext[Any, Any] = StatelessSymbolicContext(dynamic_sizes=[DimDynamic.DYNAMIC])
        self.samples = self.mode.from_tensor(torch.empty(2), symbolic_context=context).shape[0]
        self.batch = next(node for node in graph.nodes if node.op == "placeholder")
        self.measured: fx.Node | None = None

    def write(self) -> None:
        for node in list(self.graph.nodes):
            if node.op == "output":
                continue
            if _is_tensors(self.two[node]):
                node.meta["val"] = self._symbolic(self.two[node], self.three[node])
            elif node.op not in ("placeholder", "get_attr"):
                self._replace(node)

    def _symbolic(self, two: Any, three: Any) -> Any:
        """Fake tensors of the shapes seen, with the number of samples as a symbol."""
        if _is_tensor(two):
            with self.mode:
                sizes = [self._size(a, b) for a, b in zip(two[0], three[0], strict=True)]
                return torch.empty(sizes, dtype=two[1])
        if isinstance(two, (list, tuple)):
            return tuple(self._symbolic(a, b) for a, b in zip(two, three, strict=True))
        return two

    def _size(self, two: int, three: int) -> Any:
        if two == three:
            return two
        each = three - two
        if two != 2 * each:
            raise TraceError(f"a size of {two} for two samples and {three} for three cannot be followed")
        return self.samples * each if each > 1 else self.samples

    def _replace(self, node: fx.Node) -> None:
        """Sizes read by Python become numbers, or multiples of a measured number of samples."""
        value = pytree.tree_map(self._written, _pairs(self.two[node], self.three[node]), is_leaf=_is_pair)
        for user in list(node.users):
            user.args = fx.map_arg(user.args, lambda source: value if source is node else source)
            user.kwargs = fx.map_arg(user.kwargs, lambda source: value if source is node else source)
            if user.target is operator.getitem and not isinstance(user.args[0], fx.Node):
                user.args = (tuple(user.args[0]), *user.args[1:])  # type: ignore[arg-type]

    def _written(self, pair: Any) -> Any:
        two, three = pair.two, pair.three
        if isinstance(two, bool) or not isinstance(two, int) or two == three:
            return two
        size = self._size(two, three)
        if self.measured is None:
            with self.graph.inserting_after(self.batch):
                self.measured = self.graph.call_function(torch.ops.aten.sym_size.int, (self.batch, 0))
                self.measured.meta["val"] = self.samples
        if two == 2:
            return self.measured
        with self.graph.inserting_after(self.measured):
            scaled = self.graph.call_function(operator.mul, (self.measured, three - two))
            scaled.meta["val"] = size
        return scaled


class _Pair:
    def __init__(self, two: Any, three: Any) -> None:
        self.two = two
        self.three = three


def _is_pair(value: Any) -> bool:
    return isinstance(value, _Pair)


def _pairs(two: Any, three: Any) -> Any:
    if isinstance(two, (tuple, list)) and not _is_tensor(two):
        return tuple(_pairs(a, b) for a, b in zip(two, three, strict=True))
    return _Pair(two, three)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], torch.dtype)


def _is_tensors(value: Any) -> bool:
    if _is_tensor(value):
        return True
    return isinstance(value, (tuple, list)) and any(_is_tensors(entry) for entry in value)
