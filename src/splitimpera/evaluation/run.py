"""evaluate(plan, testbed, measurements, rng) -> Evaluation: one path for LC, RC, SC and any number of hops.

`evaluate_all` takes many plans side by side. Each goes as far as it can without a prediction; then one pass over the
samples answers what all of them ask, until none asks any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from splitimpera.core.progress import Track, no_progress
from splitimpera.core.statistics import Interval
from splitimpera.evaluation.chance import Draws
from splitimpera.evaluation.costing import plan_costs
from splitimpera.evaluation.passes import Kept, answers
from splitimpera.evaluation.requests import Answer, Request
from splitimpera.evaluation.testbed import Part, Testbed
from splitimpera.evaluation.timeline import Timeline
from splitimpera.evaluation.token_timeline import TokenTimeline
from splitimpera.evaluation.values import Asking, Known, Values, Worth
from splitimpera.evaluation.vectors import Bools, mean_of
from splitimpera.records.costs import DeviceCosts
from splitimpera.records.exits import GOES_ON
from splitimpera.records.measurements import Measurements
from splitimpera.records.outcome import ANSWERED_SHARES, Evaluation, ExitUse
from splitimpera.records.plan import Plan
from splitimpera.records.traffic import Workload
from splitimpera.tasks.quality import value_of
from splitimpera.tasks.task import Task

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A plan's evaluation, and what was learned of its frames."""

    evaluation: Evaluation
    known: Known


def evaluate(
    plan: Plan,
    testbed: Testbed,
    measurements: Measurements,
    rng: np.random.Generator,
    part: Part = "validation",
    replications: int = 1,
    intervals: bool = True,
    workers: int = 1,
) -> Evaluation:
    """Simulate a plan's frames through devices and links, and predict each with the values that arrived.

    Frame i shows sample i modulo the number of samples; there are at least as many frames as samples. A frame of
    which nothing came is a wrong prediction, and so is one with a gap that its codec cannot bear.

    Where a plan has early exits, frames whose head is sure enough leave there, and take nothing of what follows. Where
    the response to one that went on is lost or late, the answer of the last exit on the first device stands in.

    Several senders have a first device each and share all else. Where the workload has a response, it goes back over
    every hop, and a frame is done when its sender has it; one whose response is lost counts as wrong.

    Args:
        measurements: times of this machine, for devices without profile or preset.
        part: which part of the data the samples come from.
        rng: the randomness of all links; every replication draws from a child of its own.
        replications: how often the links are simulated. What does not depend on them is computed once.
        intervals: also say by a bootstrap how sure each metric is.
        workers: how many replications are simulated side by side; the result does not depend on it.

    Returns:
        An evaluation with `latency_s` of shape (replications, frames); all other numbers are means over replications
        and frames. It is stable unless most replications are not.

    Raises:
        SplitImperaError: a codec or link that does not fit, or a time that was not measured.

    Example:
        >>> import torch
        >>> from splitimpera.evaluation.stopwatch import measure
        >>> from splitimpera.graph.tracing import trace
        >>> from splitimpera.models.datasets import Samples, divide
        >>> from splitimpera.records.device import Device
        >>> from splitimpera.records.link import Link
        >>> from splitimpera.records.plan import Hop
        >>> x, y = torch.rand(50, 8), torch.arange(50) % 3
        >>> graph = trace(torch.nn.Sequential(torch.nn.Linear(8, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)), x)
        >>> testbed = Testbed(graph, divide(Samples(x, y), validation=0.4, test=0.4), Workload(20.0))
        >>> hop = Hop(1, "float32", "udp", Link(rate_bps=1e6, loss=0.1))
        >>> plan = Plan("split", (Device("camera"), Device("server")), (hop,))
        >>> found = evaluate(plan, testbed, measure([plan], testbed), np.random.default_rng(0), replications=3)
        >>> found.latency_s.shape, found.payload_bytes, sorted(found.utilisation)
        ((3, 1000), 20.0, ['camera', 'link', 'server'])
    """
    alone = evaluate_all(
        [plan],
        testbed,
        measurements,
        {plan.id: rng},
        part,
        replications,
        intervals=intervals,
        workers=workers,
    )
    return alone[0].evaluation


def said_of(part: Part) -> str:
    """What a pass over a part of the data is called."""
    return f"Running the network on {part} samples"


Settled = Callable[[Plan, Interval], bool]
"""Whether nothing depends on a plan's quality any more, given its 95 % interval."""


