"""What is said of plans, verdicts and decisions: the one place for these words, the page's script included.

`WORDS` has the sentences with their blanks. The page takes them from here as data, since its script fills them in anew
when a limit is moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from splitimpera.core import units
from splitimpera.records.requirement import METRICS, QUALITIES, title_of
from splitimpera.report.schema import (
    CapacityEntry,
    ChangeEntry,
    HopEntry,
    JudgementEntry,
    PlanEntry,
    Results,
    ViolationEntry,
)
from splitimpera.report.shown_entries import ShownSampleEntry

WORDS = {
    "feasible": "feasible, {certainty}",
    "but_unstable": "feasible, {certainty}, but unstable",
    "violates": "violates {requirement}",
    "violates_one": "violates 1 requirement",
    "violates_some": "violates {count} requirements",
    "unstable": "unstable",
    "cannot_run": "cannot run",
    "not_evaluated": "not evaluated",
    "preferred": "preferred: {requirement}",
    "unsatisfiable": "No plan is feasible",
    "certain": "Certain: values and the worse ends of their 95 % intervals meet every requirement.",
    "likely": "Likely, not certain: values meet every requirement, the worse end of some 95 % interval does not.",
    "nearest": "Nearest: {plan} ({id}).",
    "none_can_run": "No plan can run.",
    "count": "{count} of {total} plans are feasible.",
    "meet": "{count} of {total} plans meet it",
    "meet_known": "{count} of {total} plans meet it ({unknown} not computed)",
    "shown": "{count} of {total} plans shown",
    "moved": "With these limits: {choice}",
    "status_moved": "With these limits: {choice}. {certainty} {count}",
    "status": "With the scenario's limits: {choice}. {certainty} {count}",
    "unbounded": "unbounded",
    "not_known": "not known",
    "not_computed": "not computed",
    "requirement_not_computed": "{requirement}: not computed",
    "choice_not_computed": "Its {quality} was not computed; 'splitimpera design --all' computes it.",
    "others_not_computed": "{count} of the others may be feasible, too: only their {quality} is not known. "
    "'splitimpera design --all' computes it.",
    "unvalued_one": "One stable plan is not drawn, for its {quality} was not computed: whatever it is, the plan "
    "violates a requirement or cannot run. 'splitimpera design --all' computes it.",
    "unvalued_some": "{count} stable plans are not drawn, for their {quality} was not computed: whatever it is, they "
    "violate a requirement or cannot run. 'splitimpera design --all' computes it.",
    "times": "{factor} times the limit",
    "far": "more than 1000 times the limit",
    "far_off": "far off",
    "on_front": "yes",
}

UNBOUNDED = ("latency_", "ttft")
"""What the names of metrics begin with that an unstable plan has no bound on."""

_BASES = {
    **{"float32": "32-bit floats", "float16": "16-bit floats", "bfloat16": "bfloat16"},
    **{"uint8": "8-bit", "uint6": "6-bit", "uint4": "4-bit", "uint2": "2-bit"},
    **{"png": "PNG", "jpeg": "JPEG", "webp": "WebP"},
}
_MODIFIERS = {
    **{"rans": "entropy-coded", "rans-packets": "entropy-coded packets", "zstd": "zstd", "interleaved": "interleaved"},
    **{"zero": "lost values 0", "mean": "lost values the mean", "last": "lost values the last frame's"},
    "before": "lost values the token before's",
}
_TRANSPORTS = {
    **{"tcp": "TCP", "tcp-cubic": "TCP", "tcp-reno": "TCP Reno"},
    **{"udp": "UDP", "udp-interleaved": "interleaved UDP", "udp-arq": "UDP with ARQ"},
}


def plan_words(plan: PlanEntry, cut_names: Mapping[int, str]) -> str:
    """A plan as people call it: "Split after features.13, 16x bottleneck, 8-bit, over UDP".

    Args:
        cut_names: the layer after which each cut lies, `Results.cut_names`.
    """
    way = _way_words(plan, cut_names)
    if not plan.exits:
        return way
    *before, last = (cut_names.get(exit.cut, f"cut {exit.cut}") for exit in plan.exits)
    places = f"{', '.join(before)} and {last}" if before else last
    return f"{'Exit' if len(plan.exits) == 1 else 'Exits'} after {places}, then {way[0].lower()}{way[1:]}"


def _way_words(plan: PlanEntry, cut_names: Mapping[int, str]) -> str:
    if not plan.hops:
        return f"Run everything on {plan.devices[0]}"
    steps = [
        _hop_words(hop, target, cut_names, first=not place, alone=len(plan.hops) == 1)
        for place, (hop, target) in enumerate(zip(plan.hops, [*plan.devices[1:], *plan.hops], strict=False))
    ]
    return "; then ".join(steps)


def _hop_words(hop: HopEntry, target: object, cut_names: Mapping[int, str], first: bool, alone: bool) -> str:
    base, *more = codec_words(hop.codec)
    over = f"over {transport_words(hop.transport)}"
    if hop.cut == 0:
        values = base if base.endswith("floats") else base.replace("-bit", "-bit values")
        return f"{'S' if first else 's'}end the input as {', '.join([values, *more])} {over} to {target}"
    parts = [f"{'S' if first else 's'}plit after {cut_names.get(hop.cut, f'cut {hop.cut}')}"]
    if hop.bottleneck:
        parts.append(f"{hop.bottleneck:g}x bottleneck")
    return ", ".join([*parts, base, *more, over if alone else f"{over} to {target}"])


def exits_words(results: Results) -> str:
    """What the early exits do in the plan that is drawn, and what their figure shows."""
    plan, names, quality = results.early_plan, results.cut_names, results.quality
    lines = (
        f"Lines are {results.quality_title} against the share of frames that leave at one exit alone, as its threshold "
        "falls, on validation samples of which nothing is lost, with 95 % intervals."
    )
    if plan is None:
        return f"No plan has exits: none saves anything at the accuracy that is wanted. {lines}"
    leave = []
    for exit in plan.exits:
        sure = f" from a confidence of {exit.thresholds[0]:.3g} on" if len(exit.thresholds) == 1 else ""
        right = "" if exit.quality is None else f" ({results.quality_title} {format_metric(quality, exit.quality)})"
        leave.append(f"{units.format_fraction(exit.share)} leave after {names[exit.cut]}{sure}{right}")
    if plan.went_on_quality is not None:
        leave.append(f"of all others the {results.quality_title} is {format_metric(quality, plan.went_on_quality)}")
    if plan.stood_in:
        share = units.format_fraction(plan.stood_in)
        leave.append(f"for {share} an exit's answer stands in, since the response is lost or late")
    return f"Of the frames of {plan.id} {'; '.join(leave)}. {lines} Circles are the thresholds of this plan."


def transport_words(transport: str) -> str:
    """What people call a transport."""
    return _TRANSPORTS.get(transport, transport)


def codec_words(codec: str) -> list[str]:
    """What a codec's name asks for, the kind of values first.

    >>> codec_words("uint4:channel+rans+fec:20")
    ['4-bit per channel', 'entropy-coded', '20 % FEC']
    """
    first, *modifiers = codec.split("+")
    base, _, argument = first.partition(":")
    words = [_BASES.get(base, base)]
    if argument in ("channel", "token"):
        words[0] += f" per {argument}"
    elif argument:
        words[0] += f" of quality {argument}"
    for modifier in modifiers:
        name, _, argument = modifier.partition(":")
        words.append(f"{argument} % FEC" if name == "fec" else _MODIFIERS.get(name, name))
    return words


def verdict_words(plan: PlanEntry | None) -> str:
    """The verdict on a plan in a few words."""
    if plan is None:
        return WORDS["not_evaluated"]
    if plan.cannot_run:
        return WORDS["cannot_run"]
    if plan.feasible:
        return WORDS["feasible" if plan.stable else "but_unstable"].format(certainty=plan.certainty)
    if any(violation.unbounded for violation in plan.violations):
        return WORDS["unstable"]
    count = len(known_violations(plan))
    if not count:
        return WORDS["not_computed"]
    return WORDS["violates_one"] if count == 1 else WORDS["violates_some"].format(count=count)


def worst_words(plan: PlanEntry) -> str:
    """The same, where there is room for the worst violation, and how many more there are."""
    if plan.cannot_run or plan.feasible:
        return verdict_words(plan)
    known = known_violations(plan)
    if not known:
        return WORDS["not_computed"]
    # a latency without bound is the worst
    worst = max(known, key=lambda each: (each.unbounded, each.margin is None, -(each.margin or 0.0)))
    violation = f"{short_name(worst.metric)} {_share(worst.margin)}"
    said = WORDS["unstable"] if worst.unbounded else WORDS["violates"].format(requirement=violation)
    return said + (f" +{len(known) - 1}" if len(known) > 1 else "")


def _share(margin: float | None) -> str:
    """A margin in a narrow column."""
    return margin_words(margin) if margin is None else f"{100 * margin:.0f}%" if margin >= -1 else WORDS["far_off"]


def verdict_lines(plan: PlanEntry) -> list[str]:
    """The same at length: why it cannot run, or each requirement that it violates or of which that is not known."""
    if plan.cannot_run:
        return [f"{WORDS['cannot_run']}: {why}" for why in plan.cannot_run]
    if plan.feasible:
        return [verdict_words(plan)]
    return [violation_words(violation) for violation in plan.violations]


def violation_words(violation: ViolationEntry) -> str:
    """That a requirement is violated, or that nobody knows."""
    how = "requirement_not_computed" if not_computed(violation) else "violates"
    return WORDS[how].format(requirement=violation.requirement)


def known_violations(plan: PlanEntry) -> list[ViolationEntry]:
    """The required limits that a plan violates, without those on predictions that were not computed."""
    return [violation for violation in plan.violations if not not_computed(violation)]


def may_be_feasible(plan: PlanEntry) -> bool:
    """Whether only predictions that were not computed stand between a plan and being feasible."""
    return not plan.cannot_run and not plan.feasible and not known_violations(plan)


def status_words(results: Results) -> str:
    """The decision and how many plans are feasible, or may be, in one paragraph."""
    plans, decision = results.plans, results.recommendation
    count = WORDS["count"].format(count=sum(plan.feasible for plan in plans), total=len(plans))
    said = [WORDS["status"].format(choice=choice_words(results), certainty=certainty_words(results), count=count)]
    if decision.plan and results.by_id[decision.plan].metrics[results.quality] is None:
        said.append(WORDS["choice_not_computed"].format(quality=results.quality_title))
    if others := sum(map(may_be_feasible, plans)):
        said.append(WORDS["others_not_computed"].format(count=others, quality=results.quality_title))
    return " ".join(said)


def not_drawn_words(results: Results) -> str:
    """How many plans have no place in a figure of quality against latency, and why; empty where all have one."""
    unstable = sum(not plan.stable for plan in results.plans)
    unknown = _unvalued(results)
    said = [f"{unstable} unstable"] if unstable else []
    said += [f"{unknown} whose {results.quality_title} was not computed"] if unknown else []
    return f"not drawn: {', '.join(said)}" if said else ""


def unvalued_words(results: Results) -> str:
    """How many stable plans have no place in the page's figure for want of a quality; empty where all have one."""
    count = _unvalued(results)
    if not count:
        return ""
    return WORDS["unvalued_one" if count == 1 else "unvalued_some"].format(count=count, quality=results.quality_title)


