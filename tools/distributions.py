"""The source distribution and the wheel: built, looked through, and installed where nothing else is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "constraints.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_INSTALLED = ("tests/", "tools/", "benchmarks/", "docs/", "examples/", "data/")
TIMEOUT_S = 1800


class CheckError(Exception):
    """What a check found, in words."""


@dataclass(frozen=True)
class Distributions:
    """What is handed out: the sources, and the wheel that was built from them."""

    sdist: Path
    wheel: Path


def run(
    *command: str | Path, cwd: Path, more: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """Run a program that sees nothing of this checkout.

    Raises:
        CheckError: it failed, with the end of what it said.
    """
    words = [str(word) for word in command]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | dict(more or {})
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise CheckError(f"{' '.join([Path(words[0]).name, *words[1:4]])} ended with {done.returncode}: {said}")
    return done


def build(out: Path) -> Distributions:
    """Build both into an empty folder, the wheel from the sources as they were packed.

    Raises:
        CheckError: the build fails.
    """
    pinned = dict.fromkeys(("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"), str(PINS))
    run(sys.executable, "-m", "build", "--outdir", out, ROOT, cwd=ROOT, more=pinned)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return Distributions(sdist, wheel)


def contents_of(built: Distributions) -> None:
    """Hold what is in both to what is in the checkout: all that runs is there, and in the wheel nothing else.

    Raises:
        CheckError: something is missing, or is too much.
    """
    wheel = zipfile.ZipFile(built.wheel)
    packed = {name for name in wheel.namelist() if not name.endswith("/")}
    # what is not committed is no part of a release, though it may be part of the wheel here
    source = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and not {"__pycache__"} & {*path.parts} and ".egg-info" not in str(path)
    }
    about = {name for name in packed if ".dist-info/" in name}
    faults = [f"the wheel lacks {name}" for name in sorted(source - packed)]
    faults += [f"the wheel has {name}, too" for name in sorted(packed - source - about)]
    faults += [f"the wheel has {name}" for name in sorted(packed) if name.startswith(NOT_INSTALLED)]
    if "splitimpera/py.typed" not in packed:
        faults.append("the wheel has no py.typed")
    if not any(name.endswith("licenses/LICENSE") for name in about):
        faults.append("the wheel has no LICENSE")
    with tarfile.open(built.sdist) as archive:
        unpacked = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "LICENSE", "Makefile"}
    wanted |= {"constraints.txt", "tests/conftest.py", "docs/install.md", *(f"src/{name}" for name in source)}
    faults += [f"the sources lack {name}" for name in sorted(wanted - unpacked)]
    if faults:
        raise CheckError("; ".join(faults[:10]))


def same_wheel(built: Distributions, folder: Path) -> None:
    """Hold the wheel, which was built from the packed sources, to one from the checkout, byte by byte.

    Raises:
        CheckError: they are not the same.
    """
    pinned = dict.fromkeys(("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"), str(PINS))
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=ROOT, more=pinned)
    one, other = (
        {entry.filename: entry.CRC for entry in zipfile.ZipFile(path).infolist()}
        for path in (built.wheel, folder / built.wheel.name)
    )
    if one != other:
        differing = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
        raise CheckError(f"a wheel from the sources and one from the checkout differ in {', '.join(differing[:5])}")


def metadata_of(built: Distributions) -> None:
    """Hold the metadata to what indexes take, the README that they show included.

    Raises:
        CheckError: they would refuse it, or warn of it.
    """
    run(sys.executable, "-m", "twine", "check", "--strict", built.sdist, built.wheel, cwd=built.wheel.parent)


def environment(folder: Path, wheel: Path, extras: Sequence[str] = (), pins: Path = PINS) -> Path:
    """A fresh environment with the wheel and some extras in it; returns the folder of its programs.

    Raises:
        CheckError: it cannot be installed.
    """
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    programs = folder / "bin"
    what = f"{wheel}[{','.join(extras)}]" if extras else wheel
    install(programs, what, pins=pins)
    return programs


def install(programs: Path, *what: str | Path, pins: Path) -> None:
    """Install into an environment what wheels there are of, within pins.

    Raises:
        CheckError: it cannot be installed.
    """
    options = ("--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--constraint", pins)
    run(programs / "python", "-m", "pip", "install", *options, *what, cwd=programs.parent)


def version_of(text: str) -> str:
    """The version that `core/version.py` names."""
    return re.search(r'__version__ = "([^"]+)"', text)[1]


def versions_agree(*, released: bool = False) -> str:
    """The version, which `core/version.py` names, and CITATION.cff and CHANGELOG.md agree with.

    Args:
        released: whether the changelog is to describe it, with its date, and nothing after it.

    Raises:
        CheckError: they do not agree.
    """
    version = version_of((ROOT / "src" / "splitimpera" / "core" / "version.py").read_text())
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    if cited is None or cited[1] != version:
        raise CheckError(f"CITATION.cff has version {cited and cited[1]}, core/version.py {version}")
    sections = re.findall(
        r"^## \[(.+?)\](?: - (\S+))?\n(.*?)(?=^## |\Z)", (ROOT / "CHANGELOG.md").read_text(), re.M | re.S
    )
    described = [(name, date) for name, date, _ in sections if name != "Unreleased"]
    if any(not re.fullmatch(r"\d{4}-\d\d-\d\d", date) for _, date in described):
        raise CheckError("CHANGELOG.md: a version has no date; write '## [1.2.3] - 2030-01-31'")
    if described and numbers(described[0][0]) > numbers(version):
        raise CheckError(f"CHANGELOG.md describes {described[0][0]}, core/version.py has {version}")
    if released:
        if not described or described[0][0] != version:
            raise CheckError(f"CHANGELOG.md has no section '## [{version}] - YYYY-MM-DD' at its top")
        if any(name == "Unreleased" and text.strip() for name, _, text in sections):
            raise CheckError(f"CHANGELOG.md: what is under Unreleased belongs to {version}")
    return version


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
