"""Where a third tier pays, and by how much: the best of all plans against the best of two machines.

    python benchmarks/tiers.py                           # 9 rates of the radio times 9 of the uplink, 3 minutes
    python benchmarks/tiers.py --rates 64 1024           # does it work? kbit/s

Machines and frames are those of examples/tiers, with TCP over both links: eight sensors 220 times as slow as a
Raspberry Pi 4, two gateways 36 times as slow, and a T4. The digits' network is cut at four places, with two codecs; a
plan counts if it is right on 95 % of the validation samples. Nothing is lost, so accuracies are those of any rate.

Two machines: the sensor alone, the sensor with the gateway, or the sensor with the cloud while the gateway hands
payloads on as they came. Three: all other plans; the gateway computes layers or codes anew, and the cloud goes on. The
score is the latency's p95. Printed are three tables, with a row for each rate of the radio and a column for each of the
uplink, and a line of JSON: "-" is where frames come faster than any plan bears them, "only" where three machines alone
keep up. What real programs make of such plans: deployed_tiers.py.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import splitimpera as sei
from splitimpera.evaluation.codings import forwards
from splitimpera.evaluation.plan_space import space_of
from splitimpera.evaluation.replay import timeline_alone
from splitimpera.evaluation.testbed import Testbed, coding_of
from splitimpera.records.measurements import Measurements
from splitimpera.records.plan import Plan
from splitimpera.setting import resolve
from splitimpera.studies.bench import judging, read_testbed
from splitimpera.studies.trial import Trials

RATES_KBPS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
FPS, ACCURACY = 8.0, 0.95
SCENARIO = f"""\
name: tiers_map
network: {{model: digits-vgg16}}
data: {{source: digits}}
devices:
  - {{name: sensor, preset: raspberry-pi-4, slowdown: 220, count: 8}}
  - {{name: gateway, preset: raspberry-pi-4, slowdown: 36, count: 2}}
  - {{name: cloud, preset: t4}}
links:
  - {{name: radio, rate: 1 Mbit/s, delay: 5 ms, framing: sei, security: tls, transports: [tcp]}}
  - {{name: uplink, rate: 1 Mbit/s, delay: 10 ms, framing: sei, security: tls, transports: [tcp]}}
workload: {{fps: {FPS}, response: runtime}}
plans: {{cuts: [features.13, features.23, features.33, features.43], codecs: [uint8, uint4]}}
requirements: [accuracy >= {ACCURACY}]
"""


@dataclass(frozen=True)
class Cell:
    """The best plan of each kind at two rates."""

    radio_bps: float
    uplink_bps: float
    two: str
    two_s: float
    three: str
    three_s: float

    @property
    def gain(self) -> float:
        """By what share of its p95 a third machine shortens it; 0 where it does not, 1 where two cannot keep up."""
        return max(0.0, 1 - self.three_s / self.two_s) if self.three_s < inf else 0.0

    @property
    def words(self) -> str:
        """The gain in a table."""
        if self.two_s < inf:
            return f"{100 * self.gain:.1f}"
        return "-" if self.three_s == inf else "only"


def of_two(plan: Plan) -> bool:
    """Whether no machine but the sensor and one other does anything to a frame."""
    return len(plan.hops) < 2 or forwards(*plan.hops)


def plans_of(folder: Path) -> tuple[Testbed, list[Plan]]:
    """All plans that are accurate enough, and the network with its data."""
    path = folder / "scenario.yaml"
    path.write_text(SCENARIO)
    setting = resolve(sei.load_scenario(path))
    bed = judging(setting, read_testbed(setting))
    plans = list(space_of(setting, bed.graph, [], str).plans())
    bed.prepare(coding_of(hop) for plan in plans for hop in plan.hops)
    found = Trials(bed, Measurements(), 0, 1).evaluated(plans)
    return bed, [one.plan for one in found if one.quality >= ACCURACY]


def p95_s(plan: Plan, bed: Testbed, rates_bps: Sequence[float]) -> float:
    """Infinite where frames come faster than they are through."""
    pairs = zip(plan.hops, rates_bps, strict=False)
    hops = [replace(hop, link=replace(hop.link, rate_bps=rate)) for hop, rate in pairs]
    found = timeline_alone(replace(plan, hops=tuple(hops)), bed, Measurements(), np.random.default_rng(0))
    return found.metrics()["latency_p95"] if found.stable else inf


def cells_of(bed: Testbed, plans: Sequence[Plan], rates_bps: Sequence[float]) -> list[Cell]:
    """Both bests at all pairs of rates."""
    known: dict[tuple[str, ...], float] = {}

    def best(some: Sequence[Plan], rates: tuple[float, float]) -> tuple[float, str]:
        timed = []
        for plan in some:
            key = (plan.id, *map(str, rates[: len(plan.hops)]))
            if key not in known:
                known[key] = p95_s(plan, bed, rates)
            timed.append((known[key], plan.id))
        return min(timed)

    two, three = ([plan for plan in plans if of_two(plan) == wanted] for wanted in (True, False))
    cells = []
    for radio_bps in rates_bps:
        for uplink_bps in rates_bps:
            two_s, named = best(two, (radio_bps, uplink_bps))
            three_s, other = best(three, (radio_bps, uplink_bps))
            cells.append(Cell(radio_bps, uplink_bps, named, two_s, other, three_s))
    return cells


def printed(cells: Sequence[Cell], rates_bps: Sequence[float]) -> None:
    """The p95 of two machines, and what a third one takes off."""
    of = {(cell.radio_bps, cell.uplink_bps): cell for cell in cells}
    head = " ".join(f"{rate / 1e3:>7.0f}" for rate in rates_bps)
    for title, shown in (
        ("p95 of two machines, ms", lambda cell: f"{1e3 * cell.two_s:.1f}" if cell.two_s < inf else "-"),
        ("p95 of three machines, ms", lambda cell: f"{1e3 * cell.three_s:.1f}" if cell.three_s < inf else "-"),
        ("less with three, %", lambda cell: cell.words),
    ):
        print(f"{title}\nradio, kbit/s | uplink {head}")
        for radio in rates_bps:
            print(f"{radio / 1e3:>20.0f} {' '.join(f'{shown(of[radio, uplink]):>7}' for uplink in rates_bps)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES_KBPS, metavar="KBPS")
    rates_bps = [1e3 * rate for rate in parser.parse_args().rates]
    torch.set_num_threads(1)
    begun_s = time.perf_counter()
    with TemporaryDirectory() as folder:
        bed, plans = plans_of(Path(folder))
    cells = cells_of(bed, plans, rates_bps)
    printed(cells, rates_bps)
    pays = [cell for cell in cells if cell.gain > 0]
    both = [cell for cell in pays if cell.two_s < inf]
    most = max(both or cells, key=lambda cell: cell.gain)
    print(
        json.dumps(
            {
                "plans": len(plans),
                "of_two": sum(map(of_two, plans)),
                "cells": len(cells),
                "pays": len(pays),
                "only_three": len(pays) - len(both),
                "median_gain": float(np.median([cell.gain for cell in both])) if both else 0.0,
                "most": {
                    "gain": most.gain,
                    "radio_bps": most.radio_bps,
                    "uplink_bps": most.uplink_bps,
                    "two": [most.two, most.two_s],
                    "three": [most.three, most.three_s],
                },
                "choices_of_two": sorted({cell.two for cell in cells if cell.two_s < inf}),
                "choices_of_three": sorted({cell.three for cell in pays}),
                "seconds": time.perf_counter() - begun_s,
            }
        )
    )


if __name__ == "__main__":
    main()
