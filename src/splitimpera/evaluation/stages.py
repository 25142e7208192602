"""What devices and links did to the frames of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.net.stability import keeps_up
from splitimpera.records.traffic import Deliveries

_TIMES, _COUNTS = np.zeros(0), np.zeros(0, dtype=np.int64)
NOTHING_SENT = Deliveries(
    *(_TIMES, _TIMES),
    *(_COUNTS, _COUNTS, _COUNTS, _COUNTS),
    erased=(),
    arrived=np.zeros(0, dtype=bool),
    first_s=_TIMES,
    response_s=_TIMES,
)
"""What a link did where every frame has left before."""


@dataclass(frozen=True, eq=False)
class Sent:
    """What a hop did to the frames of one replication.

    Attributes:
        order: which frames were sent, in the order of the deliveries' entries, shape (sent frames,).
    """

    order: IntArray
    deliveries: Deliveries


def over_all(run: Deliveries, ready_s: FloatArray, due_s: FloatArray) -> Deliveries:
    """What a link did to some of the frames that were due, held to the time in which all were.

    The few that did not leave early may follow each other faster than the link takes them, now and then.

    Args:
        ready_s: when each of them was handed to the link.
        due_s: when the first and the last of all frames were due, shape (2,).
    """
    if run.stable or not np.isfinite(run.complete_s).all():
        return run
    least_s = float((run.complete_s - ready_s).min())
    due, complete = np.concatenate([ready_s, due_s]), np.concatenate([run.complete_s, due_s + least_s])
    return replace(run, stable=keeps_up(due, complete))


def joined(parts: Sequence[Sent]) -> Sent:
    """What several links did, as one."""
    if len(parts) == 1:
        return parts[0]
    runs = [part.deliveries for part in parts]
    arrays = {each.name: [getattr(run, each.name) for run in runs] for each in fields(Deliveries)}
    stable, erased = all(arrays.pop("stable")), [*chain.from_iterable(arrays.pop("erased"))]
    joint = {name: np.concatenate(of_runs) for name, of_runs in arrays.items()}
    return Sent(np.concatenate([part.order for part in parts]), Deliveries(**joint, erased=erased, stable=stable))


def crossing(sizes: IntArray, runs: Sequence[Sent]) -> tuple[float, float]:
    """The mean payload of the frames that a hop carried, and in how many packets each of them went; 0 of none.

    Args:
        sizes: the payload's bytes of all frames, shape (replications, frames).
        runs: one entry a replication.
    """
    carried = sum(len(sent.order) for sent in runs)
    crossed = sum(int(of_run[sent.order].sum()) for of_run, sent in zip(sizes, runs, strict=True))
    packets = sum(int(sent.deliveries.packets.sum()) for sent in runs)
    return crossed / max(carried, 1), packets / max(carried, 1)


def took(begun_s: FloatArray, done_s: FloatArray) -> FloatArray:
    """How long each frame took; NaN for one that had never begun."""
    with np.errstate(invalid="ignore"):
        took_s: FloatArray = done_s - begun_s
    return took_s


@dataclass(frozen=True, eq=False)
class Stage:
    """A device or a link as the frames' senders share it; of several side by side, the one that most do.

    Attributes:
        busy_s: how long it is busy for one frame of every sender that it has, shape (replications,).
        share: The share of frames that it gets, or takes, where it drops some.
        drops: whether it drops frames rather than let them wait without end.
        coming: The share of frames that did not leave at an early exit before, shape (replications,).
    """

    name: str
    busy_s: FloatArray
    share: FloatArray
    drops: bool = False
    coming: float | FloatArray = 1.0
