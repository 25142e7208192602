"""What accuracy under many losses costs, next to running the network's tail so often.

    python benchmarks/evaluation_speed.py

Ten loss rates, five seeds each, at one cut: at most 1.2 times one pass of the head and fifty of the tail over the same
images. Everything is timed in turn within one run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from splitimpera.evaluation.run import evaluate_all
from splitimpera.evaluation.stopwatch import measure
from splitimpera.evaluation.testbed import Testbed
from splitimpera.graph.tracing import trace
from splitimpera.models.datasets import load_data
from splitimpera.models.networks import load_network
from splitimpera.partition.cutter import Partition, split
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload
from splitimpera.scenario import load_scenario
from splitimpera.studies.loss_curve import with_loss

LOSSES = tuple(np.linspace(0.02, 0.5, 10))
REPLICATIONS = 5
LIMIT = 1.2
ROUNDS = 11
BATCH = 128


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> bool:
    scenario = load_scenario("examples/digits/scenario.yaml")
    data = load_data(scenario.data, scenario.folder)
    graph = trace(load_network(scenario.network, scenario.folder), data.validation.inputs[:1])
    images = data.validation.inputs
    workload = Workload(1.0, len(images), 0.5)  # a frame an image
    holds = True
    print("| cut | tail's share of the MACs | partition alone | accuracy under 50 losses | ratio | |")
    print("| --- | --- | --- | --- | --- | --- |")
    for cut in (3, 6, 10):
        partition = split(graph, cut)
        share = partition.cut.macs_tail / (partition.cut.macs_head + partition.cut.macs_tail)
        link = Link(rate_bps=1e9, delay_s=1e-3, mtu_bytes=256)
        plan = Plan("p", (Device("device"), Device("server")), (Hop(cut, "uint8", "udp", link),))

        def passes(partition: Partition = partition) -> None:
            with torch.inference_mode():
                crossing = [partition.head(x) for x in torch.split(images, BATCH)]
                for _ in range(len(LOSSES) * REPLICATIONS):
                    for rows in crossing:
                        partition.tail(rows)

        def evaluated(plan: Plan = plan) -> float:
            testbed = Testbed(graph, data, workload)
            times = measure([plan], testbed)  # which is not to be timed here
            hop = plan.hops[0]
            lossy = [
                replace(plan, id=f"at {loss}", hops=(replace(hop, link=with_loss(hop.link, loss)),)) for loss in LOSSES
            ]
            rngs = {each.id: np.random.default_rng(0) for each in lossy}
            return seconds(
                lambda: evaluate_all(lossy, testbed, times, rngs, replications=REPLICATIONS, intervals=False, workers=2)
            )

        evaluated()  # compiles
        timed: list[float] = []
        alone = []
        for _ in range(ROUNDS):
            alone.append(seconds(passes))
            timed.append(evaluated())
        ratio = float(np.median(timed) / np.median(alone))
        holds &= ratio <= LIMIT
        print(
            f"| {cut} | {share:.0%} | {np.median(alone):.2f} s | {np.median(timed):.2f} s | {ratio:.2f} | "
            f"{'holds' if ratio <= LIMIT else 'MISSED'} |"
        )
    return holds


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
