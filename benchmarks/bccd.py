"""A real detection set: average precision against bytes and packet loss, of splits and of compressed images.

    python benchmarks/bccd.py FOLDER [--epochs 60]

FOLDER has `JPEGImages` and `Annotations` in Pascal VOC's layout: the BCCD set, 364 microscope images of blood cells
(640 x 480) with boxes of three classes (MIT licence, github.com/Shenggan/BCCD_Dataset). Images are resized to
160 x 120; 220 train, 72 validate, 72 test, divided with a fixed seed. The network is the detector of
examples/detection, with three classes, trained here with mirror images. Bytes are the mean payload of a frame; a packet
carries up to 1472 bytes; a frame with gaps is used as it is. AP50 on the validation images, with its 95 % interval
without loss. Bottlenecks have so many times fewer elements, and are trained on the training images, without losses.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "detection"))

from network import BATCH, LEARNING_RATE, Detector, loss, wanted

from splitimpera.cost.devices import build_device
from splitimpera.evaluation.run import evaluate_all
from splitimpera.evaluation.testbed import Testbed, coding_of
from splitimpera.graph.tracing import trace
from splitimpera.models.datasets import load_data
from splitimpera.models.samples import Samples
from splitimpera.models.threads import torch_threads
from splitimpera.records.link import Link
from splitimpera.records.measurements import Measurements
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload
from splitimpera.scenario import DataSection, DeviceSection
from splitimpera.tasks.detection import Detection
from splitimpera.training.split import train_split

SIZE, LARGE = (120, 160), 32
LOSSES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
IMAGE_CODECS = ("png", "jpeg:90", "jpeg:75", "jpeg:50", "jpeg:25", "webp:90", "webp:75", "webp:50", "webp:25")
CODECS = ("uint8", "uint4:channel", "uint4:channel+interleaved", "uint2:channel", "uint4:channel+rans-packets")
CUTS = ("stem.0", "stage1.1.0", "lateral2")
SQUEEZED, EPOCHS = "stage1.1.0", (20, 60)
BOTTLENECKS = ((8.0, "uint8"), (8.0, "uint4:channel"), (16.0, "uint4:channel"), (32.0, "uint4:channel"))


def trained(samples: Samples, epochs: int) -> Detector:
    """A detector for the training images and their mirror images."""
    torch.manual_seed(0)
    model = Detector(3, size=SIZE).train()
    x = samples.inputs
    targets = samples.targets.rows(range(len(samples)))
    width = SIZE[1]
    classes, boxes = [], []
    for mirrored in (False, True):
        for box, kinds, _ in targets:
            order = np.argsort((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]))
            box, kinds = box[order], kinds[order]
            if mirrored:
                box = np.stack([width - box[:, 2], box[:, 1], width - box[:, 0], box[:, 3]], 1)
            of_each, where = wanted(np.ascontiguousarray(box), kinds, SIZE, LARGE)
            classes.append(of_each)
            boxes.append(where)
    x = torch.cat([x, x.flip(3)])
    classes, boxes = torch.stack(classes), torch.stack(boxes)
    steps = -(-len(x) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, epochs * steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss(model(x[rows]), classes[rows], boxes[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def main(folder: Path, epochs: int) -> None:
    section = DataSection(source=str(folder), size=SIZE, validation=72 / 364, test=72 / 364)
    data = load_data(section, folder, "boxes")
    begun_s = time.process_time()
    with torch_threads(2):
        model = trained(data.train, epochs)
    counts = len(data.train), len(data.validation), len(data.test)
    print(f"{counts} images, classes {', '.join(data.classes)}; trained in {time.process_time() - begun_s:.0f} CPU s")
    graph = trace(model, data.validation.spread(2))
    for metric in ("map50", "map"):
        task = Detection().fitted(graph.outputs, metric, graph.inputs)
        bed = Testbed(graph, data, Workload(10.0, len(data.validation)), task=task)
        local = Plan("LC", (device("camera"),), ())
        for part in ("validation", "test"):
            (found,) = evaluate_all([local], bed, Measurements(), {"LC": np.random.default_rng(0)}, part)
            low, high = found.evaluation.quality_ci
            value = f"{found.evaluation.quality:.1%} ({low:.1%} to {high:.1%})"
            print(f"{metric} of the whole network on the {part} images: {value}")
    task = Detection().fitted(graph.outputs, "map50", graph.inputs)
    bed = Testbed(graph, data, Workload(10.0, len(data.validation)), task=task)
    squeezed = graph.cut(SQUEEZED).index
    for ratio in dict(BOTTLENECKS):
        begun_s = time.process_time()
        bed.add_split(ratio, train_split(graph, squeezed, data.train, task=task, ratio=ratio, epochs=EPOCHS))
        print(f"bottleneck of ratio {ratio:g} trained in {time.process_time() - begun_s:.0f} CPU s")
    places = [(0, codec, 0.0) for codec in (*IMAGE_CODECS, "uint4")]
    places += [(graph.cut(name).index, codec, 0.0) for name in CUTS for codec in CODECS]
    places += [(squeezed, codec, ratio) for ratio, codec in BOTTLENECKS]
    plans = {(place, rate): plan(*place, rate) for place in places for rate in LOSSES}
    bed.prepare(coding_of(each.hops[0]) for each in plans.values())
    rngs = {each.id: np.random.default_rng(0) for each in plans.values()}
    every = evaluate_all(list(plans.values()), bed, Measurements(), rngs, most_patterns=3, intervals=True)
    found = {key: one.evaluation for key, one in zip(plans, every, strict=True)}
    print()
    print(f"| after | codec | bytes | 95 % without loss | {' | '.join(f'{rate:.0%}' for rate in LOSSES)} |")
    print(f"|---|---|---|---|{'---|' * len(LOSSES)}")
    for cut, codec, ratio in places:
        whole = found[(cut, codec, ratio), 0.0]
        low, high = whole.quality_ci
        at = " | ".join(f"{found[(cut, codec, ratio), rate].quality:.1%}" for rate in LOSSES)
        name = "the input" if cut == 0 else graph.cuts[cut].name
        name += f", bottleneck {ratio:g}" if ratio else ""
        print(f"| {name} | {codec} | {whole.payload_bytes:.0f} | {low:.1%} to {high:.1%} | {at} |")


def device(name: str):
    return build_device(DeviceSection(name=name, preset="t4"), Path())


def plan(cut: int, codec: str, ratio: float, loss_rate: float) -> Plan:
    hop = Hop(cut, codec, "udp", Link(rate_bps=1e9, loss=loss_rate), ratio)
    return Plan(f"{cut}-{codec}-{ratio:g}-{loss_rate}", (device("camera"), device("server")), (hop,))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    main(arguments.folder, arguments.epochs)
