"""How near the simulated TCP is to the Linux kernel's, by the recordings in ../shared/reference/network.

    python benchmarks/network_truth.py [recordings.json] [--ns3 runs/ns3_reference.json] [--worst 5] [--markdown FILE]

F and G being the distributions of recorded and simulated latency, their distance is the largest of F(x) - G(x + e) and
G(x) - F(x + e), with a tolerance of e(x) = 0.2 ms or 5 % of x, whichever is more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from splitimpera.net.tcp import LINUX_CUBIC, LINUX_RENO, TcpLink
from splitimpera.records import Deliveries, FloatArray, Link, Workload

RECORDINGS = Path(__file__).parent.parent.parent / "shared" / "reference" / "network" / "linux_tcp.json"
SEEDS = 20
KEYS = ("rate", "delay", "N", "fps", "loss", "cc", "F")

Run = dict[str, Any]


def tolerance_ms(x: FloatArray) -> FloatArray:
    return np.maximum(0.2, 0.05 * x)


def distance(recorded: FloatArray, simulated: FloatArray) -> float:
    """The Kolmogorov-Smirnov distance with tolerance, of latencies in ms."""
    f, g = np.sort(recorded), np.sort(simulated)

    def share(values: FloatArray, limit: FloatArray) -> FloatArray:
        return np.searchsorted(values, limit, side="right") / len(values)

    def beyond(a: FloatArray, b: FloatArray) -> float:
        # a step function minus another shifted one is largest at a step of the first
        return float((share(a, a) - share(b, a + tolerance_ms(a))).max())

    return max(beyond(f, g), beyond(g, f), 0.0)


def trusted(runs: Sequence[Run]) -> list[Run]:
    return [
        run
        for run in runs
        if run["relay_late_max_us"] < 1500 and run["send_late_max_us"] < 500 and run["done"] == run["F"]
    ]


def case_of(run: Run) -> tuple[Any, ...]:
    return tuple(run[key] for key in KEYS)


def simulate(case: tuple[Any, ...], seed: int, drops: Sequence[int] | None = None) -> Deliveries:
    of = dict(zip(KEYS, case, strict=True))
    link = Link(rate_bps=of["rate"], delay_s=of["delay"], loss=of["loss"])
    if drops is not None:
        link = replace(link, loss=0.0, drops=tuple(drops))
    workload = Workload(of["fps"], of["F"], frame_bytes=of["N"])
    parameters = LINUX_RENO if of["cc"] == "reno" else LINUX_CUBIC
    return TcpLink(link, np.random.default_rng([seed, 11]), parameters).transfer(workload.all_frames())


def latency_ms(case: tuple[Any, ...], deliveries: Deliveries) -> FloatArray:
    fps = case[KEYS.index("fps")]
    return (deliveries.complete_s - np.arange(len(deliveries.complete_s)) / fps) * 1e3


def name_of(case: tuple[Any, ...]) -> str:
    rate, delay, size, fps, loss, cc, _ = case
    return f"{cc:5} {rate / 1e6:g} Mbit/s {delay * 1e3:g} ms {loss:.0%} {size} B {fps}/s"


@dataclass
class Replay:
    """One recorded run against the simulation with the same drops."""

    run: Run
    distance: float
    same: float
    retransmissions: int
    drops: int
    first_departure: int | None


def replay(run: Run) -> Replay:
    """The frames after the first; with the timers' phase that fits best, which the recording does not tell."""
    case = case_of(run)
    recorded = np.array(run["lat"])[1:]
    deliveries = simulate(case, run["seed"], run["dropped"])
    simulated = latency_ms(case, deliveries)[1:]
    near = np.abs(simulated - recorded) <= tolerance_ms(recorded)
    return Replay(
        run,
        distance(recorded, simulated),
        float(near.mean()),
        int(deliveries.retransmissions.sum()),
        int(deliveries.lost_packets.sum()),
        None if near.all() else int(np.argmin(near)) + 1,
    )


def quantile_line(name: str, values: Sequence[float]) -> str:
    return f"{name}: median {np.median(values):.3f}, 90 % {np.quantile(values, 0.9):.3f}, largest {max(values):.3f}"


if __name__ == "__main__":
    runs = trusted(json.loads(RECORDINGS.read_text()))
    lossy = [run for run in runs if run["loss"] > 0]
    over = {}
    for case in {case_of(run) for run in runs}:
        pooled = np.concatenate([run["lat"][1:] for run in runs if case_of(run) == case])
        over[case] = (pooled > 1e3 / case[KEYS.index("fps")]).mean()
    stable = [run for run in lossy if over[case_of(run)] <= 0.1]
    with ThreadPoolExecutor(2) as pool:
        replays = list(pool.map(replay, stable))
    print(len(stable), "runs")
    print(quantile_line("replay distance", [r.distance for r in replays]))
    print("same", np.median([r.same for r in replays]))
    print("retrans==drops", np.mean([r.retransmissions == r.drops for r in replays]))
    for r in sorted(replays, key=lambda r: -r.distance)[:40]:
        print(
            f"{r.distance:.3f} {r.same:.2f} {r.first_departure} {r.retransmissions} {r.drops} {r.run['rx_drops']} {r.run['retrans']}",
            name_of(case_of(r.run)),
            r.run["seed"],
        )
