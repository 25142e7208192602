"""In-place operations made functional, so that a cut may fall between a write and what it would have changed."""

from __future__ import annotations

import re

import torch
from torch import fx, nn

from splitimpera.graph.operations import ACTIVATIONS, DROPOUTS, VIEWS

MAY_ALIAS = VIEWS | DROPOUTS | {"getitem", "to", "type_as", "real", "imag", "view_as_real", "view_as_complex"}


def operation_name(node: fx.Node) -> str:
    """ATen's name without overload, "getitem" for Python's operator, "conv2d" for a call of that module."""
    target = node.target
    if node.op == "call_module":
        return _module_operation(node)
    if isinstance(target, torch._ops.OpOverload):
        return str(target.overloadpacket.__name__)
    return getattr(target, "__name__", str(target))


def called_module(node: fx.Node) -> nn.Module:
    """The module that a `call_module` node calls."""
    owner = node.graph.owning_module
    assert owner is not None
    return owner.get_submodule(str(node.target))


def _module_operation(node: fx.Node) -> str:
    name = type(called_module(node)).__name__
    if name.lower() in ACTIVATIONS:
        return name.lower()
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return re.sub(r"(norm|dropout)\d?d?$", r"\1", snake)


def remove_in_place(graph: fx.Graph) -> bool:
    """Replace every in-place operation by its functional twin, where nobody could tell the difference.

    That is so where what is written to, and every view of the same memory, is not read again after the write, but
    through the write's own result.

    Returns:
        False where some write is of another kind; the graph is then to be functionalised by other means.
    """
    order = {node: position for position, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if not _writes(node):
            continue
        twin, written = _functional_twin(node), node.args[0]
        if twin is None or not isinstance(written, fx.Node):
            return False
        memory = _same_memory(written, node)
        if any(alias.op in ("placeholder", "get_attr") for alias in memory):
            return False
        if any(order[user] > order[node] for alias in memory for user in alias.users):
            return False
        node.target = twin
    return True


def _writes(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _functional_twin(node: fx.Node) -> torch._ops.OpOverload | None:
    assert isinstance(node.target, torch._ops.OpOverload)
    name, overload = node.target.overloadpacket.__name__, node.target._overloadname
    functional = getattr(torch.ops.aten, name[:-1], None) if name.endswith("_") else None
    return getattr(functional, overload, None)


def _same_memory(written: fx.Node, write: fx.Node) -> set[fx.Node]:
    """The nodes that may share memory with `written`, those that only follow from `write` left out."""
    root = written
    while _aliases(root) and isinstance(root.args[0], fx.Node):
        root = root.args[0]
    memory, pending = set[fx.Node](), [root]
    while pending:
        alias = pending.pop()
        memory.add(alias)
        pending += [user for user in alias.users if user is not write and _aliases(user) and user.args[0] is alias]
    return memory


def _aliases(node: fx.Node) -> bool:
    """Whether a node's value may lie in the memory of its first argument."""
    if node.op != "call_function":
        return False
    return operation_name(node) in MAY_ALIAS or _writes(node)
