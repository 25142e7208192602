"""What `splitimpera doctor` finds."""

from __future__ import annotations

import sys

import pytest

from splitimpera import installation
from splitimpera.core.extras import EXTRAS
from splitimpera.installation import USES, checks


@pytest.fixture
def found():
    return {check.name: check for check in checks()}


def test_everything_that_the_tests_have_is_there(found):
    assert {name: check.found for name, check in found.items() if check.state == "missing"} == {}
    assert found["ONNX Runtime"].found[0].isdigit()
    assert "torch" in found["[design]"].found


def test_each_extra_says_what_it_is_for():
    assert USES.keys() == set(EXTRAS.values())


def test_a_missing_library_names_its_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    found = {check.name: check for check in checks()}
    assert (found["[ray]"].state, found["[ray]"].found) == ("missing", "without ray")
    assert found["[ray]"].advice.endswith("pip install 'split-et-impera[ray]'")
    assert found["[design]"].found == "without scikit-learn"


def test_a_cache_that_cannot_be_written_is_told(monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(file / "folder"))
    check = installation._cache()
    assert check.state == "note"
    assert "SPLITIMPERA_CACHE" in check.advice


def test_nothing_is_made_by_looking(monkeypatch, tmp_path):
    monkeypatch.setenv("SPLITIMPERA_CACHE", str(tmp_path / "folder"))
    assert "0 B" in installation._cache().found
    assert not (tmp_path / "folder").exists()


def test_a_late_clock_is_told(monkeypatch):
    monkeypatch.setattr(installation.time, "perf_counter", iter(range(1000)).__next__)
    assert installation._clock().state == "note"


def test_a_broken_torch_is_told(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "torch":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    check = installation._torch()
    assert (check.state, check.found) == ("missing", "RuntimeError: operator torchvision::nms does not exist")
