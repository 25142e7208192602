"""A study over link conditions -> the policy of its best few plans."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from splitimpera.core import units
from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.core.errors import PlanError, listed
from splitimpera.net.rate_shares import rate_shares
from splitimpera.qos.policy_choice import Segments
from splitimpera.qos.policy_table import Offer, best_policy
from splitimpera.records.link import Trace
from splitimpera.records.policy import MOST_CELLS, Policy, PolicyPlan
from splitimpera.records.requirement import BALANCED, METRICS
from splitimpera.scenario.link_grid import KEYS, LinkGrid
from splitimpera.studies.study_results import PlanRow, StudyResults

PLANS = 4
"""So many are at hand unless told."""
ERRORS_IN_INTERVAL = 2 * 1.959964
"""Standard errors in the width of a 95 % interval."""
MEMORY = "device_memory"
WHOLE = math.inf
"""The depth of a plan that runs all layers on the device."""
_COPIED = set(PolicyPlan.model_fields) - {"values", "errors"}
_DIMENSIONS = {"rate": units.BIT_RATE, "delay": units.TIME, "loss": units.FRACTION}


def policy_of(
    results: StudyResults,
    most: int = PLANS,
    *,
    traces: Sequence[Trace] = (),
    memory_bytes: int | None = None,
    segments: Mapping[str, Segments] | None = None,
) -> Policy:
    """The policy of a study whose ranges are rates, delays and losses of the link.

    A plan's value is its on-time quality, or what the objective optimises; 0 where it is not feasible. What is no share
    is brought to 1/2 to 1, where it stands to the largest that a feasible plan has anywhere, so that it can be averaged
    over conditions at which a plan is not feasible. A value's standard error is that of the quality over the test
    samples; where a study has no interval of it, the largest that it has of this plan or, failing that, of any.

    Args:
        most: At most so many plans; one of them is local where there is one that the device can hold.
        traces: Recordings of links, which say how often each rate is met; none: all conditions are met equally often.
        memory_bytes: What the device has for all plans; None: no limit.
        segments: What each plan needs on the device, by its name; None: by its cut, see `head_segments`.

    Raises:
        PlanError: the study is not over, has ranges of something else, has no feasible plan, or too many plans are
            asked for.
        SimulationError: the traces have none of the grid's rates.
    """
    where = f"study '{results.name}'"
    grid, cell_of = _grid(results, where)
    _check_done(results, where)
    found: dict[str, dict[int, PlanRow]] = {}
    ranked: dict[tuple[str, int], int] = {}
    for index, cell in enumerate(cell_of):
        for rank, row in enumerate(results.plans_of(index)):
            found.setdefault(row.id, {})[cell] = row
            ranked[row.id, cell] = rank
    plans = _plans(found, results, len(grid))
    ranks: IntArray = np.array([[ranked.get((name, cell), len(found)) for cell in range(len(grid))] for name in found])
    if memory_bytes is None:
        needed: Sequence[Segments] = ()
    else:
        needed = head_segments([next(iter(rows.values())) for rows in found.values()])
        needed = needed if segments is None else [segments[name] for name in found]
    weights, prior = _prior(grid, traces)
    return best_policy(
        Offer(plans, weights, ranks, needed),
        most,
        memory_bytes=memory_bytes,
        name=results.name,
        objective=_objective(results),
        prior=prior,
        rates_bps=[*grid.rates_bps],
        delays_s=[*grid.delays_s],
        losses=[*grid.losses],
    )


@dataclass(frozen=True)
class DeviceNeeds:
    """What a policy's plans take on the device.

    Attributes:
        each: The bytes of each plan, by its name.
        together: Of all at once, with what they share only once.
    """

    each: Mapping[str, int]
    together: int


def device_needs(results: StudyResults, policy: Policy) -> DeviceNeeds | None:
    """What the plans of a policy take on the device, as `head_segments` has it; None where its study does not tell."""
    rows: dict[str, PlanRow] = {}
    for cell in results.cells:
        for row in results.plans_of(cell.index):
            rows.setdefault(row.id, row)
    if any(row.metrics.get(MEMORY) is None for row in rows.values()):
        return None
    needed = dict(zip(rows, head_segments([*rows.values()]), strict=True))
    own = [needed[plan.id] for plan in policy.plans]
    each = {plan.id: sum(segments.values()) for plan, segments in zip(policy.plans, own, strict=True)}
    return DeviceNeeds(each, sum({name: size for segments in own for name, size in segments.items()}.values()))


def head_segments(rows: Sequence[PlanRow]) -> list[Segments]:
    """What plans need on the device, as far as their own memory tells: the head of a deeper cut contains those before.

    A head's step is what it takes more than the heads of all shallower cuts; a bottleneck has its own.

    Raises:
        PlanError: what a plan takes is not known.
    """
    taken: dict[tuple[float, float], int] = {}
    for row in rows:
        memory = row.metrics.get(MEMORY)
        if memory is None:
            raise PlanError("it is not known what it takes on the device", where=f"plan '{row.id}'")
        place = _depth(row), row.bottleneck
        taken[place] = max(taken.get(place, 0), math.ceil(memory))
    depths = sorted({depth for depth, _ in taken})
    levels: dict[float, int] = {}
    for depth in depths:
        # without a bottleneck, where there is such a plan; else the least that one has with it
        own = taken.get((depth, 0.0), min(taken[place] for place in taken if place[0] == depth))
        levels[depth] = max(own, max(levels.values(), default=0))
    steps = {
        depth: level - before for (before, level), depth in zip(pairwise([0, *levels.values()]), depths, strict=True)
    }
    made: list[Segments] = []
    for row in rows:
        own_depth = _depth(row)
        parts = {("layers", depth): step for depth, step in steps.items() if depth <= own_depth}
        more = taken[own_depth, row.bottleneck] - levels[own_depth]
        made.append(parts | {("bottleneck", own_depth, row.bottleneck): max(0, more)})
    return made


def _depth(row: PlanRow) -> float:
    return WHOLE if row.cut is None else row.cut


def _grid(results: StudyResults, where: str) -> tuple[LinkGrid, list[int]]:
    """The grid of a study, and for each of its cells the grid's."""
    values: dict[str, list[float]] = {}
    for axis in results.axes:
        name = next((name for name, key in KEYS.items() if axis.keys == (key,)), None)
        if name is None:
            if len(axis.values) == 1:
                continue  # the same everywhere
            raise PlanError(
                f"a policy is over {listed(KEYS.values())}, the study also has a range of {listed(axis.keys)}",
                where=where,
                hint="give it one value, or make a study for each",
            )
        values[name] = [units.parse(step[0], _DIMENSIONS[name]) for step in axis.values]
        if len({*values[name]}) < len(values[name]):
            raise PlanError(f"a value of {axis.keys[0]} stands there twice", where=where, hint="name it once")
    ascending = {name: tuple(sorted(values.get(name, ()))) for name in KEYS}
    grid = LinkGrid(ascending["rate"], ascending["delay"], ascending["loss"])
    if len(grid) > MOST_CELLS:
        raise PlanError(f"{len(grid)} conditions, a policy has at most {MOST_CELLS}", where=where)
    cell_of = []
    for cell in results.cells:
        place = 0
        for name, key in KEYS.items():
            axis_values = ascending[name]
            step = axis_values.index(units.parse(cell.values[key], _DIMENSIONS[name])) if axis_values else 0
            place = place * max(1, len(axis_values)) + step
        cell_of.append(place)
    return grid, cell_of


