"""Every legal cut of a network: the prefixes of one topological order, each with the values that cross there.

Arbitrary down-sets explode (hundreds in one inception block), prefixes do not. This file is pure: it knows names,
positions and bytes, and no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

INPUT = -1
"""The position of what the network is given, before its first layer."""


@dataclass(frozen=True)
class Value:
    """One tensor of the graph.

    Attributes:
        made: the layer that makes it (`INPUT` for an input); a view is made where its base is.
        bytes: its size for one frame.
        base: the value that it is a view of; its own name where it is none.
    """

    made: int
    bytes: int
    base: str


def crossing_values(values: Mapping[str, Value], uses: Iterable[tuple[str, int]], layers: int) -> list[tuple[str, ...]]:
    """What crosses each of the `layers + 1` cuts, in the order of `values`.

    Args:
        values: all tensors by name, in topological order.
        uses: which value is read by which layer; the network's result is read by a layer of number `layers`.

    A value crosses cut k when it is made before layer k and read by layer k or a later one. Of a tensor and its views
    the cheaper choice crosses: the views that are read, where they have fewer bytes together (a class token out of all
    tokens), else the tensor itself, from which the tail makes its views again. At the first cut the inputs cross as
    they are given, at the last one the result as it is.
    """
    last_use: dict[str, int] = {}
    for name, layer in uses:
        last_use[name] = max(layer, last_use.get(name, INPUT))
    inner = [_at(cut, values, last_use) for cut in range(layers)]
    result = tuple(name for name in values if last_use.get(name) == layers)
    return [*inner, result]


def _at(cut: int, values: Mapping[str, Value], last_use: Mapping[str, int]) -> tuple[str, ...]:
    needed: dict[str, list[str]] = {}
    for name, last in last_use.items():
        if values[name].made < cut <= last:
            needed.setdefault(values[name].base, []).append(name)
    chosen = set[str]()
    for base, names in needed.items():
        views_are_cheaper = base not in names and sum(values[name].bytes for name in names) < values[base].bytes
        chosen.update(names if cut and views_are_cheaper else [base])
    return tuple(name for name in values if name in chosen)
