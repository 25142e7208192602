"""Time a network on the machine where this runs: each layer, each cut's head and tail, codecs."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, fx

from splitimpera.core.array_types import FloatArray
from splitimpera.core.progress import Track, no_progress
from splitimpera.cost.codec_model import Direction
from splitimpera.cost.coding import coding, fitted
from splitimpera.cost.engines import engine_called
from splitimpera.cost.pacing import paced
from splitimpera.cost.profiles import fingerprint, input_shape
from splitimpera.cost.timing import keep_freed_memory, timed
from splitimpera.cost.waking import wake_s, waking_timers
from splitimpera.cost.work import NetworkWork
from splitimpera.graph.tracing import ModelGraph
from splitimpera.models.threads import torch_threads
from splitimpera.partition.cutter import segment
from splitimpera.records.device import CodecTime, CutTime, LayerTime, PacedTimes, Profile

K = TypeVar("K")

CODECS = ("float32", "uint8")
WARM_UP = 2
PACED_SIZES = 3
"""At which codecs are timed in paced frames."""
SAMPLES_KEPT = 240
"""Of each time, in a profile."""
LAYER_PASSES = 3
"""Over the layers in a round; each head and tail is timed once."""


def profile_network(
    graph: ModelGraph,
    inputs: tuple[Tensor, ...],
    *,
    network: str,
    cuts: Literal["single", "blocks"] | Sequence[int] = "single",
    codecs: Sequence[str] = CODECS,
    threads: int | None = None,
    engine: str = "eager",
    rounds: int = 30,
    fps: float | None = None,
    budget_s: float = 10.0,
    track: Track[Any] = no_progress,
) -> Profile:
    """Measure a network here, in rounds over everything, so that a machine that slows down for a while slows all alike.

    Layers are timed inside whole passes over the network, in order, so that caches hold what they hold in use. The
    head of the last cut is the whole network.

    Args:
        inputs: one frame, (1, ...) each.
        network: what the profile calls it.
        cuts: whose heads and tails are timed; those of input and result always are.
        codecs: which are timed, at several sizes.
        threads: how many PyTorch uses; None: as many as it does.
        engine: what runs heads and tails: "eager", "compile" (torch.compile) or "onnxruntime". Layers are always timed
            eagerly; with another engine their times are their shares of what it takes for the whole network.
        rounds: how often each thing is measured, apart from the warm-up.
        fps: also measure in frames that come at this rate, as `paced_times`; None: back to back alone.
        budget_s: roughly how long that may take.

    Raises:
        ModelError: the engine is not installed, or cannot run this network.
        UnknownNameError: there is no such engine or codec.
        CutError: there is no such cut.
    """
    call = engine_called(engine)
    wanted = chosen_cuts(graph, cuts)
    with torch_threads(threads), torch.inference_mode():
        used = torch.get_num_threads()
        last = len(graph.cuts) - 1
        peak_bytes = peak_memory_bytes(lambda: graph.program(*inputs))  # before there is anything else to hold
        parts: dict[tuple[object, ...], Callable[[], Any]] = {}
        for cut in track(wanted, "Preparing heads and tails", len(wanted)):
            head = segment(graph, graph.cuts[0], graph.cuts[cut])
            crossing = head(*inputs)
            parts["head", cut] = timed(call(head, inputs, used))
            tail = segment(graph, graph.cuts[cut], graph.cuts[last])
            parts["tail", cut] = timed(call(tail, crossing, used))
        sizes = codec_sizes(graph)
        others = spread(layer_measurements(graph, inputs), codec_measurements(codecs, sizes))
        taken = in_rounds(spread(others, parts), rounds, track)
        at_rate = None
        if fps is not None:
            whole = None if engine == "eager" else parts["head", last]
            at_rate = paced_times(graph, inputs, fps, wanted, codecs, whole, budget_s, track)
    call_s, layers_s = float(np.median(taken["call",])), all_passes(taken)
    if engine != "eager":
        layers_s = layers_s * np.median(taken["head", last]) / (call_s + np.median(layers_s.sum(1)))
    return Profile(
        machine=machine_name(),
        network=network,
        input_shape=input_shape(graph),
        fingerprint=fingerprint(graph),
        engine=engine,
        threads=used,
        call_s=call_s,
        layers=layer_times(graph, layers_s),
        cuts=tuple(cut_time(cut, taken["head", cut], taken["tail", cut]) for cut in wanted),
        codecs=codec_times(codecs, sizes, taken),
        peak_bytes=peak_bytes,
        paced=at_rate,
    )


def paced_times(
    graph: ModelGraph,
    inputs: tuple[Tensor, ...],
    fps: float,
    cuts: Sequence[int],
    codecs: Sequence[str] = CODECS,
    whole: Callable[[], float] | None = None,
    budget_s: float = 10.0,
    track: Track[Any] = no_progress,
) -> PacedTimes:
    """Measure a network in frames that come at a rate, with idle time between them.

    Each frame is one pass over all layers, and a codec's call at each of three sizes: the head and tail of each cut are
    sums of layers. The network's end by itself, right after idle time, tells what waking costs what is run after a cut.

    Args:
        whole: times the whole network as another engine runs it. Layers are then their shares of that, and no cut has
            times of its own.
        budget_s: roughly how long to measure.
    """
    sizes = codec_sizes(graph, PACED_SIZES)
    nothing, timer = segment(graph, graph.cuts[0], graph.cuts[0]), LayerTimer(graph, inputs)
    timers: dict[tuple[object, ...], Callable[[], Any]] = {} if whole is None else {("whole",): whole}
    timers["layers",], timers["call",] = timer, timed(lambda: nothing(*inputs))
    timers |= codec_measurements(codecs, sizes)
    with torch.inference_mode():
        waking = waking_timers(graph, inputs, timer())
        taken = paced(timers, whole or timed(timer), fps, budget_s, track, waking)
    call_s, layers_s = float(np.median(taken["call",])), taken["layers",]
    woken_s = wake_s(taken, layers_s, taken["call",])
    if whole is not None:
        layers_s = layers_s * np.median(taken["whole",]) / (call_s + np.median(layers_s.sum(1)))
    before_s = np.cumsum(np.pad(layers_s, ((0, 0), (1, 0))), axis=1)
    heads_s, tails_s = call_s + before_s, call_s + woken_s + before_s[:, -1:] - before_s
    heads_s[:, 0] += woken_s
    tails_s[:, 0] -= woken_s  # whose pass has it
    return PacedTimes(
        fps=fps,
        call_s=call_s,
        wake_s=woken_s,
        layers=layer_times(graph, layers_s),
        cuts=tuple(cut_time(cut, heads_s[:, cut], tails_s[:, cut]) for cut in cuts) if whole is None else (),
        codecs=codec_times(codecs, sizes, taken),
    )


def in_rounds(
    measurements: Mapping[K, Callable[[], Any]], rounds: int, track: Track[Any] = no_progress
) -> dict[K, FloatArray]:
    """What each measurement returns, in turn, `rounds` times after a warm-up; the first dimension counts rounds."""
    keep_freed_memory()
    taken: dict[K, list[Any]] = {key: [] for key in measurements}
    for turn in track(range(WARM_UP + rounds), "Measuring", WARM_UP + rounds):
        for key, measure in measurements.items():
            value = measure()
            if turn >= WARM_UP:
                taken[key].append(value)
    return {key: np.array(values) for key, values in taken.items()}


class LayerTimer:
    """Runs a network with a look at the clock after each layer; a call returns seconds, shape (layers,).

    What looking at the clock takes is subtracted.
    """

    def __init__(self, graph: ModelGraph, inputs: tuple[Tensor, ...]) -> None:
        self.inputs = inputs
        self.program = _stamped(graph)
        self.look_s = _look_s()

    def __call__(self) -> FloatArray:
        _, stamps = self.program(*self.inputs)
        seconds: FloatArray = np.maximum(np.diff(stamps) - self.look_s, 0.0)
        return seconds


def _stamped(graph: ModelGraph) -> fx.GraphModule:
    """The network's program, its layers one after the other, with the times between them as a second result."""
    program = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    nodes = list(graph.program.graph.nodes)
    for node in nodes:
        if node.op == "placeholder":
            copies[node] = program.node_copy(node)
    stamps = [program.call_function(time.perf_counter)]
    for layer in NetworkWork(graph).nodes:
        for node in layer:
            if node not in copies:
                copies[node] = program.node_copy(node, copies.__getitem__)
        stamps.append(program.call_function(time.perf_counter))
    for node in nodes[-1].all_input_nodes:
        if node not in copies:  # a constant that is handed on as it is
            copies[node] = program.node_copy(node, copies.__getitem__)
    program.output((fx.map_arg(nodes[-1].args[0], copies.__getitem__), tuple(stamps)))
    return fx.GraphModule(graph.program, program).eval()


