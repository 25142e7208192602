"""The task of a manifest: what responses are, made again without the network; and the targets of samples."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest

from splitimpera.bundle.entries import TensorEntry
from splitimpera.bundle.stored_targets import read_targets, stored_targets
from splitimpera.bundle.task_entry import TaskEntry, responding_of, task_entry
from splitimpera.core.errors import BundleError, DataError, LinkError
from splitimpera.deploy.device_run import DeviceRun
from splitimpera.deploy.judging import Judge
from splitimpera.deploy.messages import result_bytes, result_of
from splitimpera.deploy.sample_stream import Sample, Source
from splitimpera.tasks.making import make_task
from splitimpera.tasks.task import Output


def tensor(name, *shape, dtype="float32"):
    return TensorEntry(name=name, shape=list(shape), dtype=dtype, batch_dim=0, channel_dim=0)


IMAGE = [tensor("input", 3, 16, 16)]
CASES = {
    "classification": ("classification", {"output": "logits"}, [("features", (5,)), ("logits", (3,))], None),
    "multilabel": ("multilabel", {}, [("0", (4,))], None),
    "regression": ("regression", {}, [("0", (1, 6, 6))], None),
    "segmentation": ("segmentation", {"ignore": 7}, [("0", (4, 8, 8))], (16, 16)),
    "many classes": ("segmentation", {}, [("0", (300, 4, 4))], None),
    "boxes": ("detection", {"activation": "none"}, [("boxes", (20, 4)), ("scores", (20, 3))], None),
    "yolo": ("detection", {"format": "yolo", "most": 7}, [("0", (9, 30))], None),
    "agreement": ("agreement", {"of": "detection", "activation": "none"}, [("0", (20, 4)), ("1", (20, 3))], None),
    "agreeing classes": ("agreement", {}, [("0", (6,))], None),
}


def made(kind, options, outputs, mask):
    """A fitted task, its entry in a manifest, and the tensors of the result."""
    named = [Output(name, shape) for name, shape in outputs]
    task, result = make_task(kind, options), [tensor(name, *shape) for name, shape in outputs]
    example = None if mask is None else (np.zeros(mask, np.uint8),)
    fitted = task.fitted(named, task.metrics[-1], [Output("input", (3, 16, 16))], example)
    return fitted, task_entry(fitted, kind, named, result, 12), result


@pytest.mark.parametrize("case", CASES)
def test_what_is_made_again_answers_as_the_task_does(case, rng):
    task, entry, result = made(*CASES[case])
    again = TaskEntry.model_validate_json(entry.model_dump_json())
    assert again == entry
    responding = responding_of(again, result, IMAGE)
    row = tuple(rng.random(each.shape, np.float32) * 8 for each in result)
    answer, wanted = responding(row), task.answer(row)
    for one, other, said in zip(answer, wanted, entry.response, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == said.dtype
        assert [None if wide is None else side for side, wide in zip(one.shape, said.shape, strict=True)] == said.shape
    assert responding.problem(answer) == ""
    read = result_of(result_bytes(answer, entry.response), entry.response, entry.most)
    assert all((one == other).all() and one.shape == other.shape for one, other in zip(read, answer, strict=True))
    assert sum(part.nbytes for part in answer) <= responding.most_bytes
    assert responding.task.quality.name == entry.metric


def test_numbers_are_judged_as_near_as_the_samples_say():
    task, entry, result = made("agreement", {"of": "regression"}, [("0", (2,))], None)
    assert task.quality.near == 0
    responding = responding_of(entry, result, IMAGE)
    assert responding.quality() is None
    quality = responding.quality(np.array([0.5, 0.1]))
    counts = quality.count((np.array([1.4, 1.2]),), (np.array([1.0, 1.0]),))
    assert quality.value(counts) == 0.5


def test_shapes_that_no_network_has_are_refused():
    _, entry, _ = made(*CASES["segmentation"])
    with pytest.raises(BundleError, match="the task 'segmentation' cannot be made"):
        responding_of(entry, [tensor("0", 4, 0, 0)], IMAGE)
    with pytest.raises(BundleError, match="cannot be made"):
        responding_of(made(*CASES["yolo"])[1], [tensor("0", 0, 4)], IMAGE)


@pytest.mark.parametrize(("data", "most"), [(27, 5), (1, 5), (28 * 6, 5), (28, None)])
def test_bytes_of_no_such_response_are_refused(data, most):
    _, entry, _ = made(*CASES["boxes"])
    with pytest.raises(LinkError, match=rf"the result has {data} bytes, 0 and 28 for each of {most} objects at most"):
        result_of(bytes(data), entry.response, most)


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (np.full((16, 16), 3, np.int16), ""),
        (np.full((16, 16), 0.5), "a mask of float64 from 0 on, class indices are expected"),
        (np.full((16, 16), -1, np.int8), "a mask of int8 from -1 on, class indices are expected"),
        (np.full((16, 16), 2**63, np.uint64), "a mask of uint64 from 0 on, class indices are expected"),
        (np.full((16, 16), 4), "a mask with class 4, the network tells 4 classes apart"),
    ],
)
def test_masks_of_anybody_are_looked_at(mask, problem):
    _, entry, result = made(*CASES["segmentation"])
    assert responding_of(entry, result, IMAGE).mistarget((mask,)) == problem


@pytest.mark.parametrize(("case", "judged"), [("classification", 1), ("agreeing classes", 0), ("number", 0)])
def test_a_label_is_nothing_that_an_agreement_or_a_number_is_held_to(case, judged):
    _, entry, result = made(*(CASES | {"number": ("regression", {}, [("0", (1,))], None)})[case])
    responding = responding_of(entry, result, IMAGE)
    judge = Judge(responding.quality(), None)
    run = DeviceRun(SimpleNamespace(responding=responding), Source("folder", []), None, judge=judge)
    run._judged(Sample(None, 0, 2, (np.array(2),)), None)
    assert judge.judged == judged


BOXES = [
    (np.array([[1, 2, 3, 4]], np.float32), np.array([2]), np.array([True])),
    (np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool)),
    (np.array([[0, 0, 3, 4], [5, 5, 9, 9]], np.float32), np.array([0, 1]), np.array([False, False])),
]


@pytest.mark.parametrize(
    "rows",
    [
        BOXES,
        [(np.array(label),) for label in (3, 1)],
        [(np.full((2, 3), value, np.uint8),) for value in (0, 255)],
        [(np.array([0.5, 1.5]),), (np.array([2.0, 3.0]),)],
    ],
    ids=["boxes", "classes", "masks", "numbers"],
)
def test_targets_are_read_as_they_were_stored(rows):
    file = io.BytesIO()
    np.savez(file, **stored_targets(rows))
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        found = read_targets(dict(arrays), len(rows), "samples")
    for given, read in zip(rows, found, strict=True):
        for one, other in zip(given, read, strict=True):
            np.testing.assert_array_equal(one, other)
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert stored_targets([(), ()]) == {}
    assert read_targets({}, 2, "samples") is None


@pytest.mark.parametrize(("changes", "message"), [
    ({"offsets": None}, "it has boxes, and no offsets"),
    ({"boxes": np.zeros((3, 5))}, r"\(n, 4\)"),
    ({"boxes": np.zeros(()), "crowd": None}, r"\(n, 4\)"),
    ({"classes": np.zeros(3)}, "whole numbers"),
    ({"classes": np.zeros(2, int)}, "are expected"),
    ({"offsets": np.array([0, 2, 1, 3])}, "4 numbers that ascend from 0 to 3"),
    ({"offsets": np.array([0, 1, 1, 4])}, "4 numbers that ascend from 0 to 3"),
    ({"offsets": np.array([0, 1, 3])}, "4 numbers that ascend"),
    ({"boxes": None, "y": np.zeros((2, 4))}, "3 targets are expected"),
    ({"boxes": None, "y": np.array(["a", "b", "c"])}, "3 targets are expected"),
])  # fmt: skip
def test_stored_targets_that_are_none_are_refused(changes, message):
    arrays = {key: value for key, value in (stored_targets(BOXES) | changes).items() if value is not None}
    with pytest.raises(DataError, match=message):
        read_targets(arrays, 3, "mine.npz")
