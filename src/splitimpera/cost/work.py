"""What a run of layers costs, whatever the machine: multiply-accumulates, bytes moved, weights, memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from math import prod
from operator import attrgetter

import torch
from torch import Tensor, fx, nn

from splitimpera.graph.counting import counted_macs
from splitimpera.graph.functional import called_module, operation_name
from splitimpera.graph.operations import DROPOUTS, VIEWS, computes, folds
from splitimpera.graph.tracing import ModelGraph, trace
from splitimpera.records.graph import TensorSpec


@dataclass(frozen=True)
class LayerWork:
    """One layer's work on one frame.

    Attributes:
        macs: multiply-accumulates.
        weight_bytes: parameters and other constants that it reads.
        moved_bytes: activations that it reads and writes; what is folded into it reads and writes nothing.
    """

    macs: int
    weight_bytes: int
    moved_bytes: int


@dataclass(frozen=True)
class Work:
    """The layers between two cuts of a network, and the parts of bottlenecks there.

    Attributes:
        start, end: the cuts; layers `start` to `end - 1` are run.
        last: the network's last cut.
        layers: the work of these layers.
        bottleneck_parts: the work of the layers of the parts of bottlenecks, which are no layers of the network.
        parameters: how many are read, shared ones counted once.
        weight_bytes: parameters and other constants, shared ones counted once.
        activation_bytes: the most that is alive at one time for one frame, input and result included; what a kernel
            takes for itself while it runs is not.
        arriving, leaving: the ratios of the bottlenecks at `start` and `end`; 0: none.
        batch: how many frames are run together.
        heads: the work of the layers of the heads of early exits, which are no layers of the network either.
    """

    start: int
    end: int
    last: int
    layers: tuple[LayerWork, ...]
    parameters: int
    weight_bytes: int
    activation_bytes: int
    bottleneck_parts: tuple[LayerWork, ...] = ()
    arriving: float = 0.0
    leaving: float = 0.0
    batch: int = 1
    heads: tuple[LayerWork, ...] = ()

    @property
    def macs(self) -> int:
        """For one frame."""
        return sum(layer.macs for layer in (*self.layers, *self.bottleneck_parts, *self.heads))

    @property
    def memory_bytes(self) -> int:
        """Weights, and the activations of all frames that are run together."""
        return self.weight_bytes + self.batch * self.activation_bytes

    @property
    def is_head(self) -> bool:
        """Whether it is all that runs in front of cut `end`, and of the bottleneck there."""
        return self.start == 0 and not self.arriving

    @property
    def is_tail(self) -> bool:
        """Whether it is all that runs after cut `start`, and the bottleneck there."""
        return self.end == self.last and not self.leaving


class NetworkWork:
    """The work of a traced network, read once; `between` answers for any run of its layers."""

    def __init__(self, graph: ModelGraph) -> None:
        self.graph = graph
        self._order = {node: place for place, node in enumerate(graph.program.graph.nodes)}
        self._by_name = {node.name: node for node in self._order}
        self._data = self._depending_on_input()
        self.nodes = tuple(self._layers())
        self._layer_of = {node: layer for layer, nodes in enumerate(self.nodes) for node in nodes if node in self._data}
        self._storage: dict[fx.Node, fx.Node] = {}
        for node in self._order:
            self._storage[node] = self._memory(node)

    @cached_property
    def layers(self) -> tuple[LayerWork, ...]:
        return tuple(self._layer(index) for index in range(len(self.nodes)))

    def between(
        self,
        start: int,
        end: int,
        *,
        decoder: Work | None = None,
        encoder: Work | None = None,
        arriving: float = 0.0,
        leaving: float = 0.0,
        batch: int = 1,
        heads: Sequence[Work] = (),
    ) -> Work:
        """The work between two cuts.

        Args:
            decoder, encoder: The work of the parts of bottlenecks at `start` and `end`, as `part_work` counts them.
            arriving, leaving: the ratios of these bottlenecks.
            batch: how many frames are run together.
            heads: The work of the heads of early exits on the way, as `part_work` counts it.
        """
        weights = {id(tensor): tensor for nodes in self.nodes[start:end] for tensor in self._weights(nodes)}
        bottleneck_parts = [part for part in (decoder, encoder) if part is not None]
        beside = [*bottleneck_parts, *heads]
        return Work(
            start=start,
            end=end,
            last=len(self.nodes),
            layers=self.layers[start:end],
            parameters=_parameters(weights.values()) + sum(part.parameters for part in beside),
            weight_bytes=_bytes_of(weights.values()) + sum(part.weight_bytes for part in beside),
            # a bottleneck's part or a head and the layers beside it do not run at the same time
            activation_bytes=max(self._peak(start, end), *(part.activation_bytes for part in beside), 0),
            bottleneck_parts=tuple(chain.from_iterable(part.layers for part in bottleneck_parts)),
            arriving=arriving,
            leaving=leaving,
            batch=batch,
            heads=tuple(chain.from_iterable(head.layers for head in heads)),
        )

    def uncosted(self) -> tuple[str, ...]:
        """As the function of this name."""
        names = {
            operation_name(node)
            for node in self._layer_of
            if self._computes(node) and computes(operation_name(node)) and not counted_macs(node, _one_frame)
        }
        return tuple(sorted(names))

    def _layers(self) -> Iterator[tuple[fx.Node, ...]]:
        """The nodes that each layer adds, in order: what crosses after it needs them, and nothing before it did.

        Constants and sizes belong to every layer that needs them.
        """
        made = {node for node in self._order if node.op == "placeholder"}
        for cut in self.graph.cuts[1:]:
            new, pending = set[fx.Node](), [self._by_name[name] for name in cut.crossing]
            while pending:
                node = pending.pop()
                if node not in made and node not in new:
                    new.add(node)
                    pending += node.all_input_nodes
            made |= new & self._data
            yield tuple(sorted(new, key=self._order.__getitem__))

    def _depending_on_input(self) -> frozenset[fx.Node]:
        data = set[fx.Node]()
        for node in self._order:
            if _bytes(node) and (node.op == "placeholder" or any(source in data for source in node.all_input_nodes)):
                data.add(node)
        return frozenset(data)

    def _computes(self, node: fx.Node) -> bool:
        return node in self._data and node.op != "placeholder" and not _is_view(node)

    def _memory(self, node: fx.Node) -> fx.Node:
        """The node in whose memory a node's value lies: a view's base, and what a folded operation may overwrite."""
        sources = [source for source in node.all_input_nodes if source in self._storage and _bytes(source)]
        if not sources or node.op in ("placeholder", "get_attr"):
            return node
        data = [source for source in sources if source in self._data]
        overwrites = (
            len(data) == 1
            and folds(operation_name(node), 1)
            and self._layer_of.get(data[0], -1) == self._layer_of.get(node)
            and _bytes(data[0]) == _bytes(node)
        )
        return self._storage[(data or sources)[0]] if overwrites or _is_view(node) else node

    def _layer(self, index: int) -> LayerWork:
        nodes = set(self.nodes[index])
        computed = [node for node in self.nodes[index] if self._computes(node)]
        read = {source for node in computed for source in node.all_input_nodes if source in self._data}
        made = {self._storage[node] for node in computed} & nodes
        inputs = sum(
            min(_bytes(source), _bytes(self._storage[source])) for source in read if self._storage[source] not in nodes
        )
        outputs = sum(_bytes(node) for node in made)
        weights = _bytes_of({id(tensor): tensor for tensor in self._weights(nodes)}.values())
        if self.graph.layers[index].operation == "embedding":
            weights = min(weights, outputs)  # only the rows that are asked for
        return LayerWork(self.graph.layers[index].macs, weights, inputs + outputs)

    def _weights(self, nodes: Iterable[fx.Node]) -> Iterator[Tensor]:
        for node in nodes:
            if node.op == "get_attr":
                value = attrgetter(str(node.target))(self.graph.program)
                if isinstance(value, Tensor):
                    yield value
            elif node.op == "call_module":
                module = called_module(node)
                yield from chain(module.parameters(), module.buffers())

    def _peak(self, start: int, end: int) -> int:
        """The most bytes of activations alive at one time, each freed after its last reader."""
        given = [self._storage[self._by_name[name]] for name in self.graph.cuts[start].crossing]
        wanted = [self._storage[self._by_name[name]] for name in self.graph.cuts[end].crossing]
        steps = list(dict.fromkeys(chain.from_iterable(self.nodes[start:end])))
        last = {self._storage[source]: place for place, node in enumerate(steps) for source in node.all_input_nodes}
        last |= dict.fromkeys(wanted, len(steps))
        alive = {node: _bytes(node) for node in given}
        peak = sum(alive.values())
        for place, node in enumerate(steps):
            memory = self._storage[node]
            if memory.op != "get_attr":
                alive[memory] = _bytes(memory)
            peak = max(peak, sum(alive.values()))
            alive = {node: size for node, size in alive.items() if last.get(node, -1) > place}
        return peak


def uncosted(graph: ModelGraph) -> tuple[str, ...]:
    """The names of a network's operations that do compute, and whose cost is not known: they count as their bytes."""
    return NetworkWork(graph).uncosted()


