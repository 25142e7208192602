"""A testbed whose times are known, and plans for it."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import torch
from networks import make
from torch import nn

import splitimpera as sei
from splitimpera.models.datasets import Dataset, Pixels, Samples
from splitimpera.net.transports import TRANSPORTS
from splitimpera.partition.cutter import segment
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.measurements import Measurements
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload

CAMERA, SERVER = Device("camera", 10.0), Device("server", 1.0)


class Times(Measurements):
    """Fixed times instead of measured ones: 1 ms a layer, half of it for further frames, 0.2 ms a head, 0.1 ms for
    each codec call.
    """

    def segment_samples_s(self, start, end, arriving=0.0, leaving=0.0, batch=1, heads=()):
        return (0.001 * (end - start) * (1 + batch) / 2 + 0.0002 * len(heads),)

    def coding_samples_s(self, direction, cut, codec, bottleneck, packet_bytes):
        return (1e-4,)


TIMES = Times()


@contextmanager
def transport(name, factory):
    """A transport of that name, for a while."""
    TRANSPORTS.register(name)(factory)
    try:
        yield
    finally:
        TRANSPORTS.remove(name)


def known_bed():
    """The chain on random pictures, labelled by the network itself: whatever is lost shows as wrong answers."""
    model = make("Chain").eval()
    pixels = Pixels((0.5,) * 3, (0.25,) * 3)
    pictures = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    x = pixels.inputs(pictures)
    with torch.no_grad():
        samples = Samples(x, model(x).argmax(1))
    data = Dataset(samples.take(slice(40, None)), samples.take(slice(20)), samples.take(slice(20, 40)), pixels=pixels)
    return sei.Testbed(sei.trace(model, x), data, Workload(10.0, 1000))


def plan(cut, codec="float32", transport="udp", devices=(CAMERA, SERVER), bottleneck=0.0, **link):
    return Plan("p", devices, (Hop(cut, codec, transport, Link(**link), bottleneck),))


def trial_in(bed):
    """What studies ask: a plan of this bed, with the same randomness at every call."""
    return lambda plan, workload: run(bed.with_workload(workload), plan, intervals=False)


def run(bed, plan, seed=0, part="validation", replications=1, times=TIMES, **more):
    return sei.evaluate(plan, bed, times, np.random.default_rng(seed), part, replications, **more)


class Head(nn.Module):
    """A head that knows nothing: random directions from the usual means of what crosses.

    Args:
        usual: the channels' means over samples, shape (C,).
    """

    def __init__(self, usual, classes, seed, temperature=1.0):
        super().__init__()
        weights = np.random.default_rng(seed).normal(size=(classes, len(usual))).astype(np.float32)
        self.register_buffer("weights", torch.from_numpy(weights))
        self.register_buffer("usual", usual)
        self.register_buffer("temperature", torch.tensor(temperature))

    def forward(self, x):
        centred = means(x) - self.usual
        return centred / (centred.norm(dim=1, keepdim=True) + 1e-6) @ self.weights.T / self.temperature


def means(x):
    """Of each channel, (N, C)."""
    return x.flatten(2).mean(2) if x.ndim > 2 else x


def bed_with_exits():
    """The same bed with a head behind each inner cut; these find all classes, the network one."""
    bed = known_bed()
    for cut in bed.graph.cuts[1:-1]:
        usual = means(crossing(bed, cut.index, "train")).mean(0)
        bed.add_exit(cut.index, Head(usual, 5, cut.index + 13, 0.5))  # right about a quarter of them
    return bed


def crossing(bed, cut, part="validation"):
    """What crosses a cut of each sample."""
    with torch.no_grad():
        return segment(bed.graph, bed.graph.cuts[0], bed.graph.cuts[cut])(bed.samples(part).inputs)[0]


def looks(bed, cut, part="validation"):
    """Confidence, answer and rightness of the head behind a cut on each sample, by hand."""
    samples = bed.samples(part)
    with torch.no_grad():
        logits = bed.heads.head(cut)(crossing(bed, cut, part)).double()
    confidence, answers = logits.softmax(1).max(1)
    return confidence.numpy(), answers.numpy(), (answers == torch.as_tensor(samples.labels)).numpy()
