"""Does one paced profile of the layers tell what heads and tails take in the field, median and 95th percentile?

    python benchmarks/paced_times.py [--networks resnet20 mobilenet_v2] [--fps 10] [--rounds 60] [--cuts 4]
        [--threads 1] [--quick] [--markdown FILE]

Frames come at a rate, with idle time between them, as a camera's do. In turn a frame is: a pass over all layers, which
alone is the profile (with the network's last layers by themselves, which tell what waking costs); the head of each of
some cuts as a program of its own; the tail of each. So all see the same state of the machine. From the passes follows
what each head and tail takes, by the way that a design takes; then it is compared with what it took. Beside it stands
what passes back to back say, which is what a loop that runs hot measures.

No limit is checked: on a shared machine the 95th percentile belongs to whoever else is running. How far the medians and
95th percentiles over odd and even rounds lie apart says how much of an error is that.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from splitimpera.core.array_types import FloatArray
from splitimpera.cost.devices import network_cost
from splitimpera.cost.measuring import LayerTimer, layer_times, machine_name
from splitimpera.cost.pacing import in_frames
from splitimpera.cost.profiles import fingerprint, input_shape
from splitimpera.cost.timing import timed
from splitimpera.cost.waking import wake_s, waking_timers
from splitimpera.cost.work import NetworkWork
from splitimpera.graph.tracing import ModelGraph, trace
from splitimpera.models.reference import REFERENCE
from splitimpera.partition.cutter import segment
from splitimpera.records.device import Device, PacedTimes, Profile

SHAPES = {"resnet20": (3, 32, 32), "mobilenet_v2": (3, 224, 224)}
SHARES = (50, 95)


@dataclass(frozen=True)
class Case:
    """A head or tail: its percentiles as hot passes and paced ones predict them, and its measured seconds."""

    network: str
    cut: str
    part: str
    hot_s: FloatArray
    predicted_s: FloatArray
    measured_s: FloatArray

    @property
    def percentiles_s(self) -> FloatArray:
        found: FloatArray = np.percentile(self.measured_s, SHARES)
        return found

    @property
    def errors(self) -> FloatArray:
        return self.predicted_s / self.percentiles_s - 1

    @property
    def hot_errors(self) -> FloatArray:
        return self.hot_s / self.percentiles_s - 1

    @property
    def repeatability(self) -> FloatArray:
        odd, even = (np.percentile(self.measured_s[start::2], SHARES) for start in (0, 1))
        found: FloatArray = np.abs(odd / even - 1)
        return found


def cases(name: str, fps: float, rounds: int, count: int) -> list[Case]:
    """Heads and tails of some cuts of a network, evenly spread over it, timed in paced frames."""
    torch.manual_seed(0)
    x = torch.randn(1, *SHAPES[name])
    graph = trace(REFERENCE[name](), x)
    inner = [cut.index for cut in graph.cuts[1:-1] if cut.single]
    cuts = [inner[round(place)] for place in np.linspace(0, len(inner) - 1, count + 2)[1:-1]]
    last, timer = len(graph.cuts) - 1, LayerTimer(graph, (x,))
    nothing = segment(graph, graph.cuts[0], graph.cuts[0])
    frames: dict[tuple[object, ...], Callable[[], Any]] = {("layers",): timer, ("call",): timed(lambda: nothing(x))}
    with torch.inference_mode():
        frames |= waking_timers(graph, (x,), np.median([timer() for _ in range(5)], axis=0))
        for cut in cuts:
            head, tail = (segment(graph, graph.cuts[a], graph.cuts[b]) for a, b in ((0, cut), (cut, last)))
            crossing = head(x)
            frames["head", cut] = timed(lambda head=head: head(x))
            frames["tail", cut] = timed(lambda tail=tail, crossing=crossing: tail(*crossing))
        in_frames(frames, 0.0, 5)
        hot = in_frames({key: frames[key] for key in (("layers",), ("call",))}, 0.0, rounds)
        lists: dict[tuple[object, ...], list[Any]] = {key: [] for key in frames}
        for _ in range(rounds):
            busy_s = 0.0
            for key, run in frames.items():
                if key != ("call",):  # which is part of the pass's frame
                    time.sleep(max(0.0, 1 / fps - busy_s))
                value = run()
                busy_s = float(np.sum(value))
                lists[key].append(value)
    taken = {key: np.array(values) for key, values in lists.items()}
    profiles = [profile_of(name, graph, fps, of) for of in (hot, taken)]
    return [
        Case(
            name,
            f"{cut} {graph.cuts[cut].name}",
            part,
            *(predicted_s(graph, profile, *ends) for profile in profiles),
            taken[part, cut],
        )
        for cut in cuts
        for part, ends in (("head", (0, cut)), ("tail", (cut, last)))
    ]


def profile_of(name: str, graph: ModelGraph, fps: float, taken: Mapping[tuple[object, ...], FloatArray]) -> Profile:
    """A profile that knows layers, and what waking costs if that was timed."""
    layers_s, call_s = taken["layers",], taken["call",]
    median_s, layers = float(np.median(call_s)), layer_times(graph, layers_s)
    about = machine_name(), name, input_shape(graph), fingerprint(graph), "eager", torch.get_num_threads()
    paced = PacedTimes(fps, median_s, layers, wake_s=wake_s(taken, layers_s, call_s))
    return Profile(*about, median_s, layers, paced=paced)


def predicted_s(graph: ModelGraph, profile: Profile, start: int, end: int) -> FloatArray:
    """Median and 95th percentile of a segment, by the way that a design takes."""
    cost = network_cost(Device("here", profile=profile), NetworkWork(graph).between(start, end), _not_asked)
    return np.array([cost.seconds, cost.seconds * np.percentile(cost.spread, 95)])


def _not_asked() -> NoReturn:
    raise AssertionError("a prediction measures nothing")


def table(found: list[Case]) -> list[str]:
    lines = [
        "| network | cut | part | measured p50 | predicted | hot says | measured p95 | predicted | hot says "
        "| repeatability p50, p95 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in found:
        columns = [case.network, case.cut, case.part]
        for place in range(2):
            columns.append(f"{1e3 * case.percentiles_s[place]:.2f} ms")
            for predicted, error in ((case.predicted_s, case.errors), (case.hot_s, case.hot_errors)):
                columns.append(f"{1e3 * predicted[place]:.2f} ms ({100 * error[place]:+.0f} %)")
        columns.append(", ".join(f"{100 * share:.0f} %" for share in case.repeatability))
        lines.append(f"| {' | '.join(columns)} |")
    return lines


def summary(found: list[Case]) -> str:
    words = []
    for place, share in enumerate(SHARES):
        paced, hot, repeated = (
            100 * np.median([np.abs(getattr(case, name)[place]) for case in found])
            for name in ("errors", "hot_errors", "repeatability")
        )
        words.append(
            f"p{share}: median error {paced:.0f} % from paced passes, {hot:.0f} % from hot ones; "
            f"odd and even rounds differ by {repeated:.0f} %"
        )
    return ". ".join(words) + "."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--cuts", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1, help="that PyTorch uses")
    parser.add_argument("--quick", action="store_true", help="few rounds: does it run?")
    parser.add_argument("--markdown", type=Path, help="write the table to this file, too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rounds = 4 if options.quick else options.rounds
    found = [case for name in options.networks for case in cases(name, options.fps, rounds, options.cuts)]
    lines = [
        f"{machine_name()}, {options.threads} threads, PyTorch {torch.__version__}, {options.fps:g} frames/s, "
        f"{rounds} rounds\n",
        *table(found),
        "",
        summary(found),
    ]
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
