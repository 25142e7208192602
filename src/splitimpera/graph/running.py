"""A user's network run as it is: in eval mode, its inputs by position or by name, and left as it was found."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

_REGISTERED = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")


def calling(model: nn.Module, names: tuple[str, ...]) -> Callable[..., Any]:
    """What calls a network on inputs in order: by name, where they have names."""
    return (lambda *inputs: model(**dict(zip(names, inputs, strict=True)))) if names else model


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; afterwards, also after an exception, every module has its own mode, plain attributes and
    hooks again: what it remembered of a call (a grid for the last shape, for instance) is forgotten."""
    found = _Found(model)
    try:
        model.eval()
        yield
    finally:
        found.restore()


@contextmanager
def forgetting(model: nn.Module) -> Iterator[None]:
    """For a while a network forgets every call as soon as it ends: no tensor of it outlives the call."""
    found: _Found
    # a hook runs before torch.export looks for attributes that were assigned
    hook = model.register_forward_hook(lambda *_: found.restore(), always_call=True)
    found = _Found(model)  # with this hook
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def results_of_tensors(model: nn.Module) -> Iterator[set[str]]:
    """For a while a network returns None in place of what is neither a tensor nor a plain value, such as a cache of
    keys and values; yields the names of these types."""
    left_out = set[str]()

    def plain(value: Any) -> Any:
        if value is None or isinstance(value, (Tensor, bool, int, float, complex, str, torch.SymInt)):
            return value
        left_out.add(type(value).__name__)
        return None

    hook = model.register_forward_hook(lambda _, __, result: pytree.tree_map(plain, result))
    try:
        yield left_out
    finally:
        hook.remove()


class _Found:
    """The plain attributes and hooks of a network's modules, as they are now, and what lists and dicts among them hold;
    parameters, buffers and modules are not among them."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = [(module, _attributes(module)) for module in model.modules()]
        values = [value for _, attributes in self.modules for value in attributes.values()]
        self.contents: list[tuple[Any, Any]] = [
            (value, value.copy()) for value in values if type(value) in (list, dict, OrderedDict, set)
        ]

    def restore(self) -> None:
        for module, attributes in self.modules:
            for name in _attributes(module).keys() - attributes.keys():
                del vars(module)[name]
            vars(module).update(attributes)
        for value, found in self.contents:
            value.clear()
            fill = value.extend if type(value) is list else value.update
            fill(found)


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name not in _REGISTERED}
