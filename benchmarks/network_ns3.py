"""ns-3 on the links on which the Linux kernel's TCP was recorded: the latencies that `network_truth.py` compares.

Needs `pip install 'split-et-impera[ns3]'` and the recordings. Every case that has a recording to trust is simulated
with some seeds; a run is written as milliseconds from each frame's due time to its last byte, one case an entry.

    .venv/bin/python benchmarks/network_ns3.py                  # under a minute
    .venv/bin/python benchmarks/network_ns3.py --seeds 20 --out runs/more.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from splitimpera.net.ns3 import INSTALL, Ns3Link, available
from splitimpera.records.link import Link
from splitimpera.records.traffic import Workload

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / ".." / "shared" / "reference" / "network" / "linux_tcp.json"
CASE = ("rate", "delay", "loss", "N", "fps", "F", "cc")


def trusted(run: dict[str, Any]) -> bool:
    """Whether the recording's own machinery was on time, and every frame came."""
    return bool(run["relay_late_max_us"] < 1500 and run["send_late_max_us"] < 500 and run["done"] == run["F"])


def simulate(case: dict[str, Any], seed: int) -> dict[str, Any]:
    link = Link(rate_bps=case["rate"], delay_s=case["delay"], loss=case["loss"])
    workload = Workload(case["fps"], case["F"], frame_bytes=case["N"])
    start = time.perf_counter()
    done = Ns3Link(link, np.random.default_rng(seed), f"tcp-{case['cc']}").transfer(workload.all_frames())
    wall = time.perf_counter() - start
    return {
        "lat": ((done.complete_s - workload.due_s()) * 1e3).round(4).tolist(),
        "packets": int(done.packets.sum()),
        "lost": int(done.lost_packets.sum()),
        "retransmissions": int(done.retransmissions.sum()),
        "stable": done.stable,
        "wall_s": round(wall, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", nargs="?", type=Path, default=REFERENCE, help="the recordings, linux_tcp.json")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "ns3_reference.json")
    parser.add_argument("--seeds", type=int, default=5, help="how many a case, from 1 on")
    options = parser.parse_args()
    if not options.reference.is_file():
        sys.exit(f"{options.reference}: there are no recordings; name the file linux_tcp.json")
    if not available():
        sys.exit(f"ns-3 is not installed; {INSTALL}")
    recorded = [run for run in json.loads(options.reference.read_text()) if trusted(run)]
    cases = list({tuple(run[key] for key in CASE): {key: run[key] for key in CASE} for run in recorded}.values())
    seeds = list(range(1, options.seeds + 1))
    simulate(cases[0], 1)  # starts ns-3, which is no part of any case

    entries = []
    for number, case in enumerate(cases, 1):
        runs = [simulate(case, seed) for seed in seeds]
        entries.append({**case, "seeds": seeds, **{key: [run[key] for run in runs] for key in runs[0]}})
        later = np.concatenate([run["lat"][1:] for run in runs])
        name = "{rate:g} bit/s {delay:g} s {loss:g} {N} B {fps}/s {cc}".format(**case)
        print(f"{number:3}/{len(cases)} {name}: p50 {np.median(later):.2f} ms, p99 {np.percentile(later, 99):.2f} ms")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(entries))

    packets, wall = (sum(sum(entry[key]) for entry in entries) for key in ("packets", "wall_s"))
    print(f"ns-3 {version('ns3')}: {packets} packets in {wall:.1f} s, {packets / wall:.0f} a second; {options.out}")


if __name__ == "__main__":
    main()
