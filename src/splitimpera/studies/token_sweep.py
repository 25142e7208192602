"""How long requests to a language model wait for tokens at other rates and delays of the link."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal

from splitimpera.core.bounds import BOUNDS
from splitimpera.core.errors import SimulationError
from splitimpera.core.progress import Track, no_progress
from splitimpera.qos.recommendation import Recommendation
from splitimpera.records.link import Link
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Plan
from splitimpera.records.traffic import Workload
from splitimpera.studies.trial import Trial

FACTORS = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)
"""What the link's rate and delay are multiplied by."""

SHORTEST_S = 0.001
"""What is taken for a delay below it, which would stay next to nothing whatever it is multiplied by."""

WAITS = ("ttft", "ttft_p95", "tpot", "tpot_p95")


@dataclass(frozen=True, eq=False)
class TokenCurve:
    """What one plan does over one number of the link.

    Attributes:
        now: What the number is in the scenario.
        values: What it was set to, ascending; where it was too much to simulate it is left out.
        metrics: Seconds by `WAITS`, one entry a value; infinite: never, or without bound, since requests come faster
            than they are answered.
    """

    plan: Plan
    parameter: Literal["rate", "delay"]
    now: float
    values: tuple[float, ...]
    metrics: dict[str, tuple[float, ...]]


def token_plans(found: Recommendation) -> list[Plan]:
    """The recommended plan, or the nearest one, the best LC and the best RC."""
    chosen = found.chosen or found.nearest or found.verdicts[0]
    firsts = [
        next((each for each in found.verdicts if each.evaluation.plan.configuration == kind), chosen)
        for kind in ("LC", "RC")
    ]
    return list({each.id: each.evaluation.plan for each in (chosen, *firsts)}.values())


def token_curves(
    plans: Sequence[Plan], workload: Workload, trial: Trial, track: Track[Any] = no_progress
) -> tuple[TokenCurve, ...]:
    """Both curves of each plan, those over the rate first; none where a recording gives rate and delay.

    Args:
        trial: evaluates a plan, of which nobody asks for the quality.
    """
    links = [hop.link for plan in plans for hop in plan.hops[:1] if hop.link.trace is None]
    if not links:
        return ()
    work = [(sweep, plan) for sweep in _sweeps(links[0]) for plan in plans]
    tracked = track(work, "Changing rate and delay for tokens", len(work))
    return tuple(_curve(plan, workload, trial, *sweep) for sweep, plan in tracked)


_Change = Callable[[Link, float], Link]
_Sweep = tuple[Literal["rate", "delay"], float, tuple[float, ...], _Change]


def _sweeps(link: Link) -> Iterator[_Sweep]:
    """A parameter, its value now, the values to try, and what one makes of a link."""
    rates = tuple(value for factor in FACTORS if BOUNDS["rate_bps"].holds(value := link.rate_bps * factor))
    yield "rate", link.rate_bps, rates, lambda link, value: replace(link, rate_bps=value)
    around_s = max(link.delay_s, SHORTEST_S)
    delays = tuple(value for factor in FACTORS if BOUNDS["delay_s"].holds(value := around_s * factor))
    yield "delay", link.delay_s, delays, lambda link, value: replace(link, delay_s=value)


def _curve(
    plan: Plan,
    workload: Workload,
    trial: Trial,
    parameter: Literal["rate", "delay"],
    now: float,
    values: Sequence[float],
    change: _Change,
) -> TokenCurve:
    found: dict[float, Evaluation] = {}
    for value in values:
        varied = replace(plan, hops=tuple(replace(hop, link=change(hop.link, value)) for hop in plan.hops))
        if not plan.hops and found:  # without a link it is the same everywhere
            found[value] = next(iter(found.values()))
            continue
        with suppress(SimulationError):
            found[value] = trial(varied, workload)
    metrics = {name: tuple(_waits_s(one, name) for one in found.values()) for name in WAITS}
    return TokenCurve(plan, parameter, now, tuple(found), metrics)


def _waits_s(found: Evaluation, metric: str) -> float:
    """Infinite where it is not known; of an unstable plan only first tokens are waited for without bound."""
    value = found.metrics().get(metric, float("inf"))
    return value if isfinite(value) and (found.stable or not metric.startswith("ttft")) else float("inf")
