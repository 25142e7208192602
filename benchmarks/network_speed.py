"""How fast links are simulated: packets a second, time until the first result, and a grid of link settings.

Packets are data packets, retransmissions included. What is compared is timed in turn within one run, so that the ratio
holds on a noisy machine; each figure is a median. A simulation is timed from the workload to the deliveries, compiled
before. The heap loop is the least that a simulator in plain Python does: for each packet it takes one event out of a
heap of 64 and puts one in. ns-3 is left out where it is not installed.

    .venv/bin/python benchmarks/network_speed.py             # some 90 seconds on two cores, 140 with ns-3
    .venv/bin/python benchmarks/network_speed.py --quick     # some 25 seconds, 40 with ns-3; less sure
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from itertools import product
from tempfile import TemporaryDirectory

import numpy as np

from splitimpera.cost.timing import measure_together_s
from splitimpera.net.ns3 import Ns3Link, available
from splitimpera.net.replication import grid
from splitimpera.net.transports import simulate
from splitimpera.records.link import Link
from splitimpera.records.traffic import Deliveries, Workload

TCP_LIMIT = 2e6
UDP_LIMIT = 30e6
NS3_LIMIT = 40.0
FIRST_LIMIT_S = 15.0
COMMAND_LIMIT_S = 2.0
GRID_LIMIT_S = 15.0
HEAP_EVENTS = 64
WORKERS = 2

FIRST = """
import time
import numpy as np
from splitimpera.net.transports import simulate
from splitimpera.records.link import Link
from splitimpera.records.traffic import Workload
start = time.perf_counter()
for transport in ("tcp", "udp"):
    simulate(Link(loss=0.01), Workload(10, 100, frame_bytes=100_000), transport, np.random.default_rng(1))
