"""A traced program -> its layers, in the user's own words, and every legal cut between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, fx, nn

from splitimpera.core.errors import TraceError, shown
from splitimpera.graph import operations
from splitimpera.graph.counting import counted_macs
from splitimpera.graph.cuts import INPUT, Value, crossing_values
from splitimpera.graph.functional import called_module, operation_name
from splitimpera.records.graph import DTYPE_BYTES, Cut, Layer, TensorSpec

NAME_CHARACTERS = 200


class Reading(NamedTuple):
    """What a program was read as; the fields of `tracing.ModelGraph`."""

    layers: tuple[Layer, ...]
    cuts: tuple[Cut, ...]
    made_by: dict[str, int]


def read_layers(program: fx.GraphModule, model: nn.Module) -> Reading:
    """The layers and cuts of a functional program that was traced from a model.

    Raises:
        TraceError: it fixes the batch size, or makes tensors of a type that cannot cross.
    """
    return _Reader(program, _blocks(model)).read()


def _blocks(model: nn.Module) -> frozenset[str]:
    """The paths of modules that are blocks: made of several, but no mere sequence and not the whole."""
    sequences = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    return frozenset(
        path
        for path, module in model.named_modules()
        if path and next(module.children(), None) is not None and not isinstance(module, sequences)
    )


class _Reader:
    """Reads a program's nodes, in order, as layers; every method but `read` handles one node."""

    def __init__(self, program: fx.GraphModule, blocks: frozenset[str]) -> None:
        self.module = program
        self.blocks = blocks
        self.values: dict[str, Value] = {}  # every tensor that depends on the input
        self.uses: list[tuple[str, int]] = []
        self.groups: list[list[fx.Node]] = []  # the nodes of each layer, in order
        self.channels: dict[str, int] = {}  # the channels' dimension, the batch counted
        self.specs: dict[str, TensorSpec] = {}
        self._by_name: dict[str, fx.Node] = {}

    def read(self) -> Reading:
        for node in self.module.graph.nodes:
            if node.op == "placeholder":
                self._read_input(node)
            elif node.op == "output":
                self.uses += [(source.name, len(self.groups)) for source in node.all_input_nodes if self._data(source)]
            elif node.op.startswith("call_"):
                self._read_call(node)
        names = _layer_names(self.groups)
        for name, value in self.values.items():
            label = "input" if value.made == INPUT else names[value.made]
            self.specs[name] = _spec(label, self._by_name[name], self.channels.get(name, 1))
        layers = tuple(self._layer(index, name) for index, name in enumerate(names))
        made_by = {name: value.made for name, value in self.values.items()}
        return Reading(layers, tuple(self._cuts(layers)), made_by)

    def _data(self, node: fx.Node) -> bool:
        return node.name in self.values

    def _read_input(self, node: fx.Node) -> None:
        if not isinstance(node.meta.get("val"), Tensor):
            return
        if not _symbols(node):
            raise TraceError(
                f"the network fixes the batch size of its input '{node.name}'",
                hint="write x.shape[0] where it counts the samples",
            )
        self._add(node, INPUT, node.name)
        self.channels[node.name] = _usual_channel_dim(node)

    def _add(self, node: fx.Node, layer: int, base: str) -> None:
        self._by_name[node.name] = node
        size = _spec("", node, 0).bytes if isinstance(node.meta.get("val"), Tensor) else 0
        self.values[node.name] = Value(layer, size, base)

    def _read_call(self, node: fx.Node) -> None:
        data = [source for source in node.all_input_nodes if self._data(source)]
        if not data or not _makes_tensors(node):
            return  # sizes and constants: made again on whichever side needs them
        source = data[0]
        if _is_view(node):
            self._add(node, self.values[source.name].made, self.values[source.name].base)
            self.channels[node.name] = _channel_dim_of_view(node, self.channels.get(source.name, 1))
            return
        if operation_name(node) == "getitem":  # one of several results of one operation
            layer = self.values[source.name].made
            self.groups[layer].append(node)
        else:
            layer = self._layer_of(node, data)
        self._add(node, layer, node.name)
        self.channels[node.name] = self._channel_dim(node, data)

    def _layer_of(self, node: fx.Node, data: Sequence[fx.Node]) -> int:
        """The layer that a call joins; a new one unless it folds into the one that it follows."""
        layer = len(self.groups)
        if operations.folds(operation_name(node), len(data)) and len(data) == 1 and self._only_reader(data[0]):
            producer = self.values[data[0].name].made
            if producer != INPUT:
                layer = producer
        if layer == len(self.groups):
            self.groups.append([])
        self.groups[layer].append(node)
        self.uses += [(self._able_to_cross(source), layer) for source in data]
        return layer

    def _able_to_cross(self, source: fx.Node) -> str:
        """The nearest tensor that keeps samples apart: a view that mixes them with heads or windows stays at home."""
        while self.values[source.name].base != source.name and _spec("", source, 0).batch_dim is None:
            source = source.all_input_nodes[0]
        return source.name

    def _only_reader(self, source: fx.Node) -> bool:
        """Whether nothing else reads `source`, nor what it is a view of."""
        while True:
            if sum(_makes_tensors(user) or user.op == "output" for user in source.users) != 1:
                return False
            if self.values[source.name].base == source.name:
                return True
            source = source.all_input_nodes[0]

    def _channel_dim(self, node: fx.Node, data: Sequence[fx.Node]) -> int:
        name, ndim = operation_name(node), _ndim(node)
        if name in operations.CHANNELS_LAST:
            return ndim - 1
        if name.startswith(operations.CHANNELS_FIRST_PREFIXES):
            return 1
        for source in data:
            if _ndim(source) == ndim and source.name in self.channels:
                return self.channels[source.name]
        return _usual_channel_dim(node)

    def _layer(self, index: int, name: str) -> Layer:
        nodes = self.groups[index]
        made = [node.name for node in nodes if isinstance(node.meta["val"], Tensor)]
        return Layer(
            index=index,
            name=name,
            operation=operation_name(nodes[0]),
            output=self.specs[made[-1]],
            parameters=_count(self._parameters(nodes)),
            macs=sum(counted_macs(node, _one_frame) for node in nodes if operations.computes(operation_name(node))),
        )

    def _parameters(self, nodes: Sequence[fx.Node]) -> dict[int, nn.Parameter]:
        """The parameters that some nodes read, directly or through constants made of them."""
        found: dict[int, nn.Parameter] = {}
        for node in nodes:
            if node.op == "call_module":
                found |= {id(parameter): parameter for parameter in called_module(node).parameters()}
        pending = [source for node in nodes for source in node.all_input_nodes if not self._data(source)]
        while pending:
            node = pending.pop()
            if node.op == "get_attr":
                value = _attribute(self.module, str(node.target))
                if isinstance(value, nn.Parameter):
                    found[id(value)] = value
            pending += [source for source in node.all_input_nodes if not self._data(source)]
        return found

    def _cuts(self, layers: Sequence[Layer]) -> Iterator[Cut]:
        macs = sum(layer.macs for layer in layers)
        parameters = [self._parameters(nodes) for nodes in self.groups]
        after: list[int] = [0]
        tail: dict[int, nn.Parameter] = {}
        for found in reversed(parameters):
            tail |= found
            after.append(_count(tail))
        after.reverse()
        head: dict[int, nn.Parameter] = {}
        macs_head = 0
        ends = _block_ends(self.groups, self.blocks)
        for index, crossing in enumerate(crossing_values(self.values, self.uses, len(layers))):
            if index:
                macs_head += layers[index - 1].macs
                head |= parameters[index - 1]
            yield Cut(
                index=index,
                name=layers[index - 1].name if index else "input",
                tensors=tuple(self.specs[name] for name in crossing),
                crossing=crossing,
                macs_head=macs_head,
                macs_tail=macs - macs_head,
                parameters_head=_count(head),
                parameters_tail=after[index],
                block=len(crossing) == 1 and (index == 0 or ends[index - 1]),
            )