def _check_done(results: StudyResults, where: str) -> None:
    states = Counter(cell.state for cell in results.cells)
    if states["left"]:
        told = f"{states['left']} of {len(results.cells)} conditions are left to evaluate"
        raise PlanError(told, where=where, hint="run it to its end")
    for cell in results.cells:
        if cell.state == "failed":
            told = f"{states['failed']} of {len(results.cells)} conditions cannot be evaluated"
            raise PlanError(f"{told}, the first: {cell.reason}", where=where, hint="leave these out")


def _metric(results: StudyResults) -> str:
    return f"on_time_{results.quality}" if results.objective == BALANCED else results.objective


def _is_share(results: StudyResults) -> bool:
    metric = METRICS[_metric(results)]
    return metric.dimension is units.FRACTION and metric.better == "higher"


def _objective(results: StudyResults) -> str:
    name = _metric(results)
    if _is_share(results):
        return name
    sign = "+" if METRICS[name].better == "higher" else "-"
    start = "1/2" if sign == "+" else "1"
    return f"{start} {sign} {name} / twice the largest of a feasible plan"


def _plans(found: Mapping[str, Mapping[int, PlanRow]], results: StudyResults, cells: int) -> list[PolicyPlan]:
    """All plans with their values in every cell."""
    worths = np.full((len(found), cells), np.nan)
    errors = np.full((len(found), cells), np.nan)
    own = {results.quality, f"on_time_{results.quality}"}
    for place, rows in enumerate(found.values()):
        for cell, row in rows.items():
            if row.feasible and row.value is not None:
                worths[place, cell] = row.value
            if row.quality_ci is not None and _metric(results) in own:
                errors[place, cell] = (row.quality_ci[1] - row.quality_ci[0]) / ERRORS_IN_INTERVAL
    if not _is_share(results):
        largest = np.nanmax(np.abs(worths), initial=0.0) or 1.0
        start = 0.5 if METRICS[_metric(results)].better == "higher" else 1.0  # then values are negative
        worths, errors = start + worths / (2 * largest), errors / (2 * largest)
    values, errors = np.nan_to_num(worths, nan=0.0), _completed(errors)
    return [
        PolicyPlan.model_validate(
            row.model_dump(include=_COPIED) | {"values": values[place].tolist(), "errors": errors[place].tolist()}
        )
        for place, row in enumerate(next(iter(rows.values())) for rows in found.values())
    ]


def _completed(errors: FloatArray) -> FloatArray:
    """Errors that are not known are the largest of the same plan or, failing that, of any; 0 where none is known."""
    of_any = np.nanmax(errors, initial=-1.0)
    of_plan = np.nanmax(errors, axis=1, initial=-1.0, keepdims=True)
    instead = np.where(of_plan >= 0, of_plan, max(of_any, 0.0))
    return np.where(np.isnan(errors), instead, errors)


def _prior(grid: LinkGrid, traces: Sequence[Trace]) -> tuple[FloatArray, str]:
    """How often each condition is met, and that in words."""
    weights = np.full(len(grid), 1 / len(grid))
    if not traces:
        return weights, "all conditions equally often"
    found = rate_shares(traces, grid.rates_bps)
    weights = np.repeat(found.shares, len(grid) // len(grid.rates_bps)) * len(grid.rates_bps) / len(grid)
    words = f"rates as in {found.windows} s of {listed(trace.name for trace in traces)}"
    if found.outside:
        words += f", {units.format_fraction(found.outside)} of it beyond the grid"
    if found.outage:
        words += f"; in {units.format_fraction(found.outage)} of it nothing could be sent, which is no condition here"
    return weights, words
