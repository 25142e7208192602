"""Test samples and what is made of them, as images."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import splitimpera as sei
from splitimpera.evaluation.testbed import Testbed
from splitimpera.evaluation.truths import with_truths
from splitimpera.models.datasets import Dataset, Pixels, Samples
from splitimpera.models.targets import Stacked
from splitimpera.records.device import Device
from splitimpera.records.link import Link
from splitimpera.records.plan import Hop, Plan
from splitimpera.records.traffic import Workload
from splitimpera.studies import shown as module
from splitimpera.studies.shown import bounded, image_of, resized, shown_samples
from splitimpera.tasks.agreement import Agreement
from splitimpera.tasks.painting import Drawing
from splitimpera.tasks.segmentation import Segmentation

DEVICES = Device("camera"), Device("gateway"), Device("server")


class Brightness(nn.Module):
    """Says of each pixel whether it is bright; two channels cross in the middle."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[0.0] * 3, [1.0] * 3]).reshape(2, 3, 1, 1))
            self.first.bias.zero_()
            self.second.weight.copy_(torch.eye(2).reshape(2, 2, 1, 1))
            self.second.bias.zero_()

    def forward(self, x):
        return self.second(self.first(x))


def bed(task=None, pixels=None):
    images = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
    pixels = pixels or Pixels((0.5,) * 3, (0.25,) * 3)
    x = pixels.inputs(images)
    masks = (x.sum(1) > 0).to(torch.uint8)
    samples = Samples(x, Stacked(masks))
    parts = [samples.take(slice(start, start + 8)) for start in (0, 8, 16)]
    data = Dataset(*parts, classes=("dark", "bright"), pixels=pixels)
    graph = sei.trace(Brightness().eval(), x[:2])
    if task is None:
        task = Segmentation(background=None)
    made = Testbed(graph, data, Workload(10.0, 1000), task=task.fitted(graph.outputs))
    return made, images[16:]


def plan(*hops, count=2):
    return Plan("one", DEVICES[:count], hops)


def decoded(file):
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)


def views(found):
    return [[*sample.images] for sample in found.samples]


SMALL = Link("radio", mtu_bytes=127, loss=0.03)


def test_what_was_lost_is_seen_and_all_else_is_as_the_network_has_it():
    testbed, images = bed()
    found = shown_samples(testbed, plan(Hop(1, "float32", "udp", SMALL)), np.random.default_rng(0))
    assert views(found) == [["input", "expected", "network", "plan", "plan_lossy"]] * 4
    assert found.loss == 0.03
    assert found.classes == (("dark", "#E69F00"), ("bright", "#56B4E9"))
    assert [sample.place for sample in found.samples] == [0, 2, 5, 7]
    changed = 0.0
    for sample in found.samples:
        drawn = {view: decoded(file) for view, file in sample.images.items()}
        assert (drawn["input"] == resized(images[sample.place], 256)).all()
        assert (drawn["network"] == drawn["expected"]).all()
        assert (drawn["plan"] == drawn["network"]).all()
        off = (drawn["plan_lossy"] != drawn["plan"]).any(2).mean()
        assert off <= 2 * sample.missing < 1  # of the two channels one is 0 anyway
        changed += off
    assert changed > 0


def test_the_same_randomness_loses_the_same():
    testbed, _ = bed()
    route = plan(Hop(1, "float32", "udp", SMALL))
    one, same, other = (shown_samples(testbed, route, np.random.default_rng(seed)).samples for seed in (1, 1, 2))
    assert [sample.images for sample in one] == [sample.images for sample in same]
    assert [sample.images for sample in one] != [sample.images for sample in other]


def test_where_the_link_loses_nothing_another_loss_is_assumed():
    testbed, _ = bed()
    found = shown_samples(testbed, plan(Hop(1, "uint8", "udp", Link("r", mtu_bytes=127))), np.random.default_rng(0))
    assert found.loss == 0.1


@pytest.mark.parametrize(
    "hop",
    [
        Hop(1, "float32", "tcp", SMALL),
        Hop(1, "float32", "udp-arq", SMALL),
        Hop(1, "uint8+zstd", "udp", SMALL),  # a gap makes it unreadable
        Hop(1, "uint8", "udp", Link("r", loss=0.5, mtu_bytes=1500)),  # one packet
    ],
)
def test_what_repairs_or_cannot_bear_losses_has_no_view_of_them(hop):
    found = shown_samples(bed()[0], plan(hop), np.random.default_rng(0))
    assert views(found) == [["input", "expected", "network", "plan"]] * 4
    assert found.loss is None
    assert [sample.missing for sample in found.samples] == [0.0] * 4


