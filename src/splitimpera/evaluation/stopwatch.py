"""Plans timed on this machine, as far as their devices are that machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Literal

import torch

from splitimpera.cost.devices import measured_here
from splitimpera.cost.measuring import machine_name
from splitimpera.cost.profiles import fingerprint
from splitimpera.cost.timing import sample_together_s
from splitimpera.evaluation.testbed import Coding, Segment, Testbed, around, coding_of
from splitimpera.records.measurements import CodingTime, Measurements, SegmentTime
from splitimpera.records.plan import Plan

SEGMENTS_S = 2.0
CODING_S = 0.02
MOST_CALLS = 50


def measure(plans: Iterable[Plan], testbed: Testbed) -> Measurements:
    """Time what some plans need on this machine; nothing where each device has a profile or a preset.

    The layers between cuts are run in turn, so that their times compare.

    Raises:
        SplitImperaError: a codec or bottleneck that does not fit.

    Example:
        >>> from torch import nn
        >>> from splitimpera.graph.tracing import trace
        >>> from splitimpera.models.datasets import Samples, divide
        >>> from splitimpera.records.device import Device
        >>> from splitimpera.records.traffic import Workload
        >>> x, y = torch.rand(20, 8), torch.arange(20) % 3
        >>> graph = trace(nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)), x)
        >>> testbed = Testbed(graph, divide(Samples(x, y), validation=0.4, test=0.4), Workload(20.0))
        >>> times = measure([Plan("LC", (Device("here"),))], testbed)
        >>> times.segment_s(0, testbed.last) > 0
        True
    """
    segments: dict[tuple[Segment, int], None] = {}
    codings: dict[tuple[Literal["encode", "decode"], Coding], None] = {}
    for plan in plans:
        hops = [None, *plan.hops, None]
        for device, (arriving, leaving) in zip(plan.devices, pairwise(hops), strict=True):
            if not measured_here(device):
                continue
            ends = arriving.cut if arriving else 0, leaving.cut if leaving else testbed.last
            ratios = around(arriving, leaving)
            segment = (*ends, ratios["arriving"], ratios["leaving"])
            segments |= {(segment, batch): None for batch in {1, device.batch}}
            codings |= {("decode", coding_of(arriving)): None} if arriving else {}
            codings |= {("encode", coding_of(leaving)): None} if leaving else {}
    with torch.inference_mode():
        taken_s = _timed([testbed.caller(segment, batch) for segment, batch in segments], SEGMENTS_S)
    coded_s = (_timed([_coder(testbed, direction, coding)], CODING_S)[0] for direction, coding in codings)
    return Measurements(
        machine_name(),
        fingerprint(testbed.graph),
        torch.get_num_threads(),
        tuple(SegmentTime(*key, batch, s) for (key, batch), s in zip(segments, taken_s, strict=True)),
        tuple(
            CodingTime(direction, key.cut, key.codec, key.bottleneck, key.packet_bytes, s)
            for (direction, key), s in zip(codings, coded_s, strict=True)
        ),
    )


def _timed(runs: list[Callable[[], object]], budget_s: float) -> list[tuple[float, ...]]:
    return [tuple(s) for s in sample_together_s(runs, budget_s=budget_s, most=MOST_CALLS)] if runs else []


def _coder(testbed: Testbed, direction: Literal["encode", "decode"], coding: Coding) -> Callable[[], object]:
    codec, row = testbed.codec(*coding), testbed.example(coding.cut, coding.bottleneck)
    data = codec.encode(row).data
    return (lambda: codec.encode(row)) if direction == "encode" else (lambda: codec.decode(data))
