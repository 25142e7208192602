"""What weakens a comparison: runs that are too short, at another pace, on another machine or with another engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.statistics import tolerance_s
from splitimpera.core.units import format_time
from splitimpera.deploy.frame_log import RunLine
from splitimpera.report.schema import PlanEntry, Results
from splitimpera.verification.matching import Log, outcomes
from splitimpera.verification.measured import Measured
from splitimpera.verification.predicted import Prediction

ENOUGH = {"p95": 100, "p99": 500}
"""Fewer answered frames than these say little of a quantile: it lies among the five slowest."""
LATE_S = 1e-3
LATE_SHARE = 0.02
SAME_PACE = 1e-3
SAME_AGAIN = 0.02
ENGINES = {"onnx": "onnxruntime", "torch": "eager"}
"""As profiles call them."""
NO_ENGINE = "none"
"""Of a device that runs no layers."""


def cautions(
    logs: Sequence[Log], found: Measured, prediction: Prediction, results: Results, entry: PlanEntry
) -> list[str]:
    """Each in a sentence."""
    return [
        *_chosen(logs, entry),
        *_shortened(logs),
        *_ways(logs, prediction),
        *_length(found),
        *_pace(logs, found, prediction),
        *_outcomes(logs),
        *_machines(logs, prediction, results),
        *_alike(found),
        *_setup(logs[0].run, prediction, entry),
        *prediction.warnings,
        *_again(prediction, entry),
    ]


def _chosen(logs: Sequence[Log], entry: PlanEntry) -> Iterator[str]:
    """Of runs that chose among plans."""
    if logs[0].run.mode is None:
        return
    sent, others = (sum(counts) for counts in zip(*((len(log.frames), log.others) for log in logs), strict=True))
    yield (
        f"The run chose among plans: {sent} of {sent + others} frames were sent by {entry.id}, and these "
        "alone are compared. It was chosen for the link that there was then."
    )
    if finished := sum(log.finished for log in logs):
        yield (
            f"The device answered {finished} of these frames itself, or once more as before, for no answer came in "
            "time: here nothing came back of them."
        )


def _shortened(logs: Sequence[Log]) -> Iterator[str]:
    """Of frames that did not go all the way."""
    if shortened := sum(log.shortened for log in logs):
        yield (
            f"A machine in the middle finished {shortened} of the frames by itself, for the next one was away or took "
            "too long: here nothing came back of them."
        )


def _ways(logs: Sequence[Log], prediction: Prediction) -> Iterator[str]:
    """Of answers that come back directly, and of those that did not."""
    designed = bool(prediction.workload.direct_s(len(prediction.plan.hops)))
    answered = [line for log in logs for line in log.compared if line.outcome == "ok"]
    directly = sum(line.direct for line in answered)
    if designed or directly:
        yield (
            "Answers that come back directly are no part of their own: what they take on their way back counts as the "
            "first link's, 'there and back', and the other links have the way there alone."
        )
    along = len(answered) - directly
    if designed and along:
        yield f"{along} of {len(answered)} answers came along the way, where the design has all of them come directly."


def _length(found: Measured) -> Iterator[str]:
    answered = int(found.answered.sum())
    lacking = [f"{least} for a {name}" for name, least in ENOUGH.items() if answered < least]
    if lacking:
        yield f"{answered} answered frames are few: it takes {' and '.join(lacking)}."


def _pace(logs: Sequence[Log], found: Measured, prediction: Prediction) -> Iterator[str]:
    wanted = prediction.workload.fps
    for fps in dict.fromkeys(log.run.fps for log in logs):
        if fps is None:
            yield (
                f"The run sent each frame as soon as the one before was through, the design {wanted:g} a second: "
                "queues and idle times differ."
            )
        elif abs(fps - wanted) > SAME_PACE * wanted:
            yield f"The run sent {fps:g} frames a second, the design {wanted:g}."
    late = _late_s(logs)
    share = float((late > LATE_S).mean()) if len(late) else 0.0
    if share > LATE_SHARE:
        yield (
            f"The pace was not kept: {100 * share:.3g} % of the frames were begun more than {format_time(LATE_S)} late "
            f"although the device was free, the latest by {format_time(float(late.max()))}. Their wait is the "
            "machine's or the source's, not the design's."
        )
    if any(_uneven(log) for log in logs):
        yield "The due times in the log are not evenly spaced: the clock was set, or frames came from a live source."
    parts = found.parts_s.get("link")
    if parts is not None and (backwards := int((parts < -1e-5).sum())):
        yield (
            f"On {backwards} frames the server says that it took longer than the device waited: the two clocks do not "
            "run at the same rate."
        )
    if prediction.workload.senders > 1 and len(logs) != prediction.workload.senders:
        yield (
            f"The scenario has {prediction.workload.senders} senders; "
            f"{len(logs)} log{' is' if len(logs) == 1 else 's are'} given."
        )


def _late_s(logs: Sequence[Log]) -> FloatArray:
    """How long each frame waited although the one before it was through with the device."""
    late = []
    for log in logs:
        free_s = -np.inf
        for line in log.frames:
            if line.begun_s is None:
                continue
            late.append(line.begun_s - max(line.due_s, free_s))
            ends = (line.sent_s, line.begun_s + (line.head_s or 0.0) + (line.encode_s or 0.0))
            free_s = max(end for end in ends if end is not None)
    return np.array(late)


def _uneven(log: Log) -> bool:
    if log.run.fps is None or len(log.frames) < 2:
        return False
    number = np.array([line.frame for line in log.frames])
    due_s = np.array([line.due_s for line in log.frames])
    off_s = due_s - due_s[0] - (number - number[0]) / log.run.fps
    return bool(np.abs(off_s).max() > max(LATE_S, SAME_PACE * float(np.ptp(due_s))))


def _outcomes(logs: Sequence[Log]) -> Iterator[str]:
    found = outcomes(logs)
    words = {
        "late": "{} frames were given up by the server, their deadline had passed: the measured latencies lack them",
        "full": "{} frames were dropped by the server's full queue: the measured latencies lack them",
        "failed": "the program failed on {} frames",
        "stopping": "{} frames met a server that was stopping",
        "busy": "{} frames met a server that had too much to do",
        "stood-in": "{} frames got the answer of their last early exit, for no response came in time: the measured "
        "latencies lack them",
        "unreachable": "{} frames got no further than a machine in the middle: the next one was away",
    }
    for outcome, said in words.items():
        if outcome in found:
            told = said.format(found[outcome])
            yield f"{told[0].upper()}{told[1:]}."


def _machines(logs: Sequence[Log], prediction: Prediction, results: Results) -> Iterator[str]:
    device = prediction.plan.devices[0]
    if device.roofline is not None:
        yield (
            f"The times of {device.name} in the design are a preset's ({device.roofline.name}), whatever machine and "
            "engine this run had."
        )
        return
    profile, times = device.profile, results.measurements
    machine, threads = (profile.machine, profile.threads) if profile else (times.machine, times.threads)
    engine = profile.engine if profile else "eager"
    for run in {(log.run.machine, log.run.engine, log.run.threads): log.run for log in logs}.values():
        given = [
            *([("engine", engine, ENGINES.get(run.engine, run.engine))] if run.engine != NO_ENGINE else []),
            ("number of threads", str(threads), str(run.threads)),
            *([("machine", machine, run.machine)] if run.machine != device.name else []),
        ]
        differing = [f"{what} {after} (design: {before})" for what, before, after in given if before != after]
        if differing:
            yield f"On {device.name} the run had another {', another '.join(differing)}."
    if len({log.run.machine for log in logs}) > 1:
        yield "The logs are of several machines, and compared as one."


def _alike(found: Measured) -> Iterator[str]:
    """Whether the logs may be compared as one."""
    ends = [*found.starts[1:], len(found.lines)]
    of_logs = [found.latency_s[start:end] for start, end in zip(found.starts, ends, strict=True)]
    medians_s = [float(np.nanmedian(latency_s)) for latency_s in of_logs if np.isfinite(latency_s).any()]
    low_s, high_s = min(medians_s), max(medians_s)
    if high_s - low_s > tolerance_s(np.array([low_s]))[0]:
        yield (
            f"The logs differ from each other, from {format_time(low_s)} to {format_time(high_s)} at p50: what is said "
            "of all of them together is true of none."
        )


def _setup(run: RunLine, prediction: Prediction, entry: PlanEntry) -> Iterator[str]:
    designed, workload = entry.transport, prediction.workload
    if run.mode is None and designed is not None and designed.replace("tcp-cubic", "tcp") != run.transport:
        yield f"The run went over {run.transport}, the plan was designed for {designed}."
    deadline_s = 1 / workload.fps if workload.deadline_s is None else workload.deadline_s
    if run.deadline_s is not None and abs(run.deadline_s - deadline_s) > SAME_PACE * deadline_s:
        yield f"The run's deadline was {format_time(run.deadline_s)}, the design's {format_time(deadline_s)}."
    if entry.hops and not workload.response_bytes:
        yield (
            "The scenario simulates no response ('response' of its workload), so that its link has no way back; the "
            "measured one has."
        )


def _again(prediction: Prediction, entry: PlanEntry) -> Iterator[str]:
    for metric, value in prediction.redone.items():
        recorded = entry.metrics.get(metric)
        if recorded and abs(value - recorded) > SAME_AGAIN * recorded:
            yield (
                f"Simulated once more, the design's {metric.replace('_', ' ')} is {format_time(value)}, its results "
                f"say {format_time(recorded)}: payloads vary, or files of the scenario have changed since."
            )