def evaluate_all(
    plans: Sequence[Plan],
    testbed: Testbed,
    measurements: Measurements,
    rngs: Mapping[str, np.random.Generator],
    part: Part = "validation",
    replications: int = 1,
    *,
    intervals: bool = True,
    workers: int = 1,
    most_patterns: int | None = None,
    settled: Settled | None = None,
    kept: Kept | None = None,
    track: Track[Any] = no_progress,
    description: str = "",
) -> list[Evaluated]:
    """Evaluate plans side by side; arguments as of `evaluate`, and:

    Args:
        rngs: the randomness of each plan's links, by its id.
        most_patterns: at most so many loss patterns of each sample are evaluated, in random order, and no more than the
            accuracy needs; None: every frame that a link damaged is predicted.
        settled: whether nothing depends on a plan's quality any more, so that no more loss patterns are evaluated.
        kept: what earlier calls computed, which is not computed again.
        track: shows progress.
        description: what is being done; the part of the data by default.

    Returns:
        One entry a plan, in their order.
    """
    workload = frames_for(testbed.workload, len(testbed.samples(part)))

    def started(plan: Plan) -> Asking[Evaluated]:
        rng, costs = rngs[plan.id], plan_costs(plan, testbed, measurements)
        enough = partial(settled, plan) if settled else None
        if workload.tokens is not None:
            how = part, rng, replications, enough, intervals
            return (yield from _written(plan, testbed, workload, costs, *how))
        timeline = Timeline(plan, workload, costs, rng.spawn(replications), workers)
        values = Values(plan, testbed, part, timeline.now_s.shape)
        worth = yield from _simulated(timeline, values, rng, most_patterns, enough)
        return Evaluated(summary(timeline, worth, testbed, intervals), worth.known)

    asking = {plan.id: started(plan) for plan in plans}
    found = side_by_side(asking, testbed, part, kept, track, description)
    return [found[plan.id] for plan in plans]


def side_by_side(
    asking: Mapping[str, Asking[T]],
    testbed: Testbed,
    part: Part,
    kept: Kept | None = None,
    track: Track[Any] = no_progress,
    description: str = "",
) -> dict[str, T]:
    """Go on with all computations until none asks any more; one pass over the samples answers what all of them ask."""
    found: dict[str, T] = {}
    waiting: dict[str, Sequence[Request]] = {}

    def advanced(name: str, given: Mapping[Request, Answer] | None) -> None:
        try:
            # a generator that has not begun takes nothing but None
            waiting[name] = next(asking[name]) if given is None else asking[name].send(given)
        except StopIteration as ended:
            found[name] = ended.value

    for name in asking:
        advanced(name, None)
    said, passes = description or said_of(part), 0
    while waiting:
        passes += 1
        asked = dict.fromkeys(request for requests in waiting.values() for request in requests)
        given = answers(testbed, part, asked, kept, track, said if passes == 1 else f"{said}, pass {passes}")
        now, waiting = waiting, {}
        for name in now:
            advanced(name, given)
    return found


def _simulated(
    timeline: Timeline,
    values: Values,
    rng: np.random.Generator,
    most: int | None,
    settled: Callable[[Interval], bool] | None,
) -> Asking[Worth]:
    for place in range(len(timeline.plan.hops)):
        timeline.compute((yield from values.leaving(place)))
        sizes = yield from values.sizes(place)
        sent = timeline.send(sizes, values.element_bytes(place))
        values.receive(sent, sizes, timeline.alive)
    timeline.compute((yield from values.leaving(len(timeline.plan.hops))))
    return (yield from values.worth(timeline.alive, timeline.on_time, rng, most, settled, timeline.in_hand))


def _written(
    plan: Plan,
    testbed: Testbed,
    workload: Workload,
    costs: Sequence[DeviceCosts],
    part: Part,
    rng: np.random.Generator,
    replications: int,
    settled: Callable[[Interval], bool] | None,
    intervals: bool,
) -> Asking[Evaluated]:
    """A plan of a language model: samples are windows of text, of which nothing is lost, whatever requests meet."""
    samples = len(testbed.samples(part))
    values, every = Values(plan, testbed, part, (1, samples)), np.ones((1, samples), dtype=bool)
    sizes = []
    for place in range(len(plan.hops)):
        yield from values.leaving(place)
        sizes.append((yield from values.sizes(place))[0])
        values.receive((), values.content, every)
    yield from values.leaving(len(plan.hops))
    worth = yield from values.worth(every, every, rng, None, settled)
    timeline = TokenTimeline.of(plan, workload, costs, sizes, rng.spawn(replications))
    return Evaluated(summary(timeline, worth, testbed, intervals), worth.known)


