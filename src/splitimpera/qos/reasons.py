"""Why a plan is recommended, and why the others are not, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from splitimpera.core import units
from splitimpera.evaluation.chance import Chance, Difference
from splitimpera.qos.verdict import Judgement, Verdict, percent, worth
from splitimpera.records.outcome import Evaluation
from splitimpera.records.requirement import (
    BALANCED,
    METRICS,
    Requirement,
    title_of,
)


def reasons_for(verdicts: Sequence[Verdict], chance: Chance, objective: str) -> tuple[str, ...]:
    best = verdicts[0]
    reasons = [_first_reason(best, objective), *_how_sure(best), *_who_leaves(best.evaluation)]
    if best.soft_violations:
        reasons.append(f"Of what is preferred it misses {_listed(best.soft_violations)}.")
    fitting = [verdict for verdict in verdicts if verdict.feasible]
    if len(fitting) == 1:
        reasons.append(f"It is the only feasible one of {len(verdicts)} plans.")
    else:
        rivals = Rivals(fitting, chance, objective)
        reasons += rivals.ties()
        reasons.append(
            f"{len(fitting)} of {len(verdicts)} plans are feasible; "
            f"the next best, {fitting[1].id}, {rivals.why_not(1)}."
        )
    for configuration in ("LC", "RC", "SC", "EE"):
        others = [verdict for verdict in verdicts if verdict.evaluation.plan.configuration == configuration]
        if others and not others[0].feasible:
            misses = f"violates {_listed(others[0].violations)}" if others[0].can_run else "cannot run"
            reasons.append(f"No {configuration} plan is feasible: the nearest, {others[0].id}, {misses}.")
    reasons += _cannot_run(verdicts)
    if not best.evaluation.stable:
        reasons.append("Warning: it is unstable; work arrives faster than it can be done, and latency is unbounded.")
    return tuple(reasons)


def _first_reason(best: Verdict, objective: str) -> str:
    if any(judgement.requirement.hard for judgement in best.judgements):
        meets = "meets every requirement"
    elif best.soft_violations:
        return f"Nothing is required, and {best.id} falls least short of what is preferred."
    else:
        meets = "meets all that is preferred"
    if objective != BALANCED:
        value = METRICS[objective].format(best.evaluation.metrics()[objective])
        named = title_of(objective)
        return f"{best.id} {meets} with {value} of {named}; none that does is better in {named} beyond chance."
    tightest = next(judgement for judgement in best.judgements if judgement.requirement is best.binding)
    return (
        f"{best.id} {meets}; its tightest one is {best.binding.text}, "
        f"which it meets with {tightest.written}, a margin of {percent(best.score)}."
    )


def _how_sure(verdict: Verdict) -> list[str]:
    """In words what chance may do to a feasible plan; nothing where none of its hard metrics is left to chance."""
    hard = [judgement for judgement in verdict.judgements if judgement.requirement.hard]
    unsure = [judgement for judgement in hard if judgement.certainty == "likely"]
    if unsure:
        return [f"It is likely, not certain: {_ranges(unsure)}."]
    if any(judgement.requirement.metric in verdict.evaluation.intervals for judgement in hard):
        return ["It is certain: the worse ends of all 95 % intervals meet their limits, too."]
    return []


def _who_leaves(evaluation: Evaluation) -> list[str]:
    """How many frames leave early and where; nothing where there are no exits."""
    exits = evaluation.exits
    if not exits:
        return []
    early = units.format_fraction(sum(exit.share for exit in exits))
    places = [f"{units.format_fraction(exit.share)} at cut {exit.cut}" for exit in exits]
    said = f"{early} of its frames leave early" + (f" ({', '.join(places)})" if len(exits) > 1 else "")
    if evaluation.stood_in:
        share = units.format_fraction(evaluation.stood_in)
        said += f"; for {share} an exit's answer stands in, since the response is lost or late"
    return [f"{said}."]


def _ranges(judgements: Sequence[Judgement]) -> str:
    ranges = []
    for judgement in judgements:
        metric = judgement.requirement.metric
        low, high = (METRICS[metric].format(end) for end in judgement.interval)
        ranges.append(f"the 95 % interval of {title_of(metric)} is {low} to {high}")
    return "; ".join(ranges)


def reasons_against(best: Verdict, relax: Sequence[str], verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    if not best.can_run:
        return ("No plan can run.", *_cannot_run(verdicts))
    frame = _frame_word(best.evaluation)
    reasons = [f"No plan meets every requirement; {best.id} comes nearest and violates {_listed(best.violations)}."]
    if best.open:
        reasons.append(f"That is close: {_ranges(best.violations)}. More replications may let it in.")
    reasons.append(
        f"It would be feasible if the requirements read: {', '.join(relax)}."
        if relax
        else f"No other requirements would help: {frame}s come faster than any plan can respond. Send fewer a second."
    )
    return (*reasons, *_cannot_run(verdicts))


def _frame_word(evaluation: Evaluation) -> str:
    """What a frame of the workload is called."""
    return "frame" if evaluation.tokens is None else "request"


def _cannot_run(verdicts: Sequence[Verdict]) -> list[str]:
    stuck = [verdict for verdict in verdicts if not verdict.can_run]
    if not stuck:
        return []
    why = "; ".join(stuck[0].evaluation.cannot_run)
    if len(stuck) == 1:
        return [f"{stuck[0].id} cannot run: {why}."]
    return [f"{len(stuck)} of {len(verdicts)} plans cannot run, {stuck[0].id} among them: {why}."]


class Rivals:
    """The feasible plans, best first, and in words why the first is the first."""

    def __init__(self, verdicts: Sequence[Verdict], chance: Chance, objective: str) -> None:
        self.verdicts, self.chance, self.objective = verdicts, chance, objective
        self.limits: dict[str, float | None] = {
            judgement.requirement.metric: judgement.requirement.limit for judgement in verdicts[0].judgements
        }
        if objective != BALANCED:
            self.limits.setdefault(objective, None)

    def ties(self) -> list[str]:
        """Whoever has the best value of some metric, where only chance makes it better than the first."""
        said = []
        for metric in self.limits:
            values = [worth(verdict.evaluation, verdict.evaluation.metrics(), metric) for verdict in self.verdicts]
            other = values.index(max(values))
            difference = self._difference(metric, 0, other)
            if other and values[other] > values[0] and difference.chance and difference.tied:
                said.append(f"It is {self._within_chance(metric, other, difference)}{self._gains(metric, other)}.")
        return said[:2]

    def why_not(self, other: int) -> str:
        """Why a plan comes after the first, in the order in which `ordering` looks at them."""
        best, second = self.verdicts[0], self.verdicts[other]
        if second.certainty != best.certainty:
            unsure = [each for each in second.judgements if each.requirement.hard and each.certainty == "likely"]
            return f"is likely, not certain to be feasible: {_ranges(unsure)}"
        if second.penalty > best.penalty:
            return f"falls further short of what is preferred: it misses {_listed(second.soft_violations)}"
        if self.objective != BALANCED and not self._difference(self.objective, 0, other).tied:
            values = [verdict.evaluation.metrics()[self.objective] for verdict in (second, best)]
            worse, better = (METRICS[self.objective].format(value) for value in values)
            return f"is worse in {title_of(self.objective)}: {worse} against {better}"
        levelled = [self._levelled_margins(other), self._levelled_margins(other, of_best=True)]
        for place, ((its, requirement), (bests, _)) in enumerate(zip(*levelled, strict=True)):
            if its < bests:
                has = "is as tight, but then has" if place else "has"
                return f"{has} a margin of {percent(its)} in {requirement.text}"
        return self._last_word(best, second)

    def _difference(self, metric: str, one: int, other: int) -> Difference:
        return self.chance.difference(metric, one, other, self.limits[metric])

    def _levelled_margins(self, other: int, of_best: bool = False) -> list[tuple[float, Requirement]]:
        """Ascending; where the two tie, both have the better one."""
        margins = []
        for best, second in zip(self.verdicts[0].judgements, self.verdicts[other].judgements, strict=True):
            own = best.margin if of_best else second.margin
            tied = self._difference(best.requirement.metric, 0, other).tied
            margins.append((max(best.margin, second.margin) if tied else own, best.requirement))
        return sorted(margins, key=lambda margin: margin[0])

    def _within_chance(self, metric: str, other: int, difference: Difference) -> str:
        value, *ends = (_written_difference(metric, number) for number in (difference.value, *difference.interval))
        alike = (
            f"as accurate as {self.verdicts[other].id}"
            if metric == "accuracy"
            else f"like {self.verdicts[other].id} in {title_of(metric)}"
        )
        unit = " points" if METRICS[metric].dimension is units.FRACTION else ""
        return f"{alike} within chance (difference {value}{unit}, 95 % interval {ends[0]} to {ends[1]})"

    def _gains(self, metric: str, other: int) -> str:
        """What the first has that the other has not."""
        best, rival = self.verdicts[0].evaluation, self.verdicts[other].evaluation
        gains = []
        quicker_s = rival.metrics()["latency_p95"] - best.metrics()["latency_p95"]
        if best.stable and rival.stable and math.isfinite(quicker_s) and quicker_s > 0 and metric != "latency_p95":
            gains.append(f"{units.format_time(quicker_s)} quicker")
        if rival.plan.hops and not best.plan.hops:
            gains.append("without any network")
        elif rival.payload_bytes > best.payload_bytes:
            less_bytes = rival.payload_bytes - best.payload_bytes
            gains.append(f"with {units.format_bytes(less_bytes)} less a {_frame_word(best)} to send")
        return f", and {' '.join(gains)}" if gains else ""

    def _last_word(self, best: Verdict, second: Verdict) -> str:
        same = "is as good in all that is required"
        if len(second.evaluation.plan.hops) > len(best.evaluation.plan.hops):
            return f"{same}, but needs a network" if not best.evaluation.plan.hops else f"{same}, but has more hops"
        speeds = [verdict.evaluation.metrics()["latency_p95"] for verdict in (best, second)]
        if speeds[0] < speeds[1] or not second.evaluation.stable:
            return f"{same}, but its 95th percentile of latency is larger"
        spent = [verdict.evaluation.energy_j for verdict in (best, second)]
        if spent[0] != spent[1]:
            return f"{same}, but {'takes more energy' if spent[1] is not None else 'its energy is not known'}"
        if second.evaluation.payload_bytes > best.evaluation.payload_bytes:
            return f"{same}, but sends more"
        return f"{same}; the names decide"


def _written_difference(metric: str, value: float) -> str:
    if METRICS[metric].dimension is units.FRACTION:
        return f"{100 * value:.3g}"
    return f"-{METRICS[metric].format(-value)}" if value < 0 else METRICS[metric].format(value)


def _listed(judgements: Sequence[Judgement]) -> str:
    known = [judgement for judgement in judgements if not judgement.not_computed] or judgements
    return "; ".join(str(judgement) for judgement in known)