def _makes_tensors(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) or (isinstance(value, (tuple, list)) and any(isinstance(v, Tensor) for v in value))


def _is_view(node: fx.Node) -> bool:
    name = operation_name(node)
    if name == "getitem":
        source = node.args[0]
        assert isinstance(source, fx.Node)
        return isinstance(source.meta["val"], Tensor) or (source.op.startswith("call_") and _is_view(source))
    if name in operations.VIEWS or name in operations.DROPOUTS:
        return True
    return name.startswith("adaptive_") and _same_shape(node)  # a pool that changes nothing


def _same_shape(node: fx.Node) -> bool:
    source, made = node.all_input_nodes[0].meta["val"], node.meta["val"]
    return isinstance(made, Tensor) and source.shape[1:] == made.shape[1:]


def _ndim(node: fx.Node) -> int:
    value = node.meta["val"]
    return value.ndim if isinstance(value, Tensor) else -1


def _usual_channel_dim(node: fx.Node) -> int:
    """Where channels usually are: (N, C), (N, tokens, C), (N, C, H, W)."""
    ndim = _ndim(node)
    return 2 if ndim == 3 else min(1, max(ndim - 1, 0))


def _channel_dim_of_view(node: fx.Node, before: int) -> int:
    name, arguments, ndim = operation_name(node), cast(tuple[Any, ...], node.args[1:]), _ndim(node)
    source = node.all_input_nodes[0].meta["val"]
    if not isinstance(node.meta["val"], Tensor) or not isinstance(source, Tensor):
        return before
    if name == "permute":
        order = arguments[0] if isinstance(arguments[0], (list, tuple)) else arguments
        dims: list[int] = [dim % ndim for dim in order]
        return dims.index(before)
    if name in ("transpose", "swapaxes", "swapdims"):
        first, second = (int(dim) % ndim for dim in arguments)
        return {first: second, second: first}.get(before, before)
    old, new = ([_one_frame(size) for size in tensor.shape] for tensor in (source, node.meta["val"]))
    if new[: before + 1] == old[: before + 1]:
        return before
    after = len(old) - before
    return len(new) - after if new[-after:] == old[before:] else _usual_channel_dim(node)


