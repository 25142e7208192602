"""constraints.txt pins all that `make` installs, and `make` installed what it pins."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = {
    canonicalize_name(name): pin
    for name, pin in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
}
BROUGHT_BY_PYTHON = {"pip", "setuptools"}  # of the virtual environment itself


def of_extras(*names):
    """What some extras ask for, with the extras that they name themselves."""
    project = PROJECT["project"]
    for text in [text for name in names for text in project["optional-dependencies"][name]]:
        requirement = Requirement(text)
        if requirement.name == project["name"]:
            yield from of_extras(*requirement.extras)
        else:
            yield text


def asked_for():
    """All requirements, direct and brought along, that hold on this machine, with the extras that they ask for."""
    project = PROJECT["project"]
    texts = [*project["dependencies"], *PROJECT["build-system"]["requires"], *of_extras("dev", "pins")]
    pending, seen = [(Requirement(text), "") for text in texts], set()
    while pending:
        requirement, extra = pending.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                try:
                    pending += [(Requirement(text), wanted) for text in requires(name) or ()]
                except PackageNotFoundError:
                    continue  # of the extra "pins", which `make` installs when it is asked to compile them
    return {name for name, _ in seen}


def test_everything_that_is_asked_for_or_brought_along_is_pinned():
    assert not asked_for() - PINS.keys() - BROUGHT_BY_PYTHON


def test_what_is_installed_is_what_is_pinned():
    if version("torch").split("+")[0] != PINS["torch"]:
        pytest.skip("this environment was not set up by make")
    installed = {}
    for name in asked_for() & PINS.keys():
        try:
            installed[name] = version(name).split("+")[0]
        except PackageNotFoundError:
            continue
    assert len(installed) > 60
    assert installed == {name: PINS[name] for name in installed}


def test_the_pins_hold_on_every_platform():
    assert all("+" not in pin for pin in PINS.values())
    text = (ROOT / "constraints.txt").read_text()
    assert "make constraints" in text
    assert "://" not in text
