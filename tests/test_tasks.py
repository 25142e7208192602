"""Designs of every task, with labels and without."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import splitimpera as sei
from splitimpera.core.errors import SplitImperaError
from splitimpera.scenario import Scenario

FILE = Path(__file__).with_name("small_tasks.py")
TASKS = {
    "classification": ("classifier", "classes", "accuracy"),
    "multilabel": ("classifier", "labels", "f1"),
    "regression": ("locator", "centres", "rmse"),
    "regression of maps": ("mapper", "brightness", "mae"),
    "segmentation": ("segmenter", "masks", "miou"),
    "detection": ("detector", "boxed", "map50"),
}


def scenario(network, data, task, *requirements, **more):
    return Scenario.model_validate(
        {
            "network": {"model": f"{FILE}:{network}"},
            "data": {"source": f"{FILE}:{data}"},
            "task": task,
            "devices": [{"name": "camera", "preset": "cortex-m7"}, {"name": "server", "preset": "t4"}],
            "links": [{"rate": "10 Mbit/s", "delay": "2 ms", "loss": 0.2, "mtu": "200 B"}],
            "workload": {"fps": 20, "frames": 1000, "deadline": "30 ms"},
            "plans": {"cuts": [1], "codecs": ["float32", "uint8"], "transports": ["tcp", "udp"]},
            "requirements": ["latency_p95 <= 100 ms", *requirements],
        }
        | more
    )


def designed(*arguments, **more):
    return sei.design(scenario(*arguments, **more), replications=2, explore=False, every_accuracy=True)


def qualities(design):
    return {one.plan.id: one for one in design.evaluations}


SLOWLY = [pytest.param(name, marks=pytest.mark.slow) for name in TASKS if name not in ("segmentation", "detection")]


@pytest.mark.parametrize("name", ["segmentation", "detection", *SLOWLY])
def test_a_design_of_every_task(name, monkeypatch):
    """Whatever loses nothing is as good as the network; lost packets make it worse, whichever direction that is."""
    monkeypatch.setattr("splitimpera.studies.bench.response_bytes", lambda _: pytest.fail("nobody asked for responses"))
    network, data, metric = TASKS[name]
    lower = metric in ("rmse", "mae")
    design = designed(network, data, name.split()[0], f"{metric} {'<=' if lower else '>='} {0.9 if lower else 0.01}")
    found = qualities(design)
    assert {one.quality_metric for one in found.values()} == {metric}
    whole = found["LC"]
    assert whole.intervals[metric][0] <= whole.quality <= whole.intervals[metric][1]
    for one in found.values():
        worse = one.quality - whole.quality if lower else whole.quality - one.quality
        if one.plan.hops and "float32" in one.plan.id:
            assert worse == pytest.approx(0, abs=1e-6) if "tcp" in one.plan.id else worse > -0.02, one.plan.id
    lossy = [one for one in found.values() if one.plan.hops and "float32-udp" in one.plan.id]
    # the color of which there is most is still that when some of the image is missing
    assert name == "classification" or any(abs(one.quality - whole.quality) > 1e-3 for one in lossy)
    assert design.recommendation.chosen is not None


@pytest.mark.parametrize("name", ["segmentation", "detection", *SLOWLY])
def test_without_labels_answers_are_held_to_those_of_the_network(name):
    network, _, _ = TASKS[name]
    kind = name.split()[0]
    task = "agreement" if kind in ("classification", "segmentation") else {"kind": "agreement", "of": kind}
    design = designed(network, "alone", task, "agreement >= 50 %")
    found = qualities(design)
    assert found["LC"].quality == 1.0
    assert found["LC"].intervals["agreement"] == (1.0, 1.0)  # it is the network: no sample could say otherwise
    assert design.base.value == 1.0
    for one in found.values():
        assert 0 <= one.quality <= 1
        if "float32" in one.plan.id and "tcp" in one.plan.id:
            assert one.quality == 1.0
    assert min(one.quality for one in found.values() if "udp" in one.plan.id) < 1
    assert design.recommendation.chosen is not None


@pytest.mark.parametrize(
    ("network", "data", "task", "requirement", "message"),
    [
        ("segmenter", "masks", "segmentaton", "fps >= 1", "task: no task is called 'segmentaton'; did you mean 'segm"),
        ("segmenter", "masks", {"kind": "segmentation", "nms_iou": 0.5}, "fps >= 1", "task.nms_iou: the task segment"),
        ("segmenter", "masks", {"kind": "segmentation", "ignore": "x"}, "fps >= 1", "task.ignore: x: input should be"),
        (
            "detector",
            "boxed",
            {"kind": "detection", "format": "yoloo"},
            "fps >= 1",
            "task.format: yoloo: input should",
        ),
        ("classifier", "classes", {"kind": "agreement", "of": "speech"}, "fps >= 1", "no agreement of 'speech'"),
        ("segmenter", "masks", "segmentation", "accuracy >= 90 %", "its predictions are judged by miou; write 'miou"),
        ("segmenter", "masks", {"kind": "segmentation", "output": "masks"}, "fps >= 1", "returns no 'masks'"),
        (
            "classifier",
            "masks",
            "segmentation",
            "fps >= 1",
            r"'0' float32 \(3,\) a sample, one logit a class and p",
        ),
        ("segmenter", "classes", "classification", "fps >= 1", "one logit a class is expected"),
        ("classifier", "boxed", "detection", "fps >= 1", "the format 'boxes_scores'"),
        ("segmenter", "classes", "segmentation", "fps >= 1", "masks of class indices"),
        ("detector", "masks", "detection", "fps >= 1", "boxes"),
        ("locator", "classes", "regression", "fps >= 1", r"a target of shape \(\), the network predicts \(2,\)"),
        ("classifier", "alone", "classification", "fps >= 1", "pair"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_long(network, data, task, requirement, message):
    with pytest.raises(SplitImperaError, match=message):
        designed(network, data, task, requirement)


def test_a_task_of_ones_own_as_the_documentation_has_it(tmp_path):
    document = (Path(__file__).parents[1] / "docs" / "tasks.md").read_text()
    code = document.split("```python\n")[1].split("```")[0]
    (tmp_path / "dice.py").write_text(code)
    keys = yaml.safe_load(document.split("```python\n")[1].split("```yaml\n")[1].split("```")[0])
    kind = f"{tmp_path}/{keys['task']['kind']}"
    design = designed("segmenter", "masks", keys["task"] | {"kind": kind}, "score >= 1 %")
    found = qualities(design)
    assert 0 < found["LC"].quality <= 1
    assert min(one.quality for one in found.values()) < found["LC"].quality
    with pytest.raises(SplitImperaError, match="its predictions are judged by score"):
        designed("segmenter", "masks", keys["task"] | {"kind": kind}, "miou >= 80 %")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def make():\n    return 5", "which is no task: it has no"),
        ("def make(of):\n    return 5", "calling .*make.* failed: TypeError"),
        ("def other():\n    return 5", "has no function 'make'"),
    ],
)
def test_a_factory_that_makes_no_task_is_named(tmp_path, code, message):
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(SplitImperaError, match=message):
        designed("segmenter", "masks", f"{tmp_path}/mine.py:make", "fps >= 1")


def test_without_any_object_nothing_can_be_designed():
    with pytest.raises(SplitImperaError, match="in the part 'validation' there is nothing to be found"):
        designed("detector", "empty", "detection")