def _look_s(looks: int = 500) -> float:
    """What one look at the clock takes in such a program."""
    program = fx.Graph()
    program.output(tuple(program.call_function(time.perf_counter) for _ in range(looks)))
    module = fx.GraphModule(torch.nn.Module(), program)
    return float(np.median([np.median(np.diff(module())) for _ in range(20)]))


def layer_measurements(graph: ModelGraph, inputs: tuple[Tensor, ...]) -> dict[tuple[object, ...], Callable[[], Any]]:
    """Calls that time all layers, several a round, and one that times a part of the network without layers."""
    nothing, timer = segment(graph, graph.cuts[0], graph.cuts[0]), LayerTimer(graph, inputs)
    return {("call",): timed(lambda: nothing(*inputs))} | {("layers", turn): timer for turn in range(LAYER_PASSES)}


def spread(some: Mapping[K, Callable[[], Any]], among: Mapping[K, Callable[[], Any]]) -> dict[K, Callable[[], Any]]:
    """Both, evenly mixed: what is measured after its like finds the caches warmer than in use."""
    places = [
        ((place + 0.5) / len(entries), entry)
        for entries in (some, among)
        for place, entry in enumerate(entries.items())
    ]
    return dict(entry for _, entry in sorted(places, key=lambda placed: placed[0]))


