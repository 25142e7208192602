"""A testbed whose times are known, and plans for it."""

from __future__ import annotations

import numpy as np
import torch
from networks import make

import splitimpera as sei
from splitimpera.models.datasets import Dataset, Pixels, Samples
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload

CAMERA, SERVER = Device("camera", 10.0), Device("server", 1.0)


class Times(dict):
    """Fixed times instead of measured ones: 1 ms a layer, half of it for further frames, 0.1 ms for each codec call."""

    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        if key[0] != "network":
            return 1e-4
        (start, end, *_), batch = key[1:]
        return 0.001 * (end - start) * (1 + batch) / 2


def known_bed():
    """The chain on random pictures, labelled by the network itself: whatever is lost shows as wrong answers."""
    model = make("Chain").eval()
    pixels = Pixels((0.5,) * 3, (0.25,) * 3)
    pictures = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    x = pixels.inputs(pictures)
    with torch.no_grad():
        samples = Samples(x, model(x).argmax(1))
    data = Dataset(samples.take(slice(40, None)), samples.take(slice(20)), samples.take(slice(20, 40)), pixels=pixels)
    bed = sei.Testbed(sei.trace(model, x), data, Workload(10.0, 1000))
    bed._times_s = Times()
    return bed


def plan(cut, codec="float32", transport="udp", devices=(CAMERA, SERVER), **link):
    return Plan("p", devices, (Hop(cut, codec, transport, Link(**link)),))


def run(bed, plan, seed=0, part="validation", replications=1):
    return sei.evaluate(plan, bed, np.random.default_rng(seed), part, replications)