def frames_for(workload: Workload, samples: int) -> Workload:
    """The workload with at least a frame a sample, but for requests; the sizes of frames are the plan's."""
    if workload.tokens is not None:
        return workload
    return replace(workload, frames=max(workload.frames, samples), frame_bytes=workload.frame_bytes or 1)


def summary(timeline: Timeline | TokenTimeline, worth: Worth | None, testbed: Testbed, intervals: bool) -> Evaluation:
    """A timeline and what its frames are worth, summed up; None: not computed."""
    at = timeline.left_at
    plan, of_devices, quality = timeline.plan, timeline.device_quantiles_s, testbed.task.quality
    found = Evaluation(
        plan=plan,
        quality=np.nan,
        quality_ci=(np.nan, np.nan),
        on_time_quality=np.nan,
        latency_s=timeline.latency_s,
        parts_s=timeline.parts_s,
        estimates=timeline.estimates,
        payload_bytes=timeline.payload_bytes,
        crossing=tuple(timeline.crossing),
        lost_packet_rate=timeline.mean_lost_packet_rate,
        fps=float(timeline.sustained_fps.mean()),
        stable=timeline.stable,
        dropped_frames=float(timeline.dropped_frames.mean()),
        energy_j=timeline.energy_j,
        memory_bytes=tuple(costs.memory_bytes for costs in timeline.costs),
        cannot_run=tuple(timeline.cannot_run),
        cut_depth=plan.hops[0].cut if plan.hops else testbed.last,
        utilisation=timeline.utilisation,
        busiest_stage=timeline.busiest_stage,
        device_p50_s={name: p50 for name, (p50, _) in of_devices.items()},
        device_p95_s={name: p95 for name, (_, p95) in of_devices.items()},
        quality_metric=quality.name,
        of_replications={
            "fps": timeline.sustained_fps,
            "lost_packet_rate": timeline.lost_packet_rate,
            "dropped_frames": timeline.dropped_frames,
        },
        exits=tuple(
            ExitUse(exit.cut, exit.thresholds, float((at == place).mean()), np.nan, _answered_s(timeline, at == place))
            for place, exit in enumerate(plan.exits)
        ),
        went_on_latency_s=_answered_s(timeline, at == GOES_ON) if plan.exits else (),
        tokens=timeline.tokens if isinstance(timeline, TokenTimeline) else None,
    )
    return with_worth(found, worth, testbed.task, intervals)


def with_worth(found: Evaluation, worth: Worth | None, task: Task, intervals: bool) -> Evaluation:
    """An evaluation with what its predictions are worth.

    Where the network unsplit is taken for right and all of it runs on one machine, that is no matter of samples.
    """
    quality = task.quality
    if worth is not None:
        of_samples, on_time = mean_of(worth.contributions), mean_of(worth.on_time)
        found = replace(
            found,
            quality=value_of(quality, of_samples),
            on_time_quality=value_of(quality, on_time),
            contributions=worth.contributions,
            on_time_contributions=worth.on_time,
            summarise=quality.value,
            loss_patterns=worth.rounds,
            exits=tuple(map(_with_quality, found.exits, worth.of_exits)),
            went_on_quality=worth.of_exits[-1] if worth.of_exits else np.nan,
            stood_in=worth.stood_in,
        )
    if not intervals:  # those of some qualities take as long as all else
        return found
    draws = Draws(found)
    ends = draws.intervals()
    if worth is not None:
        for metric, contributions in ((quality.name, of_samples), (f"on_time_{quality.name}", on_time)):
            if draws.outcomes(metric) is not None:
                # a bootstrap of outcomes knows nothing of what no sample shows: 20 right ones of 20 would be certain
                ends[metric] = quality.interval(contributions)
        if task.targets == "none" and found.quality == 1 and not (found.plan.hops or found.plan.exits):
            ends[quality.name] = (1.0, 1.0)
        found = replace(found, quality_ci=ends[quality.name])
    return replace(found, intervals=ends)


def _answered_s(timeline: Timeline | TokenTimeline, which: Bools) -> tuple[float, ...]:
    """The latency of some frames at `ANSWERED_SHARES` of them."""
    latency_s = timeline.latency_s[which & np.isfinite(timeline.latency_s)]
    return tuple(np.quantile(latency_s, ANSWERED_SHARES).tolist()) if len(latency_s) else ()


def _with_quality(exit: ExitUse, quality: float) -> ExitUse:
    return replace(exit, quality=quality)