def all_passes(taken: Mapping[tuple[object, ...], FloatArray]) -> FloatArray:
    """The seconds of every pass over the layers, shape (passes, layers)."""
    return np.concatenate([taken["layers", turn] for turn in range(LAYER_PASSES)])


def layer_times(graph: ModelGraph, layers_s: FloatArray) -> tuple[LayerTime, ...]:
    """Medians and spreads of measured passes, shape (passes, layers).

    The medians are scaled to add up to the median pass: in most passes something disturbs some layer, and no layer's
    median would show it.
    """
    found = np.array([_median_and_spread(column) for column in layers_s.T])
    found *= np.median(layers_s.sum(1)) / max(found[:, 0].sum(), np.finfo(float).tiny)
    return tuple(
        LayerTime(layer.name, layer.operation, float(seconds), float(spread_s), _kept(column))
        for layer, (seconds, spread_s), column in zip(graph.layers, found, layers_s.T, strict=True)
    )


def cut_time(cut: int, head_s: FloatArray, tail_s: FloatArray) -> CutTime:
    """Medians, spreads and samples of a cut's measured heads and tails, each shape (runs,)."""
    return CutTime(cut, *_median_and_spread(head_s), *_median_and_spread(tail_s), _kept(head_s), _kept(tail_s))


def chosen_cuts(graph: ModelGraph, cuts: Literal["single", "blocks"] | Sequence[int]) -> list[int]:
    """The indices of the cuts that are asked for, input's and result's always among them."""
    if isinstance(cuts, str):
        inner = [cut.index for cut in graph.cuts if (cut.single if cuts == "single" else cut.block)]
    else:
        inner = [graph.cut(int(cut)).index for cut in cuts]
    return sorted({0, *inner, len(graph.cuts) - 1})


def codec_sizes(graph: ModelGraph, count: int = 7) -> list[int]:
    """Sizes at which codecs are timed, from a little below the smallest cut's tensors to a little above the largest."""
    sizes = [cut.bytes for cut in graph.cuts]
    low, high = max(256, min(sizes)), min(max(sizes), 1 << 28)
    return [64 * max(1, round(size / 64)) for size in np.geomspace(0.8 * low, 1.25 * max(low, high), count)]


def codec_measurements(codecs: Sequence[str], sizes: Sequence[int]) -> dict[tuple[object, ...], Callable[[], float]]:
    """Calls that time every codec at every size, each way."""
    return {
        (direction, codec, size): timed(run)
        for codec in codecs
        for size in sizes
        for direction, run in coding(codec, size).items()
    }


def codec_times(
    codecs: Sequence[str], sizes: Sequence[int], taken: Mapping[tuple[object, ...], FloatArray]
) -> tuple[CodecTime, ...]:
    """The lines through what `codec_measurements` gave."""

    def medians_s(direction: Direction, codec: str) -> list[float]:
        return [float(np.median(taken[direction, codec, size])) for size in sizes]

    def relative(direction: Direction, codec: str) -> tuple[float, ...]:
        # of the largest size: what disturbs a call of a microsecond is no share of it
        times_s = taken[direction, codec, sizes[-1]]
        return _kept(times_s / np.median(times_s))

    return tuple(
        replace(
            fitted(codec, sizes, medians_s("encode", codec), medians_s("decode", codec)),
            encode_spread=relative("encode", codec),
            decode_spread=relative("decode", codec),
        )
        for codec in codecs
    )


def _kept(samples: FloatArray) -> tuple[float, ...]:
    """The last of them, with as many digits as mean anything."""
    return tuple(float(f"{sample:.4g}") for sample in samples[-SAMPLES_KEPT:])


def peak_memory_bytes(run: Callable[[], object]) -> int:
    """The most memory that the process has while something runs; where only Linux could tell, since it began."""
    clear, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    try:
        clear.write_text("5")  # begin the peak anew
        begun = True
    except OSError:
        begun = False
    run()
    if begun:
        peak = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        if peak is not None:
            return int(peak.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)


def machine_name() -> str:
    """The processor's name and its number of cores."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model"))]
        name = found[-1] if found else name
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores"


def _median_and_spread(times_s: FloatArray) -> tuple[float, float]:
    """Median, and half the distance between the quartiles."""
    low, middle, high = np.percentile(times_s, [25, 50, 75])
    return float(middle), float(high - low) / 2
