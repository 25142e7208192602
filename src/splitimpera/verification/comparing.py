"""A deployed run held against its design: every number that both have, the parts, the requirements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from splitimpera.core.array_types import Array, FloatArray
from splitimpera.core.statistics import (
    LEVEL,
    LatencyDraws,
    ends,
    tolerance_s,
    tolerant_distance,
)
from splitimpera.core.units import format_time
from splitimpera.core.version import __version__
from splitimpera.records.outcome import latency_metrics
from splitimpera.records.requirement import TOLERANCE
from splitimpera.report.reading import read
from splitimpera.report.schema import PlanEntry, RequirementEntry, Results
from splitimpera.report.verified import (
    SCHEMA_VERSION,
    DistributionEntry,
    FramesEntry,
    LogEntry,
    QuantityEntry,
    RequirementCheck,
    Verification,
)
from splitimpera.report.verified_words import title
from splitimpera.report.words import plan_words
from splitimpera.verification.anew import how_anew
from splitimpera.verification.cautions import cautions
from splitimpera.verification.drift import drift
from splitimpera.verification.findings import compared_parts, findings, signed_ms
from splitimpera.verification.frame_times import Bools
from splitimpera.verification.judged import exit_rates, on_time_quality, run_quality
from splitimpera.verification.matching import Log, outcomes, read_logs
from splitimpera.verification.measured import Measured, measured, sent_bytes
from splitimpera.verification.predicted import Prediction, payload_of_sent, predict, unstable
from splitimpera.verification.shares import LEVEL as SURE
from splitimpera.verification.shares import block_frames, clustered_interval

LIMITS = {"latency_p50": (0.05, 0.5e-3), "latency_p95": (0.10, 2e-3)}
"""Within which share, or seconds, of what was measured a prediction of a quantile holds."""
SAME_BYTES = 0.02
FRAMES_DRAWN = 2000
MOST_FRAMES = 20_000
"""That are simulated of each sender; a longer run goes on as it began."""
SHARES = (*(i / 200 for i in range(199)), 0.995, 0.998, 0.999, 1.0)


def verify(
    run: str | Path, logs: Sequence[str | Path], bundle: str | Path | None = None, plan: str | None = None
) -> Verification:
    """Hold logs of `infer` against the design that they are of.

    Args:
        run: Results folder of the design.
        logs: Logs of one plan, as `deploy.frame_log` writes them.
        bundle: The bundle that they must have run; None: all the same one.
        plan: Of runs that chose among plans, the one whose frames are compared; None: the one that sent most.

    Raises:
        DataError: the results or a log cannot be read, or they are not of each other.
    """
    return compared(*matched(run, logs, bundle, plan))


def matched(
    run: str | Path, logs: Sequence[str | Path], bundle: str | Path | None = None, plan: str | None = None
) -> tuple[Results, PlanEntry, list[Log], Prediction, Measured]:
    """The design, its plan, the logs, and what either says of the frames; arguments and errors as of `verify`."""
    folder = Path(run)
    results = read(folder)
    entry, given = read_logs([Path(log) for log in logs], results, None if bundle is None else Path(bundle), plan)
    unstable(entry)
    frames = min(max(len(log.frames) for log in given), MOST_FRAMES)
    sizes = [sent_bytes(line) for log in given for line in log.compared if line.sent_s is not None]
    first, *further = [
        np.array([each[hop] for each in sizes if hop < len(each)], dtype=np.float64)
        for hop in range(max(len(entry.hops), 1))
    ]
    told_bytes = given[0].run.result_bytes
    result_bytes = results.cuts[-1].bytes if told_bytes is None else told_bytes
    prediction = predict(folder, results, entry, max(frames, 2), first, result_bytes, further)
    direct_s = prediction.workload.direct_s(len(prediction.plan.hops))
    return results, entry, given, prediction, measured(given, prediction.plan.hops, result_bytes, direct_s)


def compared(
    results: Results, entry: PlanEntry, logs: Sequence[Log], prediction: Prediction, found: Measured
) -> Verification:
    """All of it as data."""
    parts = compared_parts(prediction, found, *prediction.stages)
    quantities = [
        *_latencies(entry, found),
        *_sent(entry, prediction, found),
        *_answers(results, entry, prediction, found, logs),
    ]
    on_time = None
    if any(requirement.metric.startswith("on_time_") for requirement in results.requirements):
        on_time = on_time_quality(results, logs[0].run.judged_by, found, _on_time(prediction, found))
    differing = [quantity.name for quantity in quantities if quantity.agrees is False]
    run = logs[0].run
    drifted = drift(logs, found, prediction, entry)
    return Verification(
        schema_version=SCHEMA_VERSION,
        splitimpera_version=__version__,
        scenario=results.scenario.name,
        plan=entry.id,
        plan_words=plan_words(entry, results.cut_names),
        bundle=run.bundle,
        made_by=run.made_by,
        headline=_headline(quantities, differing),
        agrees=not differing,
        logs=[_log(log) for log in logs],
        outcomes=outcomes(logs),
        left_out="The first frame of each log is left out, measured and predicted: caches are cold then, engines plan "
        "their work and connections start slowly.",
        warnings=cautions(logs, found, prediction, results, entry),
        findings=findings(parts, prediction, *prediction.stages, calibrates=not entry.exits),
        drift=drifted,
        anew=how_anew(drifted, logs) if len(entry.devices) < 3 and not entry.exits else "",
        quantities=quantities,
        distribution=_distribution(prediction, found),
        parts=parts,
        requirements=[
            _requirement(requirement, entry, found, prediction, quantities, on_time)
            for requirement in results.requirements
        ],
        frames=_frames(found),
        notes=list(_notes(entry, found)),
    )


def _headline(quantities: Sequence[QuantityEntry], differing: Sequence[str]) -> str:
    p50, p95 = quantities[:2]
    told = ", ".join(
        f"{format_time(one.measured or 0.0)} at {name} (predicted {format_time(one.predicted or 0.0)})"
        for name, one in (("p50", p50), ("p95", p95))
    )
    if not differing:
        return f"The prediction holds: frames take {told}."
    return f"The prediction is off in {', '.join(map(title, differing))}: frames take {told}."


def _log(log: Log) -> LogEntry:
    run = log.run
    return LogEntry(
        file=log.path.name,
        frames=len(log.frames) + log.others,
        compared=len(log.compared),
        **run.model_dump(
            include={
                *("begun", "machine", "engine", "threads", "carrier", "transport", "secure", "fps", "round_trip_s")
            }
        ),
    )


def _latencies(entry: PlanEntry, found: Measured) -> Iterator[QuantityEntry]:
    draws = LatencyDraws(found.latency_s[None])
    values = latency_metrics(found.latency_s)
    for name, share in (("latency_p50", 0.5), ("latency_p95", 0.95), ("latency_p99", 0.99)):
        predicted_s, measured_s = entry.metrics.get(name), values[name]
        low, high = ends(draws.quantile(share))
        relative, absolute_s = LIMITS.get(name, (0.0, 0.0))
        agrees = None
        if name in LIMITS and predicted_s is not None:
            limit_s = max(relative * predicted_s, absolute_s)
            # a quantile beside a step, where losses begin, jumps by chance: its interval says how far
            agrees = bool(low - limit_s <= predicted_s <= high + limit_s)
        yield QuantityEntry(
            name=name,
            kind="time",
            predicted=predicted_s,
            measured=measured_s,
            interval=[low, min(high, values["latency_max"])],
            level=LEVEL,
            unit="blocks of consecutive frames",
            limit=f"within {100 * relative:g} % or {format_time(absolute_s)} of the interval" if name in LIMITS else "",
            agrees=agrees,
            note="" if name in LIMITS else "for information: few frames lie beyond it",
        )


def _sent(entry: PlanEntry, prediction: Prediction, found: Measured) -> Iterator[QuantityEntry]:
    sizes = found.typical_bytes
    if entry.hops and len(sizes):
        predicted, mean = payload_of_sent(entry), float(sizes.mean())
        yield QuantityEntry(
            name="payload_bytes",
            kind="bytes",
            predicted=predicted,
            measured=mean,
            interval=None,
            level=SURE,
            unit="",
            limit=f"{100 * SAME_BYTES:g} %",
            agrees=None if predicted is None else bool(abs(mean - predicted) <= SAME_BYTES * predicted),
            note="mean over the frames that were sent",
        )
    counted = found.packets > 0
    if counted.any() and prediction.packets.any():
        answered = prediction.answered & ~prediction.left
        packets = float(prediction.packets[answered].mean()), float(found.packets[counted].mean())
        yield QuantityEntry(
            name="packets",
            kind="count",
            predicted=packets[0],
            measured=packets[1],
            interval=None,
            level=SURE,
            unit="",
            limit=f"{100 * SAME_BYTES:g} %",
            agrees=bool(abs(packets[1] - packets[0]) <= SAME_BYTES * packets[0]),
            note="a frame, first sending",
        )
        yield _share(
            "lost_packet_rate",
            prediction.lost[answered].sum() / prediction.packets[answered].sum(),
            found.lost[counted],
            found.packets[counted],
            "packets that never came in time, of the frames that were answered",
        )
    if entry.hops and not entry.exits:  # with exits an answer stands in
        lost = found.having(lambda line: line.outcome == "lost")
        gone = ~prediction.answered & ~prediction.dropped
        yield _share("frames_lost", gone.mean(), lost, np.ones(len(lost)), "frames that nothing came back of")
    dropped = found.having(lambda line: line.outcome == "dropped")
    if dropped.any() or prediction.dropped.any():
        note = "frames that a busy machine did not take"
        yield _share("dropped_frames", prediction.dropped.mean(), dropped, np.ones(len(dropped)), note)


def _answers(
    results: Results, entry: PlanEntry, prediction: Prediction, found: Measured, logs: Sequence[Log]
) -> Iterator[QuantityEntry]:
    late = ~_on_time(prediction, found)
    note = f"frames without an answer within {format_time(_deadline_s(prediction))}"
    yield _share("deadline_misses", 1 - prediction.on_time.mean(), late, np.ones(len(late)), note)
    if entry.exits:
        yield from exit_rates(results, entry, found)
        if entry.hops:
            had = found.through_s <= _deadline_s(prediction)
            note = "frames whose response was lost or late, so that the answer of the last early exit is all there is"
            yield _share("stood_in", prediction.stood_in.mean(), late & had, np.ones(len(late)), note)
    quality = run_quality(results, entry, logs[0].run.judged_by, found)
    if quality is not None:
        yield quality


def _share(name: str, predicted: float, hits: Array, totals: Array, note: str) -> QuantityEntry:
    """A share over frames; it agrees where its interval holds the predicted one."""
    counts, of = np.asarray(hits).astype(np.int64), np.asarray(totals).astype(np.int64)
    low, high = clustered_interval(counts, of)
    block = block_frames(len(counts))
    return QuantityEntry(
        name=name,
        kind="share",
        predicted=float(predicted),
        measured=float(counts.sum() / of.sum()),
        interval=[low, high],
        level=SURE,
        unit="frames" if block == 1 else f"blocks of {block} consecutive frames",
        limit="inside the interval",
        agrees=bool(low <= predicted <= high),
        note=note,
    )


def _deadline_s(prediction: Prediction) -> float:
    workload = prediction.workload
    return 1 / workload.fps if workload.deadline_s is None else workload.deadline_s


def _on_time(prediction: Prediction, found: Measured) -> Bools:
    with np.errstate(invalid="ignore"):
        on_time: Bools = found.latency_s <= _deadline_s(prediction)
    return on_time


def _distribution(prediction: Prediction, found: Measured) -> DistributionEntry:
    ours = [run[np.isfinite(run)] for run in prediction.latency_s]
    ours = [run for run in ours if len(run)]
    pooled, theirs = np.concatenate(ours), found.latency_s[found.answered]
    curves = np.array([np.quantile(run, SHARES) for run in ours])
    among = [
        tolerant_distance(run, np.concatenate([*ours[:place], *ours[place + 1 :]])) for place, run in enumerate(ours)
    ]
    return DistributionEntry(
        shares=list(SHARES),
        predicted_s=_short(np.quantile(pooled, SHARES)),
        low_s=_short(curves.min(0)),
        high_s=_short(curves.max(0)),
        measured_s=_short(np.quantile(theirs, SHARES)),
        distance=tolerant_distance(theirs, pooled),
        by_chance=max(among) if len(ours) > 1 else 0.0,
        tolerance="0.2 ms or 5 %, whichever is more",
    )


def _short(values: FloatArray) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def _requirement(
    requirement: RequirementEntry,
    entry: PlanEntry,
    found: Measured,
    prediction: Prediction,
    quantities: Sequence[QuantityEntry],
    on_time: float | None,
) -> RequirementCheck:
    metric, note = requirement.metric, ""
    known: dict[str, float | None] = {one.name: one.measured for one in quantities}
    known.update(latency_metrics(found.latency_s))
    known["cut_depth"] = entry.metrics.get("cut_depth")
    if "dropped_frames" not in known:
        known["dropped_frames"] = 0.0
    if metric.startswith("on_time_"):
        known[metric] = on_time
    slack = 0.0
    if metric == "fps":
        known["fps"], offered = _rate(found)
        slack = TOLERANCE
        if offered < requirement.limit * (1 - TOLERANCE):
            known["fps"], note = None, f"the run offered {offered:.4g} frames a second only"
    value, violations = known.get(metric), [*entry.violations, *entry.soft_violations]
    if value is None:
        note = note or "the log does not say"
        met = None
    elif requirement.kind == "upper":
        met = bool(value <= requirement.limit)
    else:
        met = bool(value >= requirement.limit * (1 - slack))
    return RequirementCheck(
        requirement=requirement,
        predicted=entry.metrics.get(metric),
        predicted_met=all(violation.requirement != requirement.text for violation in violations),
        measured=value if value is None or np.isfinite(value) else None,
        met=met,
        note=note,
    )


def _rate(found: Measured) -> tuple[float, float]:
    """Answers a second and frames offered a second, over all logs."""
    answers = offered = span_s = asked_s = 0.0
    for start, end in zip(found.starts, [*found.starts[1:], len(found.lines)], strict=True):
        due_s = np.array([line.due_s for line in found.lines[start:end]])
        done_s = due_s + found.latency_s[start:end]
        done_s = done_s[np.isfinite(done_s)]
        offered, asked_s = offered + len(due_s) - 1, asked_s + float(np.ptp(due_s))
        if len(done_s) > 1:
            answers, span_s = answers + len(done_s) - 1, span_s + float(np.ptp(done_s))
    rate = answers / span_s if span_s else 0.0
    return rate, offered / asked_s if asked_s else 0.0


def _frames(found: Measured) -> FramesEntry:
    step = -(-len(found.latency_s) // FRAMES_DRAWN)
    slowest = [found.latency_s[place : place + step] for place in range(0, len(found.latency_s), step)]
    values = [float(np.nanmax(some)) if np.isfinite(some).any() else None for some in slowest]
    return FramesEntry(of_each=step, latency_s=[None if value is None else float(f"{value:.5g}") for value in values])


def _notes(entry: PlanEntry, found: Measured) -> Iterator[str]:
    yield (
        "Parts are means over typical frames, the middle half of all by latency, and over the slowest tenth: so they "
        f"add up. A part is off where it differs by more than {_tolerance_words()}."
    )
    if entry.hops:
        handed = found.handed_s[np.isfinite(found.handed_s)]
        median_s = float(np.median(handed)) if len(handed) else 0.0
        who = "The two machines" if len(entry.hops) == 1 else "The machines"
        told = f" (at p50 the last byte was with the system {signed_ms(median_s)} after it)"
        yield (
            f"{who} share no clock. The link is what a frame took from the end of encoding to its response, "
            "less what the server says that it had it for; preparing the input and handing over are in it"
            f"{told if len(handed) else ''}. There and back are split in the proportion in which the design's link "
            "would take a first packet and a response."
        )


def _tolerance_words() -> str:
    least_s = float(tolerance_s(np.array([0.0]))[0])
    return f"{format_time(least_s)} and 5 % of what was predicted"
