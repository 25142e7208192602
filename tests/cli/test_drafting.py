"""A first scenario for somebody's own network and data."""

from __future__ import annotations

import pytest
import yaml
from test_cli import here

from splitimpera.core.errors import DataError, ModelError
from splitimpera.drafting import draft
from splitimpera.scenario import load_scenario
from splitimpera.setting import resolve

OWN = """
import torch
from torch import nn
torch.manual_seed(0)
X = torch.rand(40, 1, 12, 12)

def classifier():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3))

def pictures():
    return X, classifier()(X).argmax(1)

def without():
    return X

def segmenter():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))

def masks():
    return X, (X[:, 0] * 2.9).long()

def regressor():
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 2))

def values():
    return X, torch.rand(40, 2) * 3

def broken():
    raise ValueError("no weights here")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def drafted(folder, model, data):
    said = []
    text = draft(f"own.py:{model}", f"own.py:{data}", folder, say=said.append)
    (folder / "scenario.yaml").write_text(text)
    resolve(load_scenario(folder / "scenario.yaml"))
    return yaml.safe_load(text), text, said


@pytest.mark.parametrize(
    ("model", "data", "task", "metric"),
    [
        ("classifier", "pictures", "classification", "accuracy >= "),
        ("classifier", "without", "agreement", "agreement >= 98 %"),
        ("segmenter", "masks", "segmentation", "miou >= "),
        ("regressor", "values", "regression", "rmse <= "),
    ],
)
def test_the_task_is_the_one_that_both_fit(folder, model, data, task, metric):
    found, text, said = drafted(folder, model, data)
    assert found["task"] == task
    assert metric in text
    assert f"Task {task}: float32 (1, 12, 12) -> float32" in said[-1]


def test_what_is_required_is_nearly_what_the_network_has(folder):
    found, text, _ = drafted(folder, "classifier", "pictures")
    assert found["requirements"][0].startswith("accuracy >= ")
    assert "the network has " in text
    assert "20 samples" in text or "validation" in text


def test_data_that_are_nowhere_are_refused(folder):
    with pytest.raises(DataError, match="no data are found at 'nowhere'"):
        draft("own.py:classifier", "nowhere", folder)


def test_a_network_that_cannot_be_made_says_why(folder):
    with pytest.raises(ModelError, match="no weights here"):
        draft("own.py:broken", "own.py:pictures", folder)


def test_network_and_data_that_nothing_joins_are_refused_with_reasons(folder):
    with pytest.raises(ModelError, match="no task fits both network and data"):
        draft("own.py:regressor", "digits", folder)


def test_one_option_needs_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = here("scenario", "init", "--for", "own.py:classifier")
    assert (told.returncode, told.stdout) == (2, "")
    assert "--data is missing" in told.stderr
    assert not (tmp_path / "scenario.yaml").exists()
