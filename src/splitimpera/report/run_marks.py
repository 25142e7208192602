"""What the page of a run draws, with no more numbers than an eye tells apart: bins of frames, axes, plans over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil, floor, log10
from typing import Any

import numpy as np

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.units import format_fraction, format_rate, format_time
from splitimpera.report.run_history import ON_TIME, RunHistory, Span, Windows
from splitimpera.report.study_axes import round_linear, round_log

MOST_MARKS = 9000
"""Of more frames, those of equal times are drawn as one mark, from their least to their largest value."""
MOST_TICKS = 6
LOGARITHMIC = 20.0
"""Where the largest value is so many times the least, the axis is logarithmic."""
ROUNDING = 1e-6
"""Of a bin's width: a frame that is due when a bin begins belongs to it."""
NEAR_ALL = 0.999
"""The axis of latencies ends where all but so few are."""


def marks(history: RunHistory) -> dict[str, Any]:
    """Bins of frames with their least, median and largest values; of few frames each is its own."""
    places, edges = _bins(history)
    count = int(places[-1]) + 1
    frames = np.bincount(places, minlength=count)
    there = np.flatnonzero(frames)
    series = {
        "latency": history.latency_s,
        "goodput": history.goodput_bps,
        "trip": history.round_trip_s,
        "loss": history.loss,
    }
    missed = np.bincount(places, weights=history.kinds >= ON_TIME, minlength=count)
    return {
        "at": [round(float(edges[place]), 4) for place in there],
        "width": None if count == len(history) else round(float(edges[1] - edges[0]), 4),
        "frames": frames[there].tolist(),
        "missed": missed[there].astype(int).tolist(),
        **{name: _ends(values, places, there) for name, values in series.items() if np.isfinite(values).any()},
    }


def _bins(history: RunHistory) -> tuple[IntArray, FloatArray]:
    """The bin of each frame, and when each begins."""
    if len(history) <= MOST_MARKS:
        return np.arange(len(history)), history.due_s
    start_s = float(history.due_s[0])
    width_s = _round_up((history.end_s - start_s) / MOST_MARKS)
    places = np.floor((history.due_s - start_s) / width_s + ROUNDING).astype(np.int64)
    return places, start_s + width_s * np.arange(places[-1] + 2)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, ...

    >>> _round_up(0.3)
    0.5
    """
    power = 10.0 ** floor(log10(value))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= value * (1 - 1e-9))


def _ends(values: FloatArray, places: IntArray, there: IntArray) -> dict[str, list[float | None]]:
    """The least, median and largest value of each bin; None where it has none."""
    known = np.isfinite(values)
    own, values = places[known], values[known]
    values, own = values[order := np.lexsort((values, own))], own[order]
    bins, starts, counts = np.unique(own, return_index=True, return_counts=True)
    middle = (values[starts + (counts - 1) // 2] + values[starts + counts // 2]) / 2
    columns = {"mid": middle}
    if len(there) < len(places):
        columns |= {"low": values[starts], "high": values[starts + counts - 1]}
    found = {}
    for name, column in columns.items():
        filled = dict(zip(bins.tolist(), column.tolist(), strict=True))
        found[name] = [_short(filled.get(place)) for place in there.tolist()]
    return found


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def shares(windows: Windows) -> dict[str, Any]:
    """The sliding windows; None where there is no frame, or no target is known."""

    at_s = windows.at_s.tolist()
    alone = len(at_s) == 1  # then it is drawn from its beginning to its end

    def column(values: FloatArray) -> list[float | None]:
        found = [round(value, 4) if np.isfinite(value) else None for value in values.tolist()]
        return [*found, *found] if alone else found

    return {
        "at": [round(at, 4) for at in ([at_s[0] - windows.width_s, *at_s] if alone else at_s)],
        "width": _short(windows.width_s),
        "kinds": [column(windows.shares[:, kind]) for kind in range(windows.shares.shape[1])],
        "quality": None if windows.quality is None else column(windows.quality),
    }


def band(history: RunHistory) -> list[tuple[float, float, int]]:
    """When which plan was used; where it changed more often than can be drawn, the one most used at a time."""
    stays: Sequence[Span] = history.stays
    if len(stays) > MOST_MARKS:
        places, edges = _bins(history)
        count = len(history.plans) + 1
        used = np.bincount(places * count + history.plan + 1, minlength=(len(edges) - 1) * count).reshape(-1, count)
        most = np.where(used.any(axis=1), used.argmax(axis=1) - 1, -1)
        turns = [0, *(np.flatnonzero(np.diff(most)) + 1).tolist(), len(most)]
        stays = [Span(float(edges[a]), float(edges[b]), int(most[a])) for a, b in pairwise(turns)]
    return [(round(stay.from_s, 4), round(stay.to_s, 4), stay.plan) for stay in stays]


def axes(history: RunHistory, windows: Windows) -> dict[str, Any]:
    """The upright axis of each chart, by what is drawn in it."""
    deadline = [] if history.run.deadline_s is None else [history.run.deadline_s]
    latencies = history.answered
    if len(latencies) > MOST_MARKS:  # the very slowest would take most of the room
        latencies = latencies[latencies <= max([*deadline, 2 * float(np.quantile(latencies, NEAR_ALL))])]
    found = {
        "goodput": axis(history.goodput_bps, format_rate),
        "trip": axis(history.round_trip_s, format_time),
        "loss": axis(np.append(history.loss, 0.01), format_fraction, zero=True)
        if np.isfinite(history.loss).any()
        else None,
        "latency": axis(np.append(latencies, deadline), format_time),
        "shares": _axis(0.0, 1.0, format_fraction, logarithmic=False, about=4),
    }
    if windows.quality is not None and history.quality is not None and np.isfinite(windows.quality).any():
        whole = float(np.nanmax(windows.quality)) <= 1 and float(np.nanmin(windows.quality)) >= 0
        write = history.quality.format
        found["quality"] = _axis(0.0, 1.0, write, logarithmic=False, about=4) if whole else axis(windows.quality, write)
    return {name: made for name, made in found.items() if made is not None}


def axis(values: FloatArray, write: Callable[[float], str], *, zero: bool = False) -> dict[str, Any] | None:
    """An axis that has room for some values; None where none is finite."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    positive = values[values > 0]
    if not zero and len(positive) and positive.max() > LOGARITHMIC * positive.min():
        low, high = float(positive.min()), float(positive.max())
        return _axis(low / 1.15, high * 1.15, write, logarithmic=True)
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return _axis(low, low + ((high - low) * 1.08 or 1.0), write, logarithmic=False, about=4)


def _axis(
    low: float, high: float, write: Callable[[float], str], *, logarithmic: bool, about: int = MOST_TICKS
) -> dict[str, Any]:
    ticks = round_log(low, high) if logarithmic else round_linear(low, high, about)
    if len(ticks) > MOST_TICKS and logarithmic:
        ticks = [
            at for at in ticks if f"{at:.0e}".startswith("1")
        ]  # powers of ten: there are two, or it would be fewer
    ticks = ticks[:: ceil(len(ticks) / MOST_TICKS)]
    return {"low": low, "high": high, "log": logarithmic, "ticks": [(at, write(at)) for at in ticks]}
