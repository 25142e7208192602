"""Does one profile of the layers tell what a network takes when it is cut somewhere?

    python benchmarks/cost_fidelity.py [--networks vgg16 resnet50 mobilenet_v2] [--rounds 25] [--threads 1] [--quick]
        [--markdown FILE]

This machine is the device and the server, the network between them apart. A profile is taken that times layers, and
codecs on tensors of other sizes than any cut's; no head or tail. From it alone follows what head, encoding, decoding
and tail take together at each cut where one tensor crosses. Then these are timed, one frame at a time, from head to
tail, in the same rounds as the profile: each round has three passes over the layers, every codec at every size, and
every cut with every codec.

Limits, over the cuts of a network: the median error is at most 10 %; none is above 25 % or twice the repeatability of
its measurement, whichever is more. The repeatability is how far the medians over odd and over even rounds lie apart.

Weights are random, inputs too: nothing here depends on their values. Some 15 minutes on two cores that have nothing
else to do, which it needs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from splitimpera.codec.codecs import Calibration, make_codec
from splitimpera.core.array_types import FloatArray
from splitimpera.cost import measuring as profiling
from splitimpera.cost.devices import codec_cost, network_cost
from splitimpera.cost.profiles import fingerprint, input_shape
from splitimpera.cost.work import NetworkWork
from splitimpera.graph.tracing import ModelGraph, trace
from splitimpera.models.reference import REFERENCE
from splitimpera.partition.cutter import segment
from splitimpera.records.device import Device, Profile
from splitimpera.records.graph import Cut

NETWORKS = ("vgg16", "resnet50", "mobilenet_v2")
CODECS = ("float32", "uint8")
PARTS = ("head", "encode", "decode", "tail")
MEDIAN_LIMIT, WORST_LIMIT = 0.10, 0.25


@dataclass(frozen=True)
class Case:
    """One cut with one codec: seconds of the four parts as predicted, and as measured, shape (rounds, 4)."""

    cut: Cut
    codec: str
    predicted_s: FloatArray
    measured_s: FloatArray

    @property
    def total_s(self) -> float:
        return float(np.median(self.measured_s.sum(1)))

    @property
    def error(self) -> float:
        """Of all four parts together, relative."""
        return float(self.predicted_s.sum()) / self.total_s - 1

    @property
    def part_errors(self) -> FloatArray:
        return self.predicted_s / np.median(self.measured_s, axis=0) - 1

    @property
    def repeatability(self) -> float:
        totals_s = self.measured_s.sum(1)
        return abs(float(np.median(totals_s[::2]) / np.median(totals_s[1::2])) - 1)

    @property
    def limit(self) -> float:
        return max(WORST_LIMIT, 2 * self.repeatability)


def chain(graph: ModelGraph, cut: Cut, codec_name: str, frames: list[Tensor]) -> Callable[[], list[float]]:
    """A call that takes one frame from head to tail, and returns the seconds of the four parts."""
    head = segment(graph, graph.cuts[0], cut)
    tail = segment(graph, cut, graph.cuts[-1])
    rows = [head(frame)[0].numpy() for frame in frames]
    codec = make_codec(codec_name, Calibration(cut.tensors, (np.concatenate(rows),)))
    x = frames[0]

    def run() -> list[float]:
        stamps = [time.perf_counter()]
        row = (head(x)[0].numpy()[0],)
        stamps.append(time.perf_counter())
        data = codec.encode(row).data
        stamps.append(time.perf_counter())
        (decoded,) = codec.decode(data)
        stamps.append(time.perf_counter())
        tail(torch.from_numpy(decoded)[None])
        stamps.append(time.perf_counter())
        return np.diff(stamps).tolist()

    return run


def measure(name: str, rounds: int) -> tuple[ModelGraph, Profile, dict[tuple[int, str], FloatArray]]:
    """The profile of layers and codecs, and the times of every cut with every codec, from the same rounds."""
    torch.manual_seed(0)
    frames = [torch.randn(1, 3, 224, 224) for _ in range(2)]
    graph = trace(REFERENCE[name](), frames[0])
    sizes = profiling.codec_sizes(graph)
    cuts = [cut for cut in graph.cuts[1:-1] if cut.single]
    assert not {cut.bytes for cut in cuts} & set(sizes)
    with torch.inference_mode():
        chains: dict[tuple[object, ...], Callable[[], Any]] = {
            ("chain", cut.index, codec): chain(graph, cut, codec, frames) for cut in cuts for codec in CODECS
        }
        layers = profiling.layer_measurements(graph, (frames[0],))
        others = profiling.spread(layers, profiling.codec_measurements(CODECS, sizes))
        taken = profiling.in_rounds(profiling.spread(others, chains), rounds)
    profile = Profile(
        machine=profiling.machine_name(),
        network=name,
        input_shape=input_shape(graph),
        fingerprint=fingerprint(graph),
        engine="eager",
        threads=torch.get_num_threads(),
        call_s=float(np.median(taken["call",])),
        layers=profiling.layer_times(graph, profiling.all_passes(taken)),
        codecs=profiling.codec_times(CODECS, sizes, taken),
    )
    return graph, profile, {(key[1], key[2]): values for key, values in taken.items() if key[0] == "chain"}


def predict(graph: ModelGraph, profile: Profile, cut: Cut, codec: str) -> FloatArray:
    """Seconds of head, encoding, decoding and tail, from the profile alone, by the way that a design takes."""
    assert not profile.cuts
    device, work, last = Device("here", profile=profile), NetworkWork(graph), len(graph.cuts) - 1
    costs = [
        network_cost(device, work.between(0, cut.index), _not_asked),
        codec_cost(device, codec, "encode", cut.bytes, _not_asked),
        codec_cost(device, codec, "decode", cut.bytes, _not_asked),
        network_cost(device, work.between(cut.index, last), _not_asked),
    ]
    return np.array([cost.seconds for cost in costs])


def _not_asked() -> NoReturn:
    raise AssertionError("a prediction measures nothing")


def table(name: str, cases: list[Case]) -> Iterable[str]:
    yield f"### {name}\n"
    yield "| cut | codec | measured | predicted | error | repeatability | head | encode | decode | tail |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for case in cases:
        parts = " | ".join(f"{100 * error:+.1f} %" for error in case.part_errors)
        yield (
            f"| {case.cut.index} {case.cut.name} | {case.codec} | {1e3 * case.total_s:.2f} ms "
            f"| {1e3 * case.predicted_s.sum():.2f} ms | {100 * case.error:+.1f} % | {100 * case.repeatability:.1f} % "
            f"| {parts} |"
        )
    yield ""


def summary(name: str, cases: list[Case]) -> tuple[str, bool]:
    errors = np.abs([case.error for case in cases])
    parts = np.median(np.abs([case.part_errors for case in cases]), axis=0)
    holds = float(np.median(errors)) <= MEDIAN_LIMIT and all(abs(case.error) <= case.limit for case in cases)
    columns = [
        *(name, str(len({case.cut.index for case in cases})), f"{1e3 * cases[0].total_s:.0f} ms"),
        *(f"{100 * np.median(errors):.1f} %", f"{100 * errors.max():.1f} %"),
        f"{100 * max(case.repeatability for case in cases):.1f} %",
        *(f"{100 * part:.1f} %" for part in parts),
        "holds" if holds else "MISSED",
    ]
    return f"| {' | '.join(columns)} |", holds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1, help="that PyTorch uses")
    parser.add_argument("--quick", action="store_true", help="few rounds: does it run?")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file, too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows, tables, verdicts = [], [], []
    for name in options.networks:
        graph, profile, taken = measure(name, 3 if options.quick else options.rounds)
        cases = [
            Case(graph.cuts[cut], codec, predict(graph, profile, graph.cuts[cut], codec), measured_s)
            for (cut, codec), measured_s in taken.items()
        ]
        row, holds = summary(name, cases)
        rows.append(row)
        verdicts.append(holds)
        tables += table(name, cases)
        print("\n".join(table(name, cases)), flush=True)
    parts = " | ".join(f"{part}, median" for part in PARTS)
    lines = [
        f"{profile.machine}, {profile.threads} threads, PyTorch {torch.__version__}\n",
        f"| network | cuts | a frame | median error | worst error | worst repeatability | {parts} | limits |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *rows,
    ]
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join([*lines, "", *tables]) + "\n")
    raise SystemExit(0 if all(verdicts) else 1)


if __name__ == "__main__":
    main()
