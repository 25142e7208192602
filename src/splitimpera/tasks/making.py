"""Tasks by name, made with the keys that a scenario or a manifest gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from splitimpera.core.errors import ScenarioError, SplitImperaError, listed, shown
from splitimpera.core.registry import Registry
from splitimpera.tasks.agreement import Agreement
from splitimpera.tasks.classification import Classification
from splitimpera.tasks.detection import Detection
from splitimpera.tasks.language import Language
from splitimpera.tasks.multilabel import Multilabel
from splitimpera.tasks.qualities import QUALITIES
from splitimpera.tasks.regression import Regression
from splitimpera.tasks.segmentation import Segmentation
from splitimpera.tasks.task import Task

TASKS: Registry[type[Any]] = Registry("task")
for _task in (Classification, Multilabel, Regression, Segmentation, Detection, Language, Agreement):
    TASKS.register(_task.name)(_task)


def make_task(kind: str, options: Mapping[str, Any]) -> Task:
    """A task by its name, not fitted yet.

    Raises:
        ScenarioError: a key that it does not have.
        UnknownNameError: there is no such task.

    >>> make_task("segmentation", {"ignore": 0}).options()
    {'ignore': 0}
    """
    made = TASKS[kind]
    known = made.known_keys(options)
    for key in options:
        if key not in known:
            hint = f"known: {listed([*known])}" if known else "leave it out"
            raise ScenarioError(f"the task {kind} has no such key", where=f"task.{shown(key)}", hint=hint)
    for key, value in options.items():
        try:
            TypeAdapter(known[key]).validate_python(value, strict=True)
        except ValidationError as failure:
            said = failure.errors()[0]["msg"]
            raise ScenarioError(f"{shown(value)}: {said[0].lower()}{said[1:]}", where=f"task.{key}") from None
    try:
        task: Task = made.from_options(options)
    except SplitImperaError as error:
        raise error.at(f"task.{error.where}" if error.where in known else error.where) from None
    return task


def metric_of(task: Task, asked: Sequence[str]) -> str:
    """The quality that a design of this task is judged by: the first that somebody asks for, else the task's first.

    Args:
        asked: metrics of requirements and objective, in order.
    """
    wanted = [name.removeprefix("on_time_") for name in asked]
    return next((name for name in wanted if name in task.metrics), task.metrics[0])


def made_task(made: object, name: str) -> Task:
    """What a user's factory returned, as far as it can be seen to be a task.

    Raises:
        ScenarioError: it is none.
    """
    asked = "name targets metrics options fitted check answer expected scalar loss group".split()
    missing = [each for each in asked if not hasattr(made, each)]
    if missing:
        raise ScenarioError(
            f"'{shown(name)}' returns {shown(type(made).__name__)}, which is no task: it has no {listed(missing)}"
        )
    unknown = [metric for metric in made.metrics if metric not in QUALITIES]  # type: ignore[attr-defined]
    if unknown:
        raise ScenarioError(
            f"'{shown(name)}' has a metric that is not known: {listed(unknown)}",
            hint="call it 'score' or 'error'",
        )
    return made  # type: ignore[return-value]
