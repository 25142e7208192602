"""evaluate(plan, testbed, measurements, rng) -> Evaluation: one path for LC, RC, SC and any number of hops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from splitimpera.evaluation.chance import Draws
from splitimpera.evaluation.costing import plan_costs
from splitimpera.evaluation.quality import Classification, Quality
from splitimpera.evaluation.testbed import Part, Testbed
from splitimpera.evaluation.timeline import Timeline
from splitimpera.evaluation.values import Values
from splitimpera.records.measurements import Measurements
from splitimpera.records.outcome import Evaluation
from splitimpera.records.plan import Plan
from splitimpera.records.traffic import Workload

CLASSIFICATION = Classification()


def evaluate(
    plan: Plan,
    testbed: Testbed,
    measurements: Measurements,
    rng: np.random.Generator,
    part: Part = "validation",
    replications: int = 1,
    quality: Quality = CLASSIFICATION,
    intervals: bool = True,
    workers: int = 1,
) -> Evaluation:
    """Simulate a plan's frames through devices and links, and predict each with the values that arrived.

    Frame i shows sample i modulo the number of samples; there are at least as many frames as samples. A frame of
    which nothing came is a wrong prediction, and so is one with a gap that its codec cannot bear.

    Several senders have a first device each and share all else. Where the workload has a response, it goes back over
    every hop, and a frame is done when its sender has it; one whose response is lost counts as wrong.

    Args:
        measurements: times of this machine, for devices without profile or preset.
        part: which part of the data the samples come from.
        rng: the randomness of all links; every replication draws from a child of its own.
        replications: how often the links are simulated. What does not depend on them is computed once.
        quality: what makes a prediction good; the evaluation's `quality` is its value.
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
    workload = frames_for(testbed.workload, len(testbed.samples(part)))
    timeline = Timeline(plan, workload, plan_costs(plan, testbed, measurements), rng.spawn(replications), workers)
    values = Values(plan, testbed, part, quality, timeline.now_s.shape)
    for hop in plan.hops:
        timeline.compute()
        payloads = values.payloads(hop)
        sizes = np.array([len(payload.data) for payload in payloads], dtype=np.int64)[values.content]
        sent = timeline.send(sizes, payloads[0].element_bytes)
        values.receive(hop, sent, sizes, timeline.alive)
    timeline.compute()
    return _summary(timeline, values, testbed.last, intervals)


def frames_for(workload: Workload, samples: int) -> Workload:
    """The workload with at least a frame a sample; the sizes of frames are the plan's."""
    return replace(workload, frames=max(workload.frames, samples), frame_bytes=workload.frame_bytes or 1)


def _summary(timeline: Timeline, values: Values, last: int, intervals: bool) -> Evaluation:
    counts, quality, plan = values.counts(), values.quality, timeline.plan
    alive = timeline.alive & values.alive
    predicted = values.of_samples(counts, alive)
    in_time = values.of_samples(counts, alive & timeline.on_time)
    of_samples, on_time = predicted.mean(0), in_time.mean(0)
    found = Evaluation(
        plan=plan,
        quality=quality.value(of_samples.sum(0)),
        quality_ci=quality.interval(of_samples),
        on_time_quality=quality.value(on_time.sum(0)),
        latency_s=timeline.latency_s,
        parts_s=timeline.parts_s,
        estimates=timeline.estimates,
        payload_bytes=timeline.payload_bytes,
        lost_packet_rate=timeline.mean_lost_packet_rate,
        fps=float(timeline.sustained_fps.mean()),
        stable=timeline.stable,
        dropped_frames=float(timeline.dropped_frames.mean()),
        energy_j=timeline.energy_j,
        memory_bytes=tuple(costs.memory_bytes for costs in timeline.costs),
        cannot_run=tuple(timeline.cannot_run),
        cut_depth=plan.hops[0].cut if plan.hops else last,
        utilisation=timeline.utilisation,
        busiest_stage=timeline.busiest_stage,
        device_p50_s={name: p50 for name, (p50, _) in timeline.device_quantiles_s.items()},
        device_p95_s={name: p95 for name, (_, p95) in timeline.device_quantiles_s.items()},
        quality_metric=quality.name,
        contributions=predicted,
        on_time_contributions=in_time,
        summarise=quality.value,
        of_replications={
            "fps": timeline.sustained_fps,
            "lost_packet_rate": timeline.lost_packet_rate,
            "dropped_frames": timeline.dropped_frames,
        },
    )
    if not intervals:
        return found
    draws = Draws(found)
    ends = draws.intervals()
    for metric, contributions in ((quality.name, of_samples), (f"on_time_{quality.name}", on_time)):
        if draws.outcomes(metric) is not None:
            # a bootstrap of outcomes knows nothing of what no sample shows: 20 right ones of 20 would be certain
            ends[metric] = quality.interval(contributions)
    return replace(found, intervals=ends, quality_ci=ends[quality.name])