print(time.perf_counter() - start)
"""
COMMAND = [
    *("-m", "splitimpera", "simulate", "--rate", "100 Mbit/s", "--delay", "5 ms", "--loss", "1 %"),
    *("--bytes", "100352", "--fps", "5", "--frames", "100"),
]


@dataclass(frozen=True)
class Case:
    name: str
    link: Link
    workload: Workload


CASES = (
    Case("100 Mbit/s, 5 ms, 1 %", Link(rate_bps=1e8, delay_s=5e-3, loss=0.01), Workload(5, frame_bytes=100352)),
    Case("1 Gbit/s, 0.1 ms, 2 %", Link(rate_bps=1e9, delay_s=1e-4, loss=0.02), Workload(20, frame_bytes=150528)),
)


@dataclass(frozen=True)
class Size:
    """How much is simulated, and how often, and how long the timing of one case goes on at least."""

    tcp_frames: int
    udp_frames: int
    steps: int
    uncached: int
    commands: int
    budget_s: float


FULL = Size(tcp_frames=2000, udp_frames=20_000, steps=10, uncached=3, commands=7, budget_s=2.0)
QUICK = Size(tcp_frames=500, udp_frames=5000, steps=4, uncached=1, commands=3, budget_s=0.5)


def print_row(what: str, measured: str, limit: str = "", holds: bool | None = None) -> None:
    verdict = "" if holds is None else "holds" if holds else "missed"
    print(f"| {what:45} | {measured:>38} | {limit:>13} | {verdict:6} |", flush=True)


def print_least(what: str, value: float, limit: float, more: str = "") -> None:
    print_row(what, f"{value / 1e6:.2f} million/s{more}", f">= {limit / 1e6:g} million", value >= limit)


def print_most_s(what: str, value: float, limit: float, more: str = "") -> None:
    print_row(what, f"{value:.2f} s{more}", f"<= {limit:g} s", value <= limit)


def simulation(link: Link, workload: Workload, transport: str) -> Callable[[], Deliveries]:
    return lambda: simulate(link, workload, transport, np.random.default_rng(1))


def heap_loop(packets: int) -> None:
    heap = [(float(event), event) for event in range(HEAP_EVENTS)]
    heapify(heap)
    for _ in range(packets):
        at, event = heappop(heap)
        heappush(heap, (at + HEAP_EVENTS + 0.5, event))


def per_second(runs: list[Callable[[], Deliveries]], packets: int, budget_s: float) -> tuple[list[float], float]:
    """Packets a second of each run, and of the heap loop beside them."""
    done = [int(run().packets.sum()) for run in runs]
    *taken, heap_s = measure_together_s([*runs, lambda: heap_loop(packets)], budget_s=budget_s)
    return [count / seconds for count, seconds in zip(done, taken, strict=True)], packets / heap_s


def tcp(case: Case, size: Size) -> None:
    workload = replace(case.workload, frames=size.tcp_frames)
    lossless = replace(case.link, loss=0.0)
    settings = [("Reno", "tcp-reno"), ("CUBIC", "tcp-cubic")]
    runs = [simulation(link, workload, key) for link, (_, key) in product((case.link, lossless), settings)]
    rates, heap = per_second(runs, 100_000, size.budget_s)
    for (name, _), lossy, free in zip(settings, rates[:2], rates[2:], strict=True):
        print_least(f"TCP {name}, {case.name}", lossy, TCP_LIMIT, f", {lossy / heap:.1f} x heap")
        print_row(f"TCP {name}, the same without loss", f"{free / 1e6:.2f} million/s, {free / heap:.1f} x heap")
    print_row("heap loop in Python beside them", f"{heap / 1e6:.2f} million/s")


def ns3(case: Case, size: Size) -> None:
    workload = replace(case.workload, frames=size.tcp_frames)
    for name, key in (("Reno", "tcp-reno"), ("CUBIC", "tcp-cubic")):

        def theirs(key: str = key) -> Deliveries:
            return Ns3Link(case.link, np.random.default_rng(1), key).transfer(workload.all_frames())

        (ours, other), _ = per_second([simulation(case.link, workload, key), theirs], 1, size.budget_s)
        what = f"ns-3 TCP {name}, {case.name}"
        times = ours / other
        measured = f"{other / 1e6:.4f} million/s, ours {times:.0f} x"
        print_row(what, measured, f">= {NS3_LIMIT:g} x", times >= NS3_LIMIT)


def udp(case: Case, size: Size) -> None:
    workload = replace(case.workload, frames=size.udp_frames)
    links = {
        case.name: case.link,
        "the same without loss": replace(case.link, loss=0.0),
        "the same with loss and 1 ms jitter": replace(case.link, jitter_s=1e-3),
    }
    runs = [simulation(link, workload, "udp") for link in links.values()]
    rates, heap = per_second(runs, 100_000, size.budget_s)
    for (what, link), rate in zip(links.items(), rates, strict=True):
        more = f", {rate / heap:.0f} x heap"
        if link.jitter_s:
            print_row(f"UDP {what}", f"{rate / 1e6:.1f} million/s{more}")
        else:
            print_least(f"UDP {what}", rate, UDP_LIMIT, more)


def process(arguments: list[str], **environment: str) -> tuple[float, str]:
    """How long a fresh interpreter takes, its imports included, and what it prints."""
    start = time.perf_counter()
    command = [sys.executable, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | environment)
    return time.perf_counter() - start, done.stdout


def uncached() -> tuple[float, float]:
    """How long the first simulations take, and the whole process, where nothing was compiled before."""
    with TemporaryDirectory() as empty:
        whole_s, printed = process(["-c", FIRST], NUMBA_CACHE_DIR=empty)
    return float(printed), whole_s


def processes(size: Size) -> None:
    first_s, whole_s = np.median([uncached() for _ in range(size.uncached)], axis=0).tolist()
    print_most_s("first TCP and UDP simulation, not compiled", first_s, FIRST_LIMIT_S, f", process {whole_s:.2f} s")
    process(COMMAND)
    command_s = float(np.median([process(COMMAND)[0] for _ in range(size.commands)]))
    print_most_s("splitimpera simulate, 100 frames, process", command_s, COMMAND_LIMIT_S)


def link_grid(size: Size) -> None:
    rates = np.geomspace(20e6, 1e9, size.steps)
    delays = np.geomspace(1e-4, 30e-3, size.steps)
    losses = np.linspace(0.0, 0.03, size.steps)
    links = [Link(rate_bps=r, delay_s=d, loss=p) for r, d, p in product(rates, delays, losses)]
    start = time.perf_counter()
    results = grid(links, [Workload(1, 200, frame_bytes=100_000)], ["tcp"], replications=1, workers=WORKERS)
    taken = time.perf_counter() - start
    packets = sum(int(run.packets.sum()) for result in results for run in result.deliveries)
    stable = sum(result.sustained for result in results)
    what = f"grid of {len(links)} links x 200 frames, {WORKERS} threads"
    if size is FULL:
        print_most_s(what, taken, GRID_LIMIT_S, f" for {packets / 1e6:.1f} million packets")
    else:
        print_row(what, f"{taken:.2f} s for {packets / 1e6:.2f} million packets")
    print_row("", f"{packets / taken / 1e6:.2f} million/s, {stable} links keep up")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer frames, links and repetitions")
    size = QUICK if parser.parse_args().quick else FULL
    print_row("", "measured", "limit")
    print(f"|{'-' * 47}|{'-' * 39}:|{'-' * 14}:|{'-' * 8}|")
    for case in CASES:
        tcp(case, size)
    if not available():
        print_row("ns-3", "not installed")
    else:
        for case in CASES:
            ns3(case, size)
    for case in CASES:
        udp(case, size)
    processes(size)
    link_grid(size)


if __name__ == "__main__":
    main()
