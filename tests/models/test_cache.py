from __future__ import annotations

import pytest
import torch
from torch import nn

from splitimpera.errors import OutputError
from splitimpera.models import recipes
from splitimpera.models.cache import read_cached, write_cached
from splitimpera.models.recipes import Recipe, trained


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
    assert [path.name for path in cache.iterdir()] == ["a"]


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:10], lambda b: b[:0], lambda b: b[:40] + b"x" + b[41:]]
)
def test_a_damaged_or_half_written_file_is_as_good_as_none(cache, damage):
    write_cached("a", b"some content that is long enough")
    (cache / "a").write_bytes(damage((cache / "a").read_bytes()))
    assert read_cached("a") is None


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path / "cache"))
    with pytest.raises(OutputError, match="SPLITIMPERA_CACHE"):
        write_cached("a", b"content")


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


def test_training_does_not_disturb_the_callers_randomness(cache, recipe):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    trained(recipe)
    assert torch.equal(torch.rand(1), expected)
