from __future__ import annotations

import os
import sys
import time

import pytest
import torch
from torch import nn

from splitimpera.core.cache import read_cached, usable_cache, write_cached
from splitimpera.core.errors import SplitImperaWarning
from splitimpera.core.files import STALE_S, TEMPORARY_SUFFIX
from splitimpera.models import recipes
from splitimpera.models.recipes import Recipe, trained


def files(folder):
    """What is kept there, beside the locks."""
    return [path for path in folder.iterdir() if path.name != ".locks"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def recipe():
    return Recipe("tiny", lambda: nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 10)), "digits", 1, 0.01)


def test_what_is_written_is_read(cache):
    write_cached("a", b"content")
    assert read_cached("a") == b"content"
    assert read_cached("b") is None
    assert [path.name for path in files(cache)] == ["a"]


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:10], lambda b: b[:0], lambda b: b[:40] + b"x" + b[41:]]
)
def test_a_damaged_or_half_written_file_is_as_good_as_none(cache, damage):
    write_cached("a", b"some content that is long enough")
    (cache / "a").write_bytes(damage((cache / "a").read_bytes()))
    assert read_cached("a") is None


def test_a_cache_that_cannot_be_written_says_what_to_do_and_stops_nothing(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path / "cache"))
    with pytest.warns(SplitImperaWarning, match="set SPLITIMPERA_CACHE to a folder that can be written"):
        write_cached("a", b"content")
    with pytest.warns(SplitImperaWarning, match="kept for this run only"):
        assert usable_cache() is None


@pytest.mark.parametrize("place", ["/proc/x", "/dev/full", "/dev/null/x", "x" * 300])
def test_without_a_cache_a_network_is_trained_all_the_same_and_the_user_hears_of_it_before(
    place, recipe, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPLITIMPERA_CACHE", place)
    fit = recipes._fit

    def fit_after_the_warning(*arguments):
        assert len(warned) == 1
        fit(*arguments)

    monkeypatch.setattr(recipes, "_fit", fit_after_the_warning)
    with pytest.warns(SplitImperaWarning) as warned:
        model = trained(recipe)
    assert len(warned) == 1
    assert not model.training


def test_what_killed_processes_left_goes_before_a_training(cache, recipe):
    left = cache / f".1-a{TEMPORARY_SUFFIX}"
    cache.mkdir()
    left.write_bytes(b"half")
    os.utime(left, (time.time() - 2 * STALE_S,) * 2)
    trained(recipe)
    assert [path.name for path in files(cache)] == [recipe.file_name()]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes with names")
def test_a_pipe_in_the_cache_does_not_hang(cache):
    cache.mkdir()
    os.mkfifo(cache / "a")
    assert read_cached("a") is None


def test_a_network_is_trained_once_and_again_when_its_file_is_damaged(cache, recipe, monkeypatch):
    fits = []
    fit = recipes._fit
    monkeypatch.setattr(recipes, "_fit", lambda *arguments: (fits.append(1), fit(*arguments)))
    first = trained(recipe)
    again = trained(recipe)
    assert len(fits) == 1
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    path = cache / recipe.file_name()
    path.write_bytes(path.read_bytes()[:-100])
    third = trained(recipe)
    assert len(fits) == 2
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), third.parameters(), strict=True))
    assert not third.training


def test_weights_of_another_architecture_under_the_same_name_are_made_anew(cache, recipe):
    from safetensors.torch import save

    write_cached(recipe.file_name(), save({"0.weight": torch.zeros(3)}))
    assert trained(recipe)[1].weight.shape == (10, 1024)


def test_a_caller_without_gradients_gets_the_same_weights(cache, recipe, monkeypatch):
    with torch.no_grad():
        weight = trained(recipe)[1].weight
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(cache / "other"))
    torch.testing.assert_close(trained(recipe)[1].weight, weight, rtol=0, atol=0)


def test_training_does_not_disturb_the_callers_randomness(cache, recipe):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    trained(recipe)
    assert torch.equal(torch.rand(1), expected)
