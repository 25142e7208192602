"""How long it takes to find the plans worth evaluating among all of four tiers, and how many these are.

    python benchmarks/tier_plans.py                 # MobileNetV2 at 32 x 32, 20 cuts, 6 codecs: over 300 000 plans
    python benchmarks/tier_plans.py --cuts 3        # does it work?

Four devices by their presets, TCP between them, latency and frames a second required. Timed are the bounds of all
plans with the choice among them, and the timelines of those that are left, without the accuracy of any. Printed is what
a user is told, and a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from splitimpera.cost.device_presets import DEVICES
from splitimpera.evaluation.plan_space import Over, space_between
from splitimpera.evaluation.testbed import Testbed, coding_of
from splitimpera.graph.tracing import trace
from splitimpera.models.datasets import Dataset, Pixels, Samples
from splitimpera.models.reference import REFERENCE
from splitimpera.net.link_presets import link_preset
from splitimpera.records.device import Device
from splitimpera.records.measurements import Measurements
from splitimpera.records.requirement import parse_requirement
from splitimpera.records.traffic import Workload
from splitimpera.studies.pruning import count_of, covering, worth_evaluating
from splitimpera.studies.trial import Trials

TIERS = {"sensor": "cortex-m7", "gateway": "raspberry-pi-4", "edge": "jetson-nano", "cloud": "t4"}
LINKS = ("wifi-5", "ethernet-100M", "lte")
CODECS = ("float32", "float16", "uint8", "uint4", "uint8+rans", "uint8+zstd")
WANTED = ("latency_p95 <= 400 ms", "fps >= 5", "accuracy >= 50 %")
LIMIT_S, LIMIT = 60.0, 200


def measured(cuts: int) -> dict[str, float]:
    """Seconds of each stage, and how many plans there are before and after."""
    torch.manual_seed(0)
    x = torch.rand(64, 3, 32, 32)
    samples = Samples(x, torch.arange(64) % 10)
    graph = trace(REFERENCE["mobilenet_v2"]().eval(), x[:2])
    bed = Testbed(graph, Dataset(samples, samples, samples, pixels=Pixels((0.5,) * 3, (0.25,) * 3)), Workload(5.0))
    devices = tuple(Device(name, roofline=DEVICES[preset].roofline) for name, preset in TIERS.items())
    ways = [Over(link_preset(name), CODECS, ["tcp"]) for name in LINKS]
    single = [cut.index for cut in graph.cuts[1:-1] if cut.single]
    split_at = [single[place * len(single) // cuts] for place in range(cuts)]
    space = space_between(devices, ways, graph.cuts, split_at)
    begun_s = time.perf_counter()
    bed.prepare(coding_of(hop) for plan in covering(space) for hop in plan.hops)
    prepared_s = time.perf_counter()
    said: list[str] = []
    wanted = [parse_requirement(text) for text in WANTED]
    plans = worth_evaluating(space, bed, Measurements(), bed.workload, wanted, say=said.append, most=LIMIT)
    pruned_s = time.perf_counter()
    Trials(bed, Measurements(), 0, 5).timelines(plans)
    done_s = time.perf_counter()
    print(*said, sep="\n")
    return {
        "plans": count_of(space),
        "left": len(plans),
        "preparing_s": prepared_s - begun_s,
        "pruning_s": pruned_s - prepared_s,
        "timelines_s": done_s - pruned_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=20)
    torch.set_num_threads(1)
    found = measured(parser.parse_args().cuts)
    found["holds"] = found["pruning_s"] + found["timelines_s"] <= LIMIT_S and found["left"] <= LIMIT
    print(json.dumps(found))


if __name__ == "__main__":
    main()
