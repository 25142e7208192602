"""What the evaluation of a segmentation plan costs beside the least that it has to compute: one thread, CPU seconds.

    python benchmarks/segmentation_speed.py [--images 200] [--side 256]

The U-Net of examples/segmentation, with random weights, on random images with random masks; split after `down2.0.0`,
8-bit, over UDP with 2 % loss. The floor, in the same run and in turn with the evaluation: each image once through the
head, what crosses coded, decoded and run to the end, and the damaged frames of one showing decoded with their gaps
and run to the end; no masks, no counting. Limit: 1.7 times the floor, the median of the rounds. Peak memory is the
process's.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "segmentation"))

from network import UNet

from splitimpera.cost.devices import build_device
from splitimpera.evaluation.run import evaluate_all
from splitimpera.evaluation.testbed import Testbed, coding_of
from splitimpera.evaluation.truths import check_targets
from splitimpera.graph.tracing import trace
from splitimpera.models.parts import Dataset
from splitimpera.models.samples import Samples
from splitimpera.models.targets import Stacked
from splitimpera.net.transports import TRANSPORTS
from splitimpera.records.link import Link
from splitimpera.records.measurements import Measurements
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.spans import Span
from splitimpera.records.traffic import Frames, Workload
from splitimpera.scenario import DeviceSection
from splitimpera.tasks.segmentation import Segmentation

LIMIT = 1.7
CHUNK, ROUNDS = 32, 3
CUT, LOSS = "down2.0.0", 0.02


def main(images: int, side: int) -> bool:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((images, 3, side, side), dtype=np.float32))
    masks = torch.from_numpy(rng.integers(0, 11, (images, side, side), dtype=np.uint8))
    samples = Samples(x, Stacked(masks))
    graph = trace(UNet().eval(), x[:2])
    task = Segmentation().fitted(graph.outputs, "miou", graph.inputs, (masks[0].numpy(),))
    data = Dataset(samples.take(slice(32)), samples, samples)
    check_targets(task, data)
    bed = Testbed(graph, data, Workload(10.0, images), task=task)
    devices = [build_device(DeviceSection(name=name, preset="t4"), Path()) for name in ("camera", "server")]
    hop = Hop(graph.cut(CUT).index, "uint8", "udp", Link(rate_bps=1e9, loss=LOSS))
    plan = Plan("SC", tuple(devices), (hop,))
    bed.prepare([coding_of(hop)])
    ratios = []
    for number in range(ROUNDS):
        begun_s = time.process_time()
        (found,) = evaluate_all([plan], bed, Measurements(), {"SC": np.random.default_rng(number)}, most_patterns=1)
        spent_s = time.process_time() - begun_s
        floor_s, damaged = floor(bed, hop, x, np.random.default_rng(number))
        ratios.append(spent_s / floor_s)
        print(
            f"mIoU {found.evaluation.quality:.3f}, {spent_s:.2f} CPU s, floor {floor_s:.2f} s with {damaged} damaged "
            f"frames of {images}: {ratios[-1]:.2f}"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    inputs = f"{x.nbytes / 1e9:.2f} GB of inputs"
    print(f"median {median(ratios):.2f}, limit {LIMIT}; peak memory {peak / 1e9:.2f} GB, with {inputs}")
    return median(ratios) <= LIMIT


def floor(bed: Testbed, hop: Hop, x: torch.Tensor, rng: np.random.Generator) -> tuple[float, int]:
    """CPU seconds of what cannot be left out, and how many frames the link damaged."""
    codec, last = bed.codec(*coding_of(hop)), bed.last
    size = bed.provisional(coding_of(hop)).sizes[0]
    ready_s = np.arange(len(x)) / 10.0
    frames = Frames(ready_s, np.full(len(x), size), ready_s + 1, bed.provisional(coding_of(hop)).element_bytes)
    erased = TRANSPORTS[hop.transport](hop.link, rng).transfer(frames).erased
    begun_s, damaged = time.process_time(), 0
    for first in range(0, len(x), CHUNK):
        batch = x[first : first + CHUNK]
        crossing = bed.call(Span(0, hop.cut), (batch,))
        payloads = [codec.encode([tensor[place].numpy() for tensor in crossing]) for place in range(len(batch))]
        gaps = [erased[first + place] for place in range(len(batch))]
        whole = [(one, ()) for one in payloads]
        hurt = [(one, gap) for one, gap in zip(payloads, gaps, strict=True) if gap]
        for some in (whole, hurt):
            if some:
                rows = [codec.decode(payload.data, gap) for payload, gap in some]
                bed.call(
                    Span(hop.cut, last),
                    tuple(torch.from_numpy(np.stack(tensors)) for tensors in zip(*rows, strict=True)),
                )
        damaged += sum(map(bool, gaps))
    return time.process_time() - begun_s, damaged


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--side", type=int, default=256)
    arguments = parser.parse_args()
    sys.exit(0 if main(arguments.images, arguments.side) else 1)