def _symbols(node: fx.Node) -> set[Any]:
    """The symbols in a tensor's shape; they all stand for the number of samples."""
    return {
        symbol
        for size in node.meta["val"].shape
        if isinstance(size, torch.SymInt)
        for symbol in size.node.expr.free_symbols
    }


def _one_frame(size: Any) -> int:
    """A size, for one frame."""
    if not isinstance(size, torch.SymInt):
        return int(size)
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, 1)))


def _spec(name: str, node: fx.Node, channel_dim: int) -> TensorSpec:
    value = node.meta["val"]
    if not isinstance(value, Tensor):
        return TensorSpec(name, (), "bool")
    sizes: list[Any] = list(value.shape)
    symbolic = [dim for dim, size in enumerate(sizes) if isinstance(size, torch.SymInt)]
    plain = len(symbolic) == 1 and sizes[symbolic[0]].node.expr.is_Symbol
    batch_dim = symbolic[0] if plain else None
    shape = tuple(_one_frame(size) for dim, size in enumerate(sizes) if dim != batch_dim)
    if batch_dim is not None and channel_dim > batch_dim:
        channel_dim -= 1
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in DTYPE_BYTES:
        raise TraceError(f"the network makes tensors of the type {dtype}, which cannot cross", hint="convert them")
    return TensorSpec(name, shape, dtype, batch_dim, channel_dim)


def _count(parameters: dict[int, nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters.values())


def _attribute(module: nn.Module, path: str) -> object:
    value: object = module
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _layer_names(groups: Sequence[Sequence[fx.Node]]) -> list[str]:
    """A name for each layer, in the user's words.

    The path of the module that calls its operation, where it is that module's last one (so that a block's output bears
    the block's name); else path and operation; the operation alone at top level. A module called again gets "@1".
    Names are printable, whatever a module is called, for they are printed and drawn wherever cuts are.
    """
    stacks = [[(key, entry[0]) for key, entry in _module_stack(group[0])] for group in groups]
    last = {key: index for index, stack in enumerate(stacks) for key, _ in stack}
    names: list[str] = []
    seen = Counter[str]()
    for index, (group, stack) in enumerate(zip(groups, stacks, strict=True)):
        key, path = stack[-1] if stack else ("", "")
        operation = operation_name(group[0])
        place = shown(path, NAME_CHARACTERS)
        name = operation if not path else place if last[key] == index else f"{place}.{operation}"
        names.append(f"{name}@{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def _block_ends(groups: Sequence[Sequence[fx.Node]], blocks: frozenset[str]) -> list[bool]:
    """For each layer, whether it ends a block, or belongs to none."""
    inside = [[key for key, entry in _module_stack(group[0]) if entry[0] in blocks] for group in groups]
    last = {key: index for index, keys in enumerate(inside) for key in keys}
    return [not keys or any(last[key] == index for key in keys) for index, keys in enumerate(inside)]


def _module_stack(node: fx.Node) -> list[tuple[str, tuple[str, Any]]]:
    return list((node.meta.get("nn_module_stack") or {}).items())
