"""What of a scenario may be swept, its link, machines and frames a second, and the plans evaluated anew with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

from splitimpera.core import units
from splitimpera.core.bounds import BOUNDS, MOST_DUE_S
from splitimpera.net.budget import WorkError
from splitimpera.qos.hopeless import infeasible
from splitimpera.qos.recommendation import recommend
from splitimpera.qos.verdict import Verdict, needs_stability
from splitimpera.records.link import Link
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Plan
from splitimpera.records.requirement import BALANCED, TOLERANCE, Requirement
from splitimpera.records.traffic import Workload
from splitimpera.studies.loss_curve import with_loss
from splitimpera.studies.sensitivity import Decide, Parameter
from splitimpera.studies.trial import Trial

FASTER = 100.0
"""The most that a rate or a machine is improved by; more is another project."""
FEWEST_FPS = 0.05
LOSSES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
FACTORS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
OF_EACH = 4


Varied = tuple[Plan, Workload]


@dataclass(frozen=True)
class Sweep:
    """A parameter, what a value of it makes of a plan and the workload, and the values that are tried.

    Attributes:
        device: the place of the device whose speed it is; None: what the link carries depends on it.
    """

    parameter: Parameter
    apply: Callable[[Plan, Workload, float], Varied]
    values: tuple[float, ...] = ()
    device: int | None = None

    def overloads(self, found: Evaluation) -> bool:
        """Whether a plan is unstable by what this parameter bears on: then it is so at all worse values."""
        too_busy = [found.utilisation[device.name] > 1 for device in found.plan.devices]
        if found.stable:
            return False
        return not any(too_busy) if self.device is None else any(too_busy[self.device : self.device + 1])

    def as_bad(self, one: float, other: float) -> bool:
        """Whether one value is as far from the best as another, or farther."""
        return abs(one - self.parameter.best) >= abs(other - self.parameter.best)


def sweeps_of(plans: Sequence[Plan], workload: Workload) -> tuple[Sweep, ...]:
    """What may be swept in a scenario whose plans share links and machines."""
    whole = max(plans, key=lambda plan: len(plan.hops))
    links = [sweep for hop in whole.hops for sweep in _of_link(hop.link, "" if len(whole.hops) == 1 else hop.link.name)]
    speeds = [_speed(place, device.name) for place, device in enumerate(whole.devices)]
    return (*links, *speeds, _frames(workload))


def _of_link(link: Link, name: str) -> list[Sweep]:
    """A trace gives rate, delay and loss itself; where drops are replayed there is no loss to turn.

    Args:
        name: Which of several links it is; empty: there is one.
    """
    if link.trace is not None:
        return []
    loss, rate, delay = (f"{what} of {name}" if name else what for what in ("loss", "rate", "delay"))
    found = []
    if link.drops is None:
        parameter = Parameter(
            loss, link.loss, 0.0, "", *_words(units.format_fraction, f"{loss} at most {{}}"), "linear"
        )
        found.append(Sweep(parameter, _on_link(link.name, with_loss), LOSSES))
    bound = BOUNDS["rate_bps"]
    best = min(link.rate_bps * FASTER, bound.high)
    parameter = Parameter(rate, link.rate_bps, best, "bit/s", *_words(units.format_rate, f"{rate} at least {{}}"))
    values = tuple(value for factor in FACTORS if bound.holds(value := link.rate_bps * factor))
    found.append(Sweep(parameter, _on_link(link.name, lambda link, value: replace(link, rate_bps=value)), values))
    parameter = Parameter(delay, link.delay_s, 0.0, "s", *_words(units.format_time, f"{delay} at most {{}}"), "linear")
    return [*found, Sweep(parameter, _on_link(link.name, lambda link, value: replace(link, delay_s=value)))]


def _words(write: Callable[[float], str], change: str) -> tuple[Callable[[float], str], Callable[[float], str]]:
    """How a value is written, and the change to it."""
    return write, lambda value: change.format(write(value))


def _on_link(name: str, change: Callable[[Link, float], Link]) -> Callable[[Plan, Workload, float], Varied]:
    def varied(plan: Plan, workload: Workload, value: float) -> Varied:
        hops = (replace(hop, link=change(hop.link, value)) if hop.link.name == name else hop for hop in plan.hops)
        return replace(plan, hops=tuple(hops)), workload

    return varied


def _speed(place: int, name: str) -> Sweep:
    def faster(plan: Plan, workload: Workload, value: float) -> Varied:
        devices = list(plan.devices)
        if place < len(devices):
            devices[place] = replace(devices[place], slowdown=devices[place].slowdown / value)
        return replace(plan, devices=tuple(devices)), workload

    def written(value: float) -> str:
        return f"{value:.3g} x"

    def words(value: float) -> str:
        return f"{name} {value:.3g} times faster"

    return Sweep(Parameter(f"speed of {name}", 1.0, FASTER, "x", written, words), faster, FACTORS, place)


def _frames(workload: Workload) -> Sweep:
    # as slow as can be simulated, at most
    fps, slowest = workload.fps, max(BOUNDS["fps"].low, workload.frames / MOST_DUE_S)
    what = "frames a second" if workload.tokens is None else "requests a second of each user"
    words = _words(lambda value: f"{value:.3g}", f"at most {{}} {what}")
    parameter = Parameter(what, fps, max(fps * FEWEST_FPS, slowest), "/s", *words)
    return Sweep(parameter, lambda plan, workload, value: (plan, replace(workload, fps=value)))


def shortlist(verdicts: Sequence[Verdict]) -> list[Plan]:
    """The plans that are evaluated anew: the best few of each configuration.

    Where no plan is feasible, also the best of those that miss other requirements than these few: another change helps.
    """
    chosen: list[Plan] = []
    counts, missed = Counter[str](), set[tuple[str, frozenset[Requirement]]]()
    satisfiable = any(verdict.feasible for verdict in verdicts)
    for verdict in verdicts:
        plan = verdict.evaluation.plan
        misses = plan.configuration, frozenset(each.requirement for each in verdict.violations)
        another = not satisfiable and misses not in missed
        if verdict.can_run and (counts[plan.configuration] < OF_EACH or another):
            counts[plan.configuration] += 1
            missed.add(misses)
            chosen.append(plan)
    return chosen


def decider(
    plans: Sequence[Plan],
    swept: Sequence[Sweep],
    workload: Workload,
    trial: Trial,
    requirements: Sequence[Requirement],
    objective: str = BALANCED,
    tolerance: float = TOLERANCE,
) -> Decide:
    """What `sensitivity` asks: which plan would be recommended with a parameter at a value.

    Args:
        trial: evaluates a plan; with the same randomness at every value, so that neighbours differ by the value alone.
            A plan that a parameter makes unstable is not tried at worse values of it.
        objective, tolerance: The arguments of `recommend`.
    """
    by_name = {sweep.parameter.name: sweep for sweep in swept}
    unstable = dict[tuple[str, str], list[float]]()  # at which values of a parameter a plan is, by it

    def left(sweep: Sweep, value: float) -> list[Plan]:
        name = sweep.parameter.name
        return [
            plan for plan in plans if not any(sweep.as_bad(value, bad) for bad in unstable.get((name, plan.id), ()))
        ]

    def chosen(found: Sequence[Evaluation]) -> Verdict | None:
        possible = [one for one in found if not infeasible(one, requirements)]
        return recommend(possible, requirements, objective, tolerance).chosen if possible else None

    def note(sweep: Sweep, value: float, found: Sequence[Evaluation]) -> None:
        if any(needs_stability(each.metric) for each in requirements if each.hard):
            for one in found:
                if sweep.overloads(one):
                    unstable.setdefault((sweep.parameter.name, one.plan.id), []).append(value)

    @cache
    def now() -> Verdict | None:
        found = evaluated(plans, swept[0], swept[0].parameter.now, workload, trial)
        for sweep in swept:
            note(sweep, sweep.parameter.now, found)
        return chosen(found)

    def decide(parameter: Parameter, value: float) -> Verdict | None:
        current = now()
        if value == parameter.now:
            return current
        sweep = by_name[parameter.name]
        found = evaluated(left(sweep, value), sweep, value, workload, trial)
        note(sweep, value, found)
        return chosen(found)

    return decide


def evaluated(plans: Sequence[Plan], sweep: Sweep, value: float, workload: Workload, trial: Trial) -> list[Evaluation]:
    """Plans with one parameter at another value; those are left out that would then be too much to simulate."""
    found = []
    for plan in plans:
        with suppress(WorkError):
            found.append(trial(*sweep.apply(plan, workload, value)))
    return found
