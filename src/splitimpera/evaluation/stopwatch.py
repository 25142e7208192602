"""Plans timed on this machine, as far as their devices are that machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch

from splitimpera.core.array_types import FloatArray, Row
from splitimpera.core.bounds import BOUNDS
from splitimpera.core.cache import made_once, read_cached, usable_cache, write_cached
from splitimpera.core.errors import DataError
from splitimpera.core.progress import Track, no_progress
from splitimpera.core.version import __version__
from splitimpera.cost.devices import measured_here
from splitimpera.cost.measured_times import measurements_document, measurements_from
from splitimpera.cost.measuring import LayerTimer, machine_name
from splitimpera.cost.pacing import both_ways
from splitimpera.cost.profiles import fingerprint
from splitimpera.cost.timing import timed, waited_share
from splitimpera.cost.waking import wake_s, waking_timers
from splitimpera.evaluation.batches import stack, unstack
from splitimpera.evaluation.codings import Coding, Segment, around, coding_of, forwards, rests
from splitimpera.evaluation.costing import heads_on
from splitimpera.evaluation.heads import Places
from splitimpera.evaluation.testbed import Testbed
from splitimpera.models.threads import torch_threads
from splitimpera.net.compilation import wait_until_compiled
from splitimpera.partition.cutter import segment as segment_of
from splitimpera.records.exits import confidences
from splitimpera.records.measurements import CodingTime, Measurements, SegmentTime
from splitimpera.records.plan import Plan
from splitimpera.records.spans import Span
from splitimpera.tasks.identity import identity

BUDGET_S = 10.0
BUSY = 0.1
"""From this share of waiting for a core on, times are too long to be trusted."""
THREADS = 1
"""Of what is timed, as `serve` and `infer` have without `--threads`. A second one sleeps between frames, and waking it
took up to 15 ms in a quarter of the frames of a network that needs 2 ms."""
FORMAT = 1
"""Of what is kept: counted up when it means something else."""
SHORTEST_S = 1e-9
"""What a clock that did not move is taken for."""

Timed = tuple[Segment, int, Places]
"""A segment, how many frames are run together, and the exits on the way."""
Timers = dict[tuple[object, ...], Callable[[], Any]]
Taken = dict[tuple[object, ...], FloatArray]


def measure(
    plans: Iterable[Plan],
    testbed: Testbed,
    fps: float | None = None,
    budget_s: float = BUDGET_S,
    fresh: bool = False,
    track: Track[Any] = no_progress,
) -> Measurements:
    """Time what some plans need on this machine; nothing where each device has a profile or a preset.

    One pass times all layers. Passes come as frames do, with idle time between them, so that caches and clock rates are
    those of the field; a segment takes what its layers took in each pass, and what waking costs if the first layer is
    not among them. Bottlenecks' parts and codecs are timed in the same frames. All is timed back to back as well.

    PyTorch has one thread meanwhile, as the deployed programs have. The times are kept in the cache folder, by machine,
    network, pace and what was timed.

    Args:
        fps: Frame rate at which to time; None: the workload's.
        budget_s: roughly how long to time in all. At least `pacing.FRAMES` passes are timed where this allows; at slow
            rates the idle time is cut for it, to no less than `pacing.LEAST_IDLE_S`.
        fresh: whether to time anew what is in the cache folder.
        track: shows progress.

    Raises:
        SplitImperaError: a codec or bottleneck that does not fit, or a frame rate out of range.

    Example:
        >>> from torch import nn
        >>> from splitimpera.graph.tracing import trace
        >>> from splitimpera.models.datasets import Samples, divide
        >>> from splitimpera.records.device import Device
        >>> from splitimpera.records.traffic import Workload
        >>> x, y = torch.rand(20, 8), torch.arange(20) % 3
        >>> graph = trace(nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)), x)
        >>> testbed = Testbed(graph, divide(Samples(x, y), validation=0.4, test=0.4), Workload(20.0))
        >>> times = measure([Plan("LC", (Device("here"),))], testbed, fps=100)
        >>> times.segment_s(0, testbed.last) > 0
        True
    """
    segments: dict[Timed, None] = {}
    codings: dict[tuple[Literal["encode", "decode"], Coding], None] = {}
    for plan in plans:
        hops = [None, *plan.hops, None]
        for place, (device, (arriving, leaving)) in enumerate(zip(plan.devices, pairwise(hops), strict=True)):
            if not measured_here(device) or forwards(arriving, leaving):
                continue
            ends = arriving.cut if arriving else 0, leaving.cut if leaving else testbed.last
            ratios = around(arriving, leaving)
            segment = (*ends, ratios["arriving"], ratios["leaving"])
            heads = heads_on(plan, place)
            if not rests(arriving, leaving):
                segments |= {(segment, batch, heads): None for batch in {1, device.batch}}
            for passed, cut in enumerate(heads, start=1):
                segments |= {((ends[0], cut, ratios["arriving"], 0.0), 1, heads[:passed]): None}
            codings |= {("decode", coding_of(arriving)): None} if arriving else {}
            codings |= {("encode", coding_of(leaving)): None} if leaving else {}
    about = Measurements(machine_name(), fingerprint(testbed.graph), THREADS)
    values_threads = torch.get_num_threads()
    if not segments:
        return replace(about, values_threads=values_threads)
    last = testbed.last
    about = replace(about, fps=testbed.workload.fps if fps is None else fps)
    if not BOUNDS["fps"].holds(about.fps):
        raise DataError(f"{about.fps!r} frames a second are out of range, they must be {BOUNDS['fps']}", where="fps")
    coded = [(direction, coding[:4]) for direction, coding in codings]
    measured = *vars(about).values(), budget_s, identity(testbed.task), [*segments], coded

    def take() -> Measurements:
        with torch_threads(THREADS), torch.inference_mode():
            timers = _timers(testbed, list(segments), list(codings))
            single = stack([testbed.example(0)], testbed.graph.cuts[0].tensors)
            waking = waking_timers(testbed.graph, single, timers["layers", 1]())
            own = timed(timers["layers", 1])
            (hot, paced), waited = waited_share(lambda: both_ways(timers, own, about.fps, budget_s, track, waking))
            woken_s = wake_s(paced, paced["layers", 1], paced["call",])
        return replace(
            about,
            segments=tuple(
                SegmentTime(*(*each[0], each[1]), _of(paced, each, last, woken_s), _of(hot, each, last), each[2])
                for each in segments
            ),
            codings=tuple(
                CodingTime(
                    *(direction, coding.cut, coding.codec, coding.bottleneck, coding.packet_bytes),
                    _samples(paced["coding", direction, coding]),
                    _samples(hot["coding", direction, coding]),
                )
                for direction, coding in codings
            ),
            waited=waited,
        )

    return replace(kept_times(measured, take, fresh, track), values_threads=values_threads)


def kept_times(
    key: Sequence[object],
    take: Callable[[], Measurements],
    fresh: bool = False,
    track: Track[Any] = no_progress,
) -> Measurements:
    """Times from the cache folder, taken anew where they are not there.

    Args:
        key: all that they depend on, as plain values.
        fresh: whether to take them anew all the same.
        track: shows progress.
    """
    text = json.dumps([FORMAT, __version__, torch.__version__, *key])
    name = f"times-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
    with made_once(name):  # two at a time would disturb each other
        known = None if fresh else _kept(name)
        if known is not None:
            return known
        wait_until_compiled(track)  # the compiler would take the time of what is timed
        found = take()
        if usable_cache() is not None:
            write_cached(name, json.dumps(measurements_document(found)).encode())
        return found


def busy_line(times: Measurements) -> str | None:
    """What to say of times that were taken while other programs had the machine; None: they hardly had."""
    if times.waited < BUSY:
        return None
    return (
        f"The times of {times.machine} may be too long: {times.waited:.0%} of the timing went into waiting for other "
        "programs. Time it anew when it is quiet (--fresh-times)."
    )


def _kept(name: str) -> Measurements | None:
    content = read_cached(name)
    try:
        return None if content is None else measurements_from(json.loads(content))
    except (DataError, ValueError):
        return None  # a file of that name by another hand


def _timers(
    testbed: Testbed, segments: list[Timed], codings: list[tuple[Literal["encode", "decode"], Coding]]
) -> Timers:
    """Calls that return seconds: of each layer, shape (layers,); of a part without layers; of all else."""
    graph, row = testbed.graph, testbed.example(0)
    specs = graph.cuts[0].tensors
    single = stack([row], specs)
    timer = LayerTimer(graph, single)
    timers: Timers = {("layers", 1): timer}
    for batch in sorted({batch for _, batch, _ in segments} - {1}):
        together = LayerTimer(graph, stack([row] * batch, specs)) if graph.stacks(specs) else None
        timers["layers", batch] = together or partial(_one_by_one, timer, batch)
    nothing = segment_of(graph, graph.cuts[0], graph.cuts[0])
    timers["call",] = timed(lambda: nothing(*single))
    results = testbed.call(Span(0, testbed.last), single)
    result = next(unstack(results, testbed.specs(testbed.last, 0.0)))
    for segment, batch, heads in segments:
        for cut in heads:
            timers["exit", cut] = timed(_looker(testbed, cut))
        if segment[1] == testbed.last or segment[1] in heads:
            timers["answer", batch] = timed(partial(_answers, testbed, result, batch))
        for part, cut, ratio in _bottleneck_parts(segment):
            timers[part, cut, ratio, batch] = timed(testbed.bottleneck_caller(part, cut, ratio, batch))
    for direction, coding in codings:
        timers["coding", direction, coding] = timed(_coder(testbed, direction, coding))
    return timers


def _one_by_one(timer: LayerTimer, batch: int) -> FloatArray:
    seconds: FloatArray = np.sum([timer() for _ in range(batch)], axis=0)
    return seconds


def _answers(testbed: Testbed, result: Row, batch: int) -> None:
    """What runs after the network, on each of some frames."""
    for _ in range(batch):
        testbed.task.answer(result)


def _of(taken: Taken, segment_timed: Timed, last: int, woken_s: float = 0.0) -> tuple[float, ...]:
    """What its layers took in each pass, the call of a program, the parts of bottlenecks at its ends, the heads of
    exits with a further call for the layers behind each, and what makes the answer where one is given.

    Args:
        last: The cut behind which there are no layers.
        woken_s: What waking costs a device that runs layers, but not the first one, whose passes have it.
    """
    segment, batch, heads = segment_timed
    start, end, *_ = segment
    seconds: FloatArray = taken["layers", batch][:, start:end].sum(1) + taken["call",]
    for cut in heads:
        seconds = seconds + taken["exit", cut] + (taken["call",] if cut < end else 0.0)
    seconds = seconds + woken_s if 0 < start < end else seconds
    for part in _bottleneck_parts(segment):
        seconds = seconds + taken[*part, batch]
    if end == last or end in heads:
        seconds = seconds + taken["answer", batch]
    return _samples(seconds)


def _bottleneck_parts(segment: Segment) -> Iterator[tuple[Literal["decoder", "encoder"], int, float]]:
    """Which parts of bottlenecks a device runs, and at which cut and ratio."""
    start, end, arriving, leaving = segment
    if arriving:
        yield "decoder", start, arriving
    if leaving:
        yield "encoder", end, leaving


def _samples(seconds: FloatArray) -> tuple[float, ...]:
    return tuple(np.maximum(seconds, SHORTEST_S).tolist())


def _looker(testbed: Testbed, cut: int) -> Callable[[], object]:
    """What an exit takes: its head, and whether it is sure."""
    head, crossing = testbed.heads.head(cut), stack([testbed.example(cut)], testbed.specs(cut, 0.0))
    return lambda: confidences(head(*crossing).numpy())


def _coder(testbed: Testbed, direction: Literal["encode", "decode"], coding: Coding) -> Callable[[], object]:
    codec, row = testbed.codec(*coding), testbed.example(coding.cut, coding.bottleneck)
    data = codec.encode(row).data
    return (lambda: codec.encode(row)) if direction == "encode" else (lambda: codec.decode(data))
