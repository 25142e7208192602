"""The networks and the data of the examples that bring their own: made the same every time, and good enough."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

import splitimpera as sei
from splitimpera.core.errors import DataError, ModelError
from splitimpera.models.imports import run_factory

EXAMPLES = ROOT / "examples"
NAMES = ("segmentation", "detection", "keywords")
MODULES = ("network", "data", "digit_scenes")


@pytest.fixture
def example(monkeypatch):
    """A module of an example; those of another example bear the same names."""

    def load(name, module):
        for each in MODULES:
            sys.modules.pop(each, None)
        monkeypatch.syspath_prepend(EXAMPLES / name)
        return importlib.import_module(module)

    yield load
    for each in MODULES:
        sys.modules.pop(each, None)


@pytest.fixture(scope="module")
def data():
    """The parts that the examples' factories return."""
    found = {name: run_factory("data.py:data", EXAMPLES / name, DataError) for name in NAMES}
    return {name: {part: made[part] for part in ("train", "validation", "test")} for name, made in found.items()}


def network(name):
    return run_factory("network.py:build", EXAMPLES / name, ModelError)


def as_input(values):
    """What a network takes: images from 0 to 1, (N, C, H, W), or what there is."""
    x = torch.from_numpy(values)
    return x.permute(0, 3, 1, 2) / 255 if x.dtype == torch.uint8 else x


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_of_the_data(data, name):
    found = data[name]
    assert {part: len(inputs) for part, (inputs, _) in found.items()} == {"train": 600, "validation": 200, "test": 200}
    rows = [row.tobytes() for inputs, _ in found.values() for row in inputs]
    assert len({*rows}) == len(rows)


def test_masks_and_boxes_say_the_same(data):
    for part, (images, masks) in data["segmentation"].items():
        same, targets = data["detection"][part]
        assert images.shape == (len(images), 64, 64, 3)
        assert (images.dtype, masks.dtype) == (np.uint8, np.uint8)
        np.testing.assert_array_equal(images, same)
        assert {*np.unique(masks)} == {*range(11)}
        for mask, target in zip(masks, targets, strict=True):
            boxes, labels = target["boxes"], target["labels"]
            assert (boxes.dtype, labels.dtype) == (np.float32, np.int64)
            assert len(boxes) == len(labels) > 0
            rest = mask.copy()
            for (left, top, right, bottom), label in zip(boxes.astype(int), labels, strict=True):
                inside = mask[top:bottom, left:right] > 0
                assert {*mask[top:bottom, left:right][inside]} == {label + 1}
                assert inside[[0, -1]].any(1).all()  # the box is no larger than the digit
                assert inside[:, [0, -1]].any(0).all()
                rest[top:bottom, left:right] = 0
            assert not rest.any()


def test_images_are_made_of_their_own_parts_digits(example, monkeypatch):
    digit_scenes = example("segmentation", "data") and sys.modules["digit_scenes"]
    whole = digit_scenes.digits()
    apart = {
        part: getattr(whole, part).take(getattr(whole, part).labels == digit)
        for digit, part in enumerate(("train", "validation", "test"))
    }
    monkeypatch.setattr(digit_scenes, "digits", lambda: sei.Dataset(**apart, classes=whole.classes))
    for digit, part in enumerate(apart):
        assert {*np.concatenate(digit_scenes.scenes(part, 20).labels)} == {digit}


@pytest.mark.parametrize(
    ("name", "function"), [("segmentation", "masked"), ("detection", "boxed"), ("keywords", "spoken")]
)
def test_the_first_samples_are_the_same_however_many_are_made(data, example, name, function):
    inputs, targets = getattr(example(name, "data"), function)("test", 12)
    expected, wanted = (each[:12] for each in data[name]["test"])
    np.testing.assert_array_equal(inputs, expected)
    if name == "detection":
        targets, wanted = ([target["boxes"] for target in each] for each in (targets, wanted))
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(targets, wanted, strict=True))
    else:
        np.testing.assert_array_equal(targets, wanted)


def test_every_digit_is_to_be_found_by_some_location(data, example):
    detection = example("detection", "network")
    centers, strides = detection.locations()
    for target in data["detection"]["validation"][1]:
        classes, boxes = detection.wanted(**target)
        found = classes >= 0
        assert {tuple(box.tolist()) for box in boxes[found]} == {tuple(box) for box in target["boxes"].tolist()}
        assert ((centers > boxes[:, :2]) & (centers < boxes[:, 2:])).all(1)[found].all()
        large = (boxes[:, 2:] - boxes[:, :2]).amax(1) >= detection.LARGE
        assert torch.equal(strides[found, 0] == 8, large[found])


