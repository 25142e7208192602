"""A first scenario for somebody's own network and data."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from PIL import Image
from test_cli import here

from splitimpera.core.errors import DataError, ModelError
from splitimpera.drafting import draft
from splitimpera.method import design
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

def one_number():
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0))

def numbers():
    return X, torch.rand(40)

def values():
    return X, torch.rand(40, 2) * 3

def small_only():
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 30 * 30, 3))

def few_classes():
    return X, torch.arange(40) % 20

made = classifier()

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


def photos(folder, classes=("ant", "bee", "cat"), sizes=True):
    for place, name in enumerate(classes):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(6):
            size = (40 + place, 50 + number) if sizes else (40, 50)
            Image.new("RGB", size, (40 * number, 80 * place, 0)).save(folder / "photos" / name / f"{number}.png")


@pytest.mark.parametrize("sizes", [True, False])
def test_images_are_resized_to_what_the_network_takes(folder, sizes):
    photos(folder, sizes=sizes)
    text = draft("own.py:small_only", "photos", folder)
    assert yaml.safe_load(text)["data"]["size"] == [32, 32]
    assert yaml.safe_load(text)["task"] == "classification"


def test_images_without_labels_are_judged_by_agreement(folder):
    photos(folder, ("",))
    said = []
    text = draft("own.py:small_only", "photos", folder, say=said.append)
    assert yaml.safe_load(text)["task"] == "agreement"
    assert said[0].startswith("No labels are used: the folder")
    assert "0 sub-folders, one a class is expected" in said[0]


def test_labels_that_do_not_fit_are_not_passed_over_in_silence(folder):
    _, _, said = drafted(folder, "classifier", "few_classes")
    assert "No labels are used: classification: sample " in said[0]


def test_arrays_in_a_file(folder):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(40, 144)).astype(np.float32)
    np.savez(folder / "numbers.npz", inputs=inputs, targets=rng.normal(size=(40, 2)).astype(np.float32))
    assert yaml.safe_load(draft("own.py:regressor", "numbers.npz", folder))["task"] == "regression"


def test_each_reason_is_said_once(folder):
    photos(folder)
    with pytest.raises(ModelError) as caught:
        draft("own.py:classifier", "photos", folder)
    assert str(caught.value).count("to have 1 channels") == 1
    assert "classification, agreement: the network refuses" in caught.value.problem
    assert "--data file.py:factory" in str(caught.value)


def test_an_empty_folder_has_no_images(folder):
    (folder / "photos").mkdir()
    with pytest.raises(ModelError, match=r"no task fits both network and data \(agreement: .* has no images\)"):
        draft("own.py:classifier", "photos", folder)


def test_a_network_is_named_by_a_function(folder):
    with pytest.raises(ModelError, match=r"is a network, not a function.*def make\(\): return made"):
        draft("own.py:made", "own.py:pictures", folder)
    with pytest.raises(ModelError, match=r"write for example own.py:make"):
        draft("own.py", "own.py:pictures", folder)


def test_paths_may_be_as_they_are_seen_from_here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "scenarios").mkdir()
    told = here(
        *("scenario", "init", "scenarios/first.yaml", "--for", "own.py:classifier", "--data", "own.py:pictures")
    )
    assert told.returncode == 0, told.stderr
    written = load_scenario(folder / "scenarios" / "first.yaml")
    assert (written.network.model, written.data.source) == ("../own.py:classifier", "../own.py:pictures")
    resolve(written)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "data"),
    [("classifier", "pictures"), ("small_only", "photos"), ("segmenter", "masks"), ("one_number", "numbers")],
)
def test_what_is_drafted_is_designed(folder, model, data):
    if data == "photos":
        photos(folder)
    text = draft(f"own.py:{model}", data if data == "photos" else f"own.py:{data}", folder)
    (folder / "scenario.yaml").write_text(text)
    result = design(folder / "scenario.yaml", replications=1, explore=False)
    assert result.evaluations


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
