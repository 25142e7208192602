"""The tensors of a network's result by the names that its user knows: keys and positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import fx
from torch.utils import _pytree as pytree

from splitimpera.records.graph import Cut
from splitimpera.tasks.task import Output


def result_tensors(
    program: fx.GraphModule, structure: pytree.TreeSpec, last: Cut
) -> tuple[tuple[Output, ...], tuple[int, ...]]:
    """The tensors that cross the last cut, named, and the place of each among the leaves of the network's result.

    Args:
        structure: how the results are nested.
    """
    names = leaf_names(structure)
    leaves = pytree.tree_leaves(list(program.graph.nodes)[-1].args[0])
    made = [leaf.name if isinstance(leaf, fx.Node) else "" for leaf in leaves]
    places = tuple(made.index(name) for name in last.crossing)
    outputs = [Output(names[place], spec.shape, spec.dtype) for place, spec in zip(places, last.tensors, strict=True)]
    return tuple(outputs), places


def leaf_names(structure: pytree.TreeSpec) -> tuple[str, ...]:
    """The key or position of each leaf, nested ones joined by points: "logits", "features.0", and "0" for a tensor.

    >>> from torch.utils import _pytree as pytree
    >>> leaf_names(pytree.tree_structure({"logits": 1, "features": (2, 3)}))
    ('logits', 'features.0', 'features.1')
    """
    count = structure.num_leaves
    named = {place: ".".join(path) or "0" for path, place in _paths(pytree.tree_unflatten(range(count), structure))}
    return tuple(named.get(place, str(place)) for place in range(count))


def _paths(value: Any) -> Iterator[tuple[list[str], int]]:
    if isinstance(value, int):
        yield [], value
        return
    inside = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, (tuple, list)) else ()
    )
    for key, entry in inside:
        for path, place in _paths(entry):
            yield [str(key), *path], place
