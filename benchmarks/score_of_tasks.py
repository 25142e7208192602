"""Does cumulative saliency say where segmentation and detection networks bear a split? Measured at every cut in turn.

    python benchmarks/score_of_tasks.py [--seeds 3] [--epochs 10]

The networks of examples/segmentation and examples/detection. Scores are taken from training images before anything
else. What they are to predict is measured on the test images, at every cut that has a score:

quantised  what crosses in 2 bits an element, each channel by itself
lossy      what crosses as float32 in packets of 1472 bytes, of which 30 % are lost
bottleneck through autoencoders with 16 times fewer elements in all, trained equally and briefly from several first
           weights, and the tail with them

Printed: all numbers; the rank correlation of each score with each quality, and given the cut's depth; intervals are
95 % over draws of test images. A network has few cuts, and neighbors are alike: an interval says little of others.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

import numpy as np

from splitimpera.core.array_types import FloatArray
from splitimpera.core.statistics import ends
from splitimpera.cost.devices import build_device
from splitimpera.evaluation.run import evaluate_all
from splitimpera.evaluation.testbed import Testbed, coding_of
from splitimpera.evaluation.vectors import draws, mean_of, stacked
from splitimpera.graph.tracing import ModelGraph, trace
from splitimpera.models.datasets import load_data
from splitimpera.models.networks import load_network
from splitimpera.partition.bottleneck import can_have_bottleneck
from splitimpera.records.link import Link
from splitimpera.records.measurements import Measurements
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload
from splitimpera.saliency.cumulative import cumulative_saliency
from splitimpera.scenario import DataSection, DeviceSection, NetworkSection
from splitimpera.tasks.making import make_task
from splitimpera.training.split import train_split

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCORES = ("cs", "gradient_activation", "taylor", "depth", "bytes")
RATIO, LOSS = 16.0, 0.3


def main(seeds: int, epochs: int) -> None:
    for name in ("segmentation", "detection"):
        folder = EXAMPLES / name
        for module in ("network", "data", "digit_scenes"):
            sys.modules.pop(module, None)
        importlib.invalidate_caches()
        model = load_network(NetworkSection(model="network.py:build"), folder)
        task = make_task(name, {})
        data = load_data(DataSection(source="data.py:data"), folder, task.targets)
        graph = trace(model, data.validation.spread(2))
        fitted = task.fitted(graph.outputs, task.metrics[0], graph.inputs, data.validation.targets.rows([0])[0])
        bed = Testbed(graph, data, Workload(10.0, len(data.test)), task=fitted)
        curve = cumulative_saliency(graph, data.train, task=fitted, scores=SCORES[1:3])
        cuts = [cut for cut in curve.cuts if 0 < cut < bed.last]
        places = [curve.cuts.index(cut) for cut in cuts]
        scores = {score: curve.scores[score][places] for score in SCORES[:3]}
        scores["depth"] = np.arange(len(cuts), dtype=float)
        scores["bytes"] = -np.array([graph.cuts[cut].bytes for cut in cuts], dtype=float)
        found = {
            "quantised": [contributions(bed, [hop(cut, "uint2:channel", 0.0)]) for cut in cuts],
            "lossy": [contributions(bed, [hop(cut, "float32", LOSS)]) for cut in cuts],
        }
        squeezed = [place for place, cut in enumerate(cuts) if can_have_bottleneck(graph.cuts[cut])]
        found["bottleneck"] = [bottlenecks(bed, graph, cuts[place], seeds, epochs) for place in squeezed]
        report(name, bed, graph, cuts, squeezed, scores, found)


def hop(cut: int, codec: str, loss: float, bottleneck: float = 0.0) -> Hop:
    return Hop(cut, codec, "udp" if loss else "tcp", Link(rate_bps=1e9, loss=loss), bottleneck)


def contributions(bed: Testbed, hops: list[Hop]) -> object:
    """What each test image contributes to the quality, one matrix a run."""
    devices = [build_device(DeviceSection(name=name, preset="t4"), Path()) for name in ("camera", "server")]
    plan = Plan("SC", tuple(devices), tuple(hops))
    bed.prepare(map(coding_of, hops))
    rngs = {"SC": np.random.default_rng(0)}
    (one,) = evaluate_all([plan], bed, Measurements(), rngs, "test", 3, intervals=False)
    return mean_of(one.evaluation.contributions)


def bottlenecks(bed: Testbed, graph: ModelGraph, cut: int, seeds: int, epochs: int) -> object:
    """The mean over bottlenecks from several first weights."""
    runs = []
    begun_s = time.process_time()
    for seed in range(seeds):
        trained = train_split(
            graph, cut, bed.data.train, task=bed.task, ratio=RATIO, epochs=(epochs, epochs), seed=seed
        )
        fresh = Testbed(graph, bed.data, bed.workload, task=bed.task)
        fresh.add_split(RATIO, trained)
        runs.append(contributions(fresh, [hop(cut, "float32", 0.0, RATIO)]))
    print(f"after {graph.cuts[cut].name}: {time.process_time() - begun_s:.0f} CPU s", file=sys.stderr)
    return mean_of(stacked(runs))


def report(
    name: str,
    bed: Testbed,
    graph: ModelGraph,
    cuts: list[int],
    squeezed: list[int],
    scores: dict[str, FloatArray],
    found: dict[str, list[object]],
) -> None:
    value = bed.task.quality.value
    drawn = {what: np.array([draws(stacked([each]), value) for each in of_cuts]) for what, of_cuts in found.items()}
    middle = {what: np.median(of_cuts, axis=1) for what, of_cuts in drawn.items()}
    print(f"\n{name}: {bed.task.quality.name} on {len(bed.data.test)} test images, medians of draws")
    print(f"| cut | after | bytes | tensors | {' | '.join(SCORES[:3])} | quantised | lossy | bottleneck |")
    print(f"|---|---|---|---|{'---|' * 6}")
    for place, cut in enumerate(cuts):
        own = graph.cuts[cut]
        taken = " | ".join(f"{scores[score][place]:.3g}" for score in SCORES[:3])
        kept = f"{middle['bottleneck'][squeezed.index(place)]:.3f}" if place in squeezed else "-"
        print(
            f"| {cut} | {own.name} | {own.bytes} | {len(own.tensors)} | {taken} | {middle['quantised'][place]:.3f} | "
            f"{middle['lossy'][place]:.3f} | {kept} |"
        )
    for what, of_cuts in drawn.items():
        places = squeezed if what == "bottleneck" else [*range(len(cuts))]
        if len(places) < 4:
            print(f"{what}: {len(places)} cuts are too few for a correlation")
            continue
        for score in SCORES:
            x = scores[score][places]
            plain = [spearman(x, column) for column in of_cuts.T]
            given = [partial(x, column, scores["depth"][places]) for column in of_cuts.T]
            low, high = ends(np.array(plain))
            said = f"{what}, {score}: {np.median(plain):+.2f} ({low:+.2f} to {high:+.2f})"
            if score != "depth":
                said += f"; given depth {np.nanmedian(given):+.2f}"
            print(said)


def spearman(x: FloatArray, y: FloatArray) -> float:
    from scipy.stats import rankdata

    a, b = rankdata(x) - (len(x) + 1) / 2, rankdata(y) - (len(y) + 1) / 2
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())) if a.any() and b.any() else 0.0


def partial(x: FloatArray, y: FloatArray, depth: FloatArray) -> float:
    xy, xd, yd = spearman(x, y), spearman(x, depth), spearman(y, depth)
    rest = (1 - xd**2) * (1 - yd**2)
    return (xy - xd * yd) / np.sqrt(rest) if rest > 1e-12 else np.nan


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    main(arguments.seeds, arguments.epochs)