def _unvalued(results: Results) -> int:
    return sum(plan.stable and plan.metrics[results.quality] is None for plan in results.plans)


def not_computed(judged: ViolationEntry | JudgementEntry) -> bool:
    """Whether a requirement on predictions is not met for want of any."""
    of_predictions = judged.metric.removeprefix("on_time_") in QUALITIES
    return of_predictions and judged.margin is None and not judged.unbounded


def margin_words(margin: float | None, unbounded: bool = False) -> str:
    """A margin as a share of the limit, or how many times the limit a value is."""
    if unbounded:
        return WORDS["unbounded"]
    if margin is None:
        return WORDS["not_known"]
    if margin >= -1:
        return f"{100 * margin:+.1f} %"
    return WORDS["times"].format(factor=f"{float(f'{1 - margin:.3g}'):g}") if margin > -1000 else WORDS["far"]


def score_words(score: float | None) -> str:
    """A plan's smallest margin."""
    return WORDS["far_off"] if score is None or score < -1 else margin_words(score)


def choice_words(results: Results) -> str:
    """What the recommended plan does, or that none is feasible."""
    chosen = results.recommendation.plan
    return plan_words(results.by_id[chosen], results.cut_names) if chosen else WORDS["unsatisfiable"]


def certainty_words(results: Results) -> str:
    """How sure the choice is, or which plan comes nearest."""
    decision = results.recommendation
    if decision.plan:
        return WORDS[str(decision.certainty)]
    nearest = results.by_id[str(decision.nearest)]
    if nearest.cannot_run:
        return WORDS["none_can_run"]
    return WORDS["nearest"].format(plan=plan_words(nearest, results.cut_names), id=nearest.id)


