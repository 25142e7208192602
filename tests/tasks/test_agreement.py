"""Agreement: what of a network's results is compared, and how."""

from __future__ import annotations

import pytest

from splitimpera.core.errors import ModelError, ScenarioError
from splitimpera.tasks.making import TASKS, make_task
from splitimpera.tasks.task import Output

MASKS, CLASSES, NUMBERS = Output("logits", (4, 8, 8)), Output("class", (3,)), Output("depth", (1, 8, 8))


@pytest.mark.parametrize(
    ("outputs", "options", "kind", "place"),
    [
        ([MASKS, CLASSES, NUMBERS], {}, "segmentation", 0),
        ([MASKS, CLASSES, NUMBERS], {"output": "class"}, "classification", 1),
        ([MASKS, CLASSES, NUMBERS], {"output": "depth"}, "regression", 2),
        ([CLASSES, MASKS], {}, "segmentation", 1),
        ([CLASSES, MASKS], {"output": "class"}, "classification", 0),
        ([CLASSES, Output("1", (4, 8, 8))], {}, "classification", 0),
        ([MASKS, CLASSES], {"output": "class", "of": "regression"}, "regression", 1),
    ],
)
def test_the_output_that_is_named_says_what_it_is(outputs, options, kind, place):
    made = make_task("agreement", options)
    assert made.options() == options
    fitted = made.fitted(outputs)
    assert (fitted.inner.name, fitted.inner.place) == (kind, place)


def test_an_output_that_is_not_there_is_said():
    with pytest.raises(ModelError, match="returns no 'mask'"):
        make_task("agreement", {"output": "mask"}).fitted([MASKS, CLASSES])


def test_keys_are_those_of_the_task_it_is_of():
    assert make_task("agreement", {"of": "segmentation", "ignore": 7}).given == (("ignore", 7),)
    for options, message in (
        ({"ignore": 7}, "task.ignore: the task agreement has no such key; known: of, output"),
        ({"of": "detection", "output": "0"}, "task.output: the task agreement has no such key; known: of, format"),
        ({"of": "segmentation", "ignore": "x"}, "task.ignore: x: input should be a valid integer"),
        ({"output": 1.5}, "task.output: 1.5: input should be"),
    ):
        with pytest.raises(ScenarioError, match=message):
            make_task("agreement", options)


@pytest.mark.parametrize("kind", [kind for kind in TASKS.names() if kind != "agreement"])
def test_options_make_the_same_task_again(kind):
    """Those that are as usual are left out; whatever is given comes back."""
    usual = TASKS[kind]()
    given = (
        {"output": "b", "ignore": 3, "background": 2, "fallback": 0.5, "most": 7}
        if kind != "detection"
        else {"most": 7}
    )
    options = {key: value for key, value in given.items() if key in usual.keys}
    assert make_task(kind, {}).options() == {}
    assert make_task(kind, options).options() == options != {}
    assert make_task(kind, make_task(kind, options).options()) == TASKS[kind](**options)
