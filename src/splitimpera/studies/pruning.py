"""Which plans of many are evaluated: none is left out that could be the best, as long as there are not too many.

What cannot run, and what misses a hard requirement whatever it predicts, is known from bounds (`plan_bounds`): such a
plan is never recommended. Where more are left than are evaluated, those go first that look best by these bounds. These
know nothing of quality, which the coarsest codec would lose first: so the plans take turns, the best one of each set of
codecs, then the second best of each, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from splitimpera.core.array_types import FloatArray, IntArray
from splitimpera.evaluation.plan_bounds import Payloads, PlanBounds, Spent, bounds_of
from splitimpera.evaluation.plan_space import PlanSpace
from splitimpera.qos.verdict import needs_stability
from splitimpera.records.measurements import Measurements
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.requirement import BALANCED, METRICS, Requirement
from splitimpera.records.traffic import Workload

Bools = npt.NDArray[np.bool_]

MOST = 200
"""So many plans are evaluated of a space that has more."""
LEAST = 20
"""So many, even if fewer may be feasible: those that miss by least."""
SLACK, SLACK_S = 1e-9, 1e-7
"""By how much a bound may be missed that is met: the simulator counts whole nanoseconds."""
WITH_EXITS = frozenset({"cut_depth", "device_memory"})
"""Of these metrics a plan is as good as its variant with early exits, or better; of all others that may be better."""
MOST_SETS = 62
"""So many codecs are told from each other, bits of an integer."""


def is_large(space: PlanSpace, most: int = MOST) -> bool:
    """Whether a space has more than two devices, and more plans than are evaluated."""
    return len(space.devices) > 2 and count_of(space) > most


def count_of(space: PlanSpace) -> int:
    """How many plans a space has, none of them made."""
    ways = np.ones(len(space.hops[0]), dtype=object)  # Python's numbers, which do not overflow
    total = 1 + int(ways.sum())
    for before, after in zip(space.hops, space.hops[1:], strict=False):
        ways = np.array([[space.follows(one, other) for one in before] for other in after], dtype=object) @ ways
        total += int(ways.sum())
    return total


def covering(space: PlanSpace) -> list[Plan]:
    """All plans of a space, or as few of a large one as have all its layers, bottlenecks and codings on all devices."""
    if not is_large(space):
        return [*space.plans()]
    chains = dict.fromkeys(_chains(space))
    return [space.plan(()), *map(space.plan, chains)]


def _chains(space: PlanSpace) -> Iterator[tuple[Hop, ...]]:
    before: tuple[Hop, ...] = ()  # the input, as far as the device
    for place, hops in enumerate(space.hops):
        yield from ((*before, hop) for hop in hops)
        for one in _places(space.hops[place - 1]) if place else ():
            yield from ((*before[:-1], one, other) for other in _places(hops) if space.follows(one, other))
        before = (*before, next(hop for hop in hops if not hop.cut))


def _places(hops: Sequence[Hop]) -> Iterator[Hop]:
    """A hop of each cut and bottleneck, of the input all: it may be coded anew on its way."""
    yield from {(hop.cut, hop.bottleneck, "" if hop.cut else hop.codec): hop for hop in hops}.values()


def worth_evaluating(
    space: PlanSpace,
    bench: Payloads,
    measurements: Measurements,
    workload: Workload,
    requirements: Sequence[Requirement],
    objective: str = BALANCED,
    say: Callable[[str], object] = str,
    most: int = MOST,
    early: bool = False,
) -> list[Plan]:
    """The plans of a large space that are evaluated, in its order; LC is always one of them.

    Args:
        bench: The network; a `Testbed`.
        say: takes a line of news: how many are left out, and why.
        most: so many at most.
        early: Whether they have variants with early exits: at best every frame leaves at once, is right, and takes
            nothing.

    Raises:
        DataError: a time was not measured.
        ScenarioError: there are too many plans to look at.
    """

    certain = [each for each in requirements if not early or each.metric in WITH_EXITS]

    def may_matter(parts: Spent) -> Bools:
        return possible_parts(parts, certain)

    bounds = bounds_of(space, bench, measurements, workload, may_matter)
    left = possible(bounds, certain, workload)
    order = _ranked(bounds, _codecs_of(space, bounds.hops), requirements, objective, workload)
    wanted = order[left[order]]
    chosen = wanted[:most] if len(wanted) >= LEAST else np.append(wanted, order[~left[order]][: LEAST - len(wanted)])
    chosen = np.unique(np.append(chosen[: most - 1] if 0 not in chosen else chosen, 0))
    news = f"{count_of(space)} plans, of which all but {int(left.sum())} cannot run or violate a requirement whatever"
    say(f"{news} they predict; {len(chosen)} are evaluated" + _why(len(wanted), most))
    return [space.plan(hops) for hops in _hops_of(space, bounds.hops[chosen])]


def _why(possible: int, most: int) -> str:
    if possible > most:
        return (
            ", those that look best by the bounds of their costs, in turn from each set of codecs: a better one may be "
            f"among the {possible - most} others. Name fewer cuts or codecs to be sure."
        )
    return "." if possible >= LEAST else ", with those that miss by least."


def possible(bounds: PlanBounds, requirements: Sequence[Requirement], workload: Workload) -> Bools:
    """Which plans may meet all hard requirements, for all that is known without a prediction, shape (plans,)."""
    found = bounds.spent.fits.copy()
    overloaded = bounds.waits & (bounds.spent.busy_s * workload.fps > 1 + SLACK)
    for each in requirements:
        if not each.hard:
            continue
        best = bounds.of(each.metric)
        if best is not None:
            slack = SLACK * each.limit + (SLACK_S if each.metric.startswith("latency_") else 0.0)
            found &= best <= each.limit + slack if each.upper else best >= each.limit - slack
        if needs_stability(each.metric):
            found &= ~overloaded
    return found


def possible_parts(parts: Spent, requirements: Sequence[Requirement]) -> Bools:
    """Which beginnings of plans may become such a plan: the rest of it only adds to what they take."""
    found = parts.fits.copy()
    for each in requirements:
        if each.hard and each.metric.startswith("latency_"):
            found &= parts.least_s <= each.limit * (1 + SLACK) + SLACK_S
        elif each.hard and each.metric == "payload_bytes":
            found &= parts.payload_bytes <= each.limit * (1 + SLACK)
        elif each.hard and each.metric == "fps":
            found &= parts.busy_s * each.limit <= 1 + SLACK
    return found


def _ranked(
    bounds: PlanBounds, sets: IntArray, requirements: Sequence[Requirement], objective: str, workload: Workload
) -> IntArray:
    """The places of the plans, those first that look best."""
    count = len(bounds.hops)
    overloaded = bounds.waits & (bounds.spent.busy_s * workload.fps > 1)
    margin, penalty = np.full(count, np.inf), np.zeros(count)
    for each in requirements:
        of_each = _margin(bounds, each, overloaded)
        if each.weight is None:
            margin = np.minimum(margin, of_each)
        else:
            penalty += each.weight * np.maximum(0.0, -of_each)
    margin = np.where(bounds.spent.fits, margin, -np.inf)
    value = None if objective == BALANCED else bounds.of(objective, usual=True)
    aim = margin if value is None else value if METRICS[objective].better == "higher" else -value
    # the last key goes first
    order = np.lexsort((bounds.spent.usual_s, -aim, penalty, margin < 0))
    of_set = sets[order]
    by_set = np.argsort(of_set, kind="stable")
    begins = np.searchsorted(of_set[by_set], of_set[by_set])
    turn = np.empty(count, dtype=np.int64)
    turn[by_set] = np.arange(count) - begins
    turned: IntArray = order[np.argsort(turn, kind="stable")]
    return turned


def _margin(bounds: PlanBounds, requirement: Requirement, overloaded: Bools) -> FloatArray:
    """By how much a requirement is likely to be met, as a share of its limit; infinite where nothing says so."""
    likely = bounds.of(requirement.metric, usual=True)
    found = np.full(len(overloaded), np.inf)
    if likely is not None:
        found = (requirement.limit - likely) / requirement.limit * (1 if requirement.upper else -1)
    return np.where(overloaded, np.minimum(found, -1.0), found) if needs_stability(requirement.metric) else found


def _codecs_of(space: PlanSpace, hops: IntArray) -> IntArray:
    """Which codecs each plan has, as bits, shape (plans,)."""
    kinds: dict[tuple[str, float], int] = {}
    found: IntArray = np.zeros(len(hops), dtype=np.int64)
    for place, of_link in enumerate(space.hops):
        bits = [1 << kinds.setdefault((hop.codec, hop.bottleneck), len(kinds)) % MOST_SETS for hop in of_link]
        found |= np.array([*bits, 0])[hops[:, place]]  # the last one where a plan ends before
    return found


def _hops_of(space: PlanSpace, hops: IntArray) -> Iterator[tuple[Hop, ...]]:
    for chain in hops.tolist():
        yield tuple(space.hops[place][each] for place, each in enumerate(chain) if each >= 0)