def decision_words(results: Results) -> str:
    """The decision in one line, the plan's id with it."""
    decision = results.recommendation
    if not decision.plan:
        return f"{WORDS['unsatisfiable']}. {certainty_words(results)}"
    value = format_metric(results.quality, decision.test_quality)
    sure = WORDS["feasible"].format(certainty=decision.certainty)
    return f"{choice_words(results)} ({decision.plan}): {sure}; {results.quality_title} {value} on the test samples"


def value_words(plan: PlanEntry | None, metric: str) -> str:
    """A metric of a plan; an unstable one has no latency."""
    if plan is not None and not plan.stable and metric.startswith(UNBOUNDED):
        return WORDS["unstable"]
    value = None if plan is None else plan.metrics.get(metric)
    return "-" if value is None else format_metric(metric, value)


def format_metric(name: str, value: float | None) -> str:
    """A metric's value in human units."""
    return "unknown" if value is None else METRICS[name].format(value)


def short_name(metric: str) -> str:
    """A metric's name for a table's narrow columns."""
    short = {"payload_bytes": "bytes", "lost_packet_rate": "lost", "dropped_frames": "dropped", "cut_depth": "depth"}
    return short.get(metric, title_of(metric).removeprefix("latency_").removeprefix("device_"))


def sentence(title: str) -> str:
    """A title where a sentence begins; one with capitals of its own stays as it is.

    >>> sentence("accuracy"), sentence("mIoU")
    ('Accuracy', 'mIoU')
    """
    return title[:1].upper() + title[1:] if title.islower() else title