def test_generalized_intersection_over_union(example):
    giou = example("detection", "network").giou
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1]])
    b = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 3, 1]])
    torch.testing.assert_close(giou(a, b), torch.tensor([1.0, 1 / 3, -1 / 3]))


def test_untrained_networks_return_what_they_say(example):
    images = torch.rand(3, 3, 64, 64)
    assert example("segmentation", "network").UNet()(images).shape == (3, 11, 64, 64)
    found = example("detection", "network").Detector()(images)
    assert {key: value.shape for key, value in found.items()} == {"boxes": (3, 320, 4), "logits": (3, 320, 10)}
    assert (found["boxes"][..., :2] < found["boxes"][..., 2:]).all()
    assert example("keywords", "network").KeywordNet()(torch.rand(3, 1, 32, 61)).shape == (3, 8)


@pytest.mark.parametrize(("name", "module"), [("segmentation", "UNet"), ("detection", "Detector")])
def test_they_can_be_split_at_every_cut(example, name, module):
    model = getattr(example(name, "network"), module)().eval()
    graph, x = sei.trace(model, torch.rand(2, 3, 64, 64)), torch.rand(3, 3, 64, 64)
    assert max(len(cut.tensors) for cut in graph.cuts) >= 2
    for cut in graph.cuts:
        partition = sei.split(graph, cut)
        with torch.no_grad():
            torch.testing.assert_close(partition.tail(partition.head(x)), model(x))


@pytest.mark.parametrize("name", NAMES)
def test_weights_from_the_cache_are_those_that_were_trained(data, example, monkeypatch, tmp_path, name):
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path))
    module = example(name, "network")
    monkeypatch.setattr(module, "TRAINED_ON", 50)
    monkeypatch.setattr(module, "EPOCHS", 1)
    trained = module.build()
    monkeypatch.setattr(module, "fit", pytest.fail)
    cached = module.build()
    x = as_input(data[name]["test"][0][:8])
    with torch.no_grad():
        torch.testing.assert_close(cached(x), trained(x), rtol=0, atol=0)


def mean_intersection_over_union(predicted, wanted):
    classes = np.unique(wanted)
    both = [((predicted == each) & (wanted == each)).sum() for each in classes]
    either = [((predicted == each) | (wanted == each)).sum() for each in classes]
    return np.mean(np.array(both) / either)


def average_precision(boxes, scores, targets):
    """Mean AP50 of the classes, of boxes (N, K, 4) and scores (N, K, classes), the area under the curve."""
    results = []
    for digit in range(scores.shape[2]):
        truths = [target["boxes"][target["labels"] == digit] for target in targets]
        found, hits = [set() for _ in targets], []
        kept = [[] for _ in targets]
        images, places = np.nonzero(scores[..., digit] > 0.02)
        for one in np.argsort(-scores[images, places, digit]):
            image, box = images[one], boxes[images[one], places[one]]
            if any(overlap(box, other) > 0.5 for other in kept[image]):
                continue  # there is a better one in the same place
            kept[image].append(box)
            overlaps = [overlap(box, truth) for truth in truths[image]]
            best = int(np.argmax(overlaps)) if overlaps else -1
            hits.append(best >= 0 and overlaps[best] >= 0.5 and best not in found[image])
            if hits[-1]:
                found[image].add(best)
        right = np.cumsum(hits)
        precision = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[::-1])[::-1]
        results.append((precision * np.array(hits)).sum() / sum(map(len, truths)))
    return np.mean(results)


def overlap(a, b):
    inner = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod()
    return inner / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner)


@pytest.mark.slow
def test_the_u_net_segments(data):
    images, masks = data["segmentation"]["test"]
    with torch.no_grad():
        predicted = network("segmentation")(as_input(images)).argmax(1).numpy()
    assert 0.75 <= mean_intersection_over_union(predicted, masks) < 0.95


@pytest.mark.slow
def test_the_detector_detects(data):
    images, targets = data["detection"]["test"]
    with torch.no_grad():
        found = network("detection")(as_input(images))
    assert average_precision(found["boxes"].numpy(), found["logits"].sigmoid().numpy(), targets) >= 0.85


@pytest.mark.slow
def test_keywords_are_recognized_but_not_all(data):
    spectrograms, words = data["keywords"]["test"]
    with torch.no_grad():
        right = (network("keywords")(as_input(spectrograms)).argmax(1).numpy() == words).mean()
    assert 0.9 <= right < 1
