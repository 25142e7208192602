"""A policy as people read it: neighbouring link conditions with one plan, joined into bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from splitimpera.core.array_types import IntArray
from splitimpera.records.policy import Policy

Bounds = tuple[float, float]
_Box = tuple[slice, ...]
NAMES = ("rate", "delay", "loss")


@dataclass(frozen=True)
class Region:
    """A box of link conditions with one plan.

    Attributes:
        plan: Its name; None: none is feasible.
        bounds: From where to where, by "rate", "delay" and "loss", in SI units; at the grid's ends, its ends. What the
            policy does not look at is left out.
        cells: The grid's cells in it.
        weight: How often one of them is met.
        value: What the plan is worth there, the mean over its cells by their weights.
        gain: What it is worth more than the next best plan at hand, in the same mean.
    """

    plan: str | None
    bounds: Mapping[str, Bounds]
    cells: tuple[int, ...]
    weight: float
    value: float
    gain: float


def regions(policy: Policy) -> list[Region]:
    """Boxes that cover every cell of a policy once, those that are met most often first.

    Each cell that is in none yet grows as far as its plan goes, along one axis after the other, in the order of axes
    that leads to the largest box.
    """
    plans = np.array([-1 if place is None else place for place in policy.chosen]).reshape(policy.shape)
    free = np.ones(policy.shape, dtype=bool)
    indices = np.arange(plans.size).reshape(policy.shape)
    found = []
    for start in np.ndindex(policy.shape):
        if free[start]:
            same = free & (plans == plans[start])
            box = max((_grown(same, start, order) for order in permutations(range(plans.ndim))), key=_size)
            free[box] = False
            found.append(_region(policy, box, indices[box].ravel()))
    return sorted(found, key=lambda region: -region.weight)


def _size(box: _Box) -> int:
    return int(np.prod([side.stop - side.start for side in box]))


def _grown(
    same: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], start: tuple[int, ...], order: tuple[int, ...]
) -> _Box:
    """The box from a cell on within which all are the same."""
    box = [slice(place, place + 1) for place in start]
    for axis in order:
        while box[axis].stop < same.shape[axis]:
            more = [*box]
            more[axis] = slice(box[axis].start, box[axis].stop + 1)
            if not same[tuple(more)].all():
                break
            box = more
    return tuple(box)


def _region(policy: Policy, box: _Box, cells: IntArray) -> Region:
    bounds = {
        name: _bounds(policy, name, side) for name, side in zip(NAMES, box, strict=True) if len(policy.axes[name])
    }
    place = policy.chosen[cells[0]]
    weights = np.array([policy.weights[cell] for cell in cells])
    shares = weights / weights.sum() if weights.sum() > 0 else np.full(len(cells), 1 / len(cells))
    plan = None if place is None else policy.plans[place]
    values = np.array([plan.values[cell] if plan else 0.0 for cell in cells])
    return Region(
        plan=plan.id if plan else None,
        bounds=bounds,
        cells=tuple(map(int, cells)),
        weight=float(weights.sum()),
        value=float(values @ shares),
        gain=float(np.array([policy.gain(cell) for cell in cells]) @ shares),
    )


def _bounds(policy: Policy, name: str, side: slice) -> Bounds:
    axis = policy.axes[name]
    ends = axis[0], *policy.borders[name], axis[-1]
    return ends[side.start], ends[side.stop]