def test_two_hops_lose_on_both():
    hops = Hop(0, "float32", "udp", SMALL), Hop(1, "float32", "udp", Link("r", mtu_bytes=127))
    found = shown_samples(bed()[0], plan(*hops, count=3), np.random.default_rng(0))
    assert found.loss == 0.1
    alone = shown_samples(bed()[0], plan(hops[0]), np.random.default_rng(0))
    assert sum(sample.missing for sample in found.samples) > sum(sample.missing for sample in alone.samples)


def test_on_one_device_there_is_only_the_network():
    for route in (None, plan(count=1)):
        found = shown_samples(bed()[0], route, np.random.default_rng(0))
        assert views(found) == [["input", "expected", "network"]] * 4


def test_without_labels_nothing_is_expected():
    testbed, _ = bed(Agreement())
    found = shown_samples(with_truths(testbed), None, np.random.default_rng(0))
    assert views(found) == [["input", "network"]] * 4


class Borrowed:
    """A task of another's: as segmentation, but it draws in a way of its own, or not at all."""

    def __init__(self, task, draw=None):
        self.task = task
        if draw is not None:
            self.draw = draw

    def __getattr__(self, name):
        if name == "draw":
            raise AttributeError(name)
        return getattr(self.task, name)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (None, []),
        (lambda *_: None, []),
        (lambda *_: 1 / 0, ["No samples are shown: the task's draw fails: ZeroDivisionError: division by zero."]),
        (
            lambda image, *_: image,
            ["No samples are shown: the task's draw returns no Drawing with an image uint8 (H, W, 3)."],
        ),
    ],
)
def test_a_task_of_anothers_that_cannot_draw_costs_nobody_the_design(draw, said):
    testbed, _ = bed()
    heard = []
    testbed = testbed.with_task(Borrowed(testbed.task, draw))
    assert shown_samples(testbed, None, np.random.default_rng(0), heard.append) is None
    assert heard == said


@pytest.mark.parametrize(
    ("shape", "pixels", "expected"),
    [
        ((3, 10, 12), Pixels((0.5,) * 3, (0.25,) * 3), (10, 12, 3)),
        ((1, 10, 12), Pixels((0.5,), (0.25,)), (10, 12, 3)),
        ((3, 10, 12), None, (10, 12, 3)),
        ((40, 101), None, (40, 101, 3)),
        ((5, 10, 12), None, (10, 12, 3)),
        ((5, 10, 12), Pixels((0.5,) * 5, (0.25,) * 5), (10, 12, 3)),
        ((16000,), None, None),
        ((1, 1, 16000), None, None),
        ((2, 3, 10, 12), None, None),
    ],
)
def test_inputs_become_images_where_they_are_some(shape, pixels, expected):
    image = image_of(torch.randn(shape, generator=torch.Generator().manual_seed(0)), pixels)
    assert (image.shape if image is not None else None) == expected
    assert image is None or (image.dtype == np.uint8 and np.ptp(image) > 100)


def test_an_image_comes_back_as_it_was_and_a_flat_one_does_no_harm():
    images = np.random.default_rng(0).integers(0, 256, (1, 9, 10, 3), dtype=np.uint8)
    pixels = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (image_of(pixels.inputs(images)[0], pixels) == images[0]).all()
    assert image_of(torch.full((9, 10), torch.nan), None).shape == (9, 10, 3)
    assert image_of(torch.zeros((1, 9, 10), dtype=torch.int64), None).max() == 0


@pytest.mark.parametrize(
    ("size", "side", "made"),
    [((64, 48), 256, (256, 192)), ((100, 30), 256, (200, 60)), ((520, 260), 256, (256, 128)), ((3000, 9), 96, (96, 1))],
)
def test_images_are_enlarged_by_whole_factors_or_made_smaller(size, side, made):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert resized(image, side).shape == (*made, 3)


def test_files_stay_within_their_bound_whatever_they_show():
    def noise(side):
        pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        return [{view: Drawing(pixels, ()) for view in "abcde"}] * 4

    files = [file for views in bounded(noise) for file in views.values()]
    assert sum(map(len, files)) <= module.MOST_BYTES
    flat = bounded(lambda side: [{"a": Drawing(np.zeros((side, side, 3), dtype=np.uint8), ())}])
    assert decoded(flat[0]["a"]).shape == (256, 256, 3)
    assert flat[0]["a"].startswith(b"\x89PNG")