def axis_title(results: Results) -> str:
    """What stands at an axis of the quality."""
    lower = results.quality_metric.better == "lower"
    return f"{results.quality_title} (lower is better)" if lower else results.quality_title


def change_words(change: ChangeEntry) -> str:
    """One change, and what is feasible with it."""
    return f"{change.text}: then {change.plan} is feasible"


def capacity_words(capacity: CapacityEntry, sender: str = "sensor") -> str:
    """How many sensors, or users, may send at once, and what gives way then."""
    senders, busiest = capacity.senders, capacity.busiest_stage
    if not senders:
        return f"Capacity: not even 1 {sender}, {busiest} cannot keep up."
    sensors = f"1 {sender}" if senders == 1 else f"{senders} {sender}s"
    return f"Capacity: {sensors}" + (f"; with one more, {busiest} cannot keep up." if busiest else " or more.")


def shape_words(*shapes: Sequence[int]) -> str:
    """Tensors' shapes: "8 x 7 x 7", "8 x 7 x 7 + 4 x 14 x 14", and of three "8 x 7 x 7 + 2 more"."""
    first, *rest = (" x ".join(map(str, shape)) for shape in shapes)
    return f"{first} + {len(rest)} more" if len(rest) > 1 else " + ".join([first, *rest])


VIEWS = {
    "input": "input",
    "expected": "expected",
    "network": "whole network",
    "plan": "recommended plan",
    "plan_lossy": "recommended plan, {missing} of the frame lost",
}


def view_words(view: str, sample: ShownSampleEntry) -> str:
    """What stands below an image of a sample."""
    return VIEWS[view].format(missing=f"{100 * sample.missing:.2g} %")


def samples_words(results: Results) -> str:
    """What the images of samples show; empty where there are none."""
    shown = results.shown
    if shown is None:
        return ""
    count = len(shown.samples)
    samples = "One test sample," if count == 1 else f"{count} samples spread evenly over the test part,"
    whose = f"the whole network and {shown.plan} respond" if shown.plan else "the whole network responds"
    said = [f"{samples} and how {whose} to {'it' if count == 1 else 'them'}."]
    if shown.loss is not None:
        own = any(link.model_dump().get("loss") == shown.loss for link in results.links)
        why = "as on the link" if own else "assumed for this image"
        said.append(
            f"For the last image of each, one packet of the frame was lost, and each other one with a probability of "
            f"{units.format_fraction(shown.loss)}, {why}."
        )
    return " ".join([*said, *filter(None, [shown.note])])


PARAMETER_FORMATS = {"bit/s": units.format_rate, "s": units.format_time, "loss": units.format_fraction}


def parameter_words(value: float, name: str, unit: str) -> str:
    """A parameter's value, written by its unit, or by its name where it has none."""
    write = PARAMETER_FORMATS.get(unit or name.partition(" of ")[0])  # "loss of wifi", where there are several links
    return write(value) if write else f"{value:.3g} {unit}".strip()
