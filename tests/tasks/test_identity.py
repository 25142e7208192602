"""What tells one task from another: parameters, code, and what it was fitted to; the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from splitimpera.core.errors import ScenarioError
from splitimpera.models.imports import run_factory
from splitimpera.tasks.agreement import Agreement
from splitimpera.tasks.average_precision import AveragePrecision
from splitimpera.tasks.identity import identity
from splitimpera.tasks.task import Output

CODE = """
from dataclasses import dataclass, field, replace
from splitimpera.tasks.classification import Classification, RightClass
from splitimpera.tasks.task import Plain

@dataclass(frozen=True)
class Weighted(Classification):
    weights: dict = field(default_factory=dict)
    named: frozenset = frozenset({"cat", "dog", "cow", "hen"})

class Bare(Plain):  # no dataclass, no keys
    name, targets, metrics = "bare", "class", ("score",)

    def __init__(self, of):
        self.of, self._seen = of, []

    @property
    def quality(self):
        return RightClass("score", self.of)

def make(**weights):
    return Weighted(weights=weights)

def bare(of=1):
    return Bare(of)

def inside(of=1):
    class Inside(Bare):
        @property
        def quality(self):
            return RightClass("score", of)  # SCORE
    return Inside(0)
"""


@pytest.fixture
def made(tmp_path):
    """A task of a factory in a file whose code may change, and its identity."""

    def make(factory, code=CODE, **options):
        (tmp_path / "mine.py").write_text(code)
        task = run_factory(f"mine.py:{factory}", tmp_path, ScenarioError, **options)
        return task, identity(task)

    return make


def test_tasks_of_ones_own_differ_by_their_parameters_and_their_code(made):
    found = [
        made(*arguments, **options)[1]
        for *arguments, options in (
            *(("make", {}), ("make", {"cat": 1.0}), ("make", {"cat": 2.0}), ("make", CODE + "# changed", {"cat": 2.0})),
            *(("bare", {}), ("bare", {"of": 2}), ("bare", CODE.replace('"score"', '"error"'), {})),
            *(("inside", {}), ("inside", {"of": 2}), ("inside", CODE.replace("of)  # S", "2 * of)  # S"), {})),
        )
    ]
    assert len({*found}) == len(found)
    task, again = made("bare")
    assert again == found[4]
    assert made("make", cat=1.0)[1] == found[1]
    assert made("inside")[1] == found[7]
    task._seen.append(1)  # which may be a parameter: nobody knows
    assert identity(task) != again
    assert task.options() == {}


def test_one_task_is_the_same_in_every_process(made, tmp_path):
    made("make")
    told = [
        subprocess.run(
            [sys.executable, "-c", f"import mine; from {identity.__module__} import *; print(identity(mine.{call}))"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, call in (("1", "make(a=1, b=2)"), ("2", "make(b=2, a=1)"), ("1", "inside(2)"), ("2", "inside(2)"))
    ]
    assert told[0] == told[1] != told[2] == told[3]


def test_what_a_task_may_hold():
    """Arrays count by type, shape and values, whatever else by what it is made of; nothing by where it lies."""
    told = [
        identity(SimpleNamespace(quality=None, held=held))
        for held in (
            *(np.zeros(2), np.zeros(2, np.float32), np.zeros((1, 2)), np.array([0.0, None]), np.array(["", ""])),
            *([0.0, 0.0], 0, 0.0, False, None, "0", b"0", {"0": 0}, {0}, Path("0"), Path("1"), np.float64, np, np.add),
            *(partial(min, 0), partial(min, 1), partial(max, 0), object(), lambda: 0, lambda: 1, AveragePrecision(2)),
            *(AveragePrecision(3), AveragePrecision(2, most=2)),
        )
    ]
    assert [times for times in Counter(told).values() if times > 1] == []
    used, itself = AveragePrecision(2), SimpleNamespace(quality=None)
    used.vectors(np.stack([used.count_lost((np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool)))]))
    itself.held = used
    assert identity(itself) == told[-3]
    itself.held = itself
    assert identity(itself) == identity(itself)


def agreement(largest=1.0):
    return Agreement().fitted([Output("0", (2, 2))]).agreeing([(np.zeros((2, 2)),), (np.full((2, 2), largest),)])


def test_agreements_differ_by_what_is_near():
    assert identity(agreement()) == identity(agreement())
    assert len({identity(agreement(largest)) for largest in (1.0, 2.0, 1.0 + 1e-12)}) == 3
    assert identity(Agreement().fitted([Output("0", (2,))])) != identity(Agreement().fitted([Output("0", (3,))]))