def part_work(module: nn.Module, *specs: TensorSpec) -> Work:
    """The work of a module that takes some tensors, such as a part of a bottleneck.

    Args:
        specs: the tensors for one frame, frames stacked at `batch_dim`.

    Raises:
        TraceError, ShapeError: as `trace`.
    """
    examples = tuple(torch.zeros(1, *spec.shape, dtype=getattr(torch, spec.dtype)) for spec in specs)
    work = NetworkWork(trace(_FramesFirst(module, [spec.batch_dim or 0 for spec in specs]).eval(), examples))
    return work.between(0, len(work.nodes))


def with_batch(work: Work, batch: int) -> Work:
    """The same layers, with so many frames run together."""
    return replace(work, batch=batch)


class _FramesFirst(nn.Module):
    """Takes frames stacked in front, and hands them on as the module wants them."""

    def __init__(self, inner: nn.Module, batch_dims: Sequence[int]) -> None:
        super().__init__()
        self.inner, self.batch_dims = inner, tuple(batch_dims)

    def forward(self, *tensors: Tensor) -> object:
        return self.inner(*(x.movedim(0, dim) if dim else x for x, dim in zip(tensors, self.batch_dims, strict=True)))


def _is_view(node: fx.Node) -> bool:
    name = operation_name(node)
    return name == "getitem" or name in VIEWS or name in DROPOUTS


def _bytes(node: fx.Node) -> int:
    """The size of a node's tensors for one frame; 0 where it makes none."""
    value = node.meta.get("val")
    values: Sequence[object] = value if isinstance(value, (tuple, list)) else (value,)
    return sum(
        prod(_one_frame(size) for size in tensor.shape) * tensor.dtype.itemsize
        for tensor in values
        if isinstance(tensor, Tensor)
    )


def _one_frame(size: int | torch.SymInt) -> int:
    if not isinstance(size, torch.SymInt):
        return size
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, 1)))


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.dtype.itemsize for tensor in tensors)


def _parameters(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors if isinstance(tensor, nn.Parameter))
