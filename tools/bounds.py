"""Whether the lowest and the newest versions that pyproject.toml allows do, PyTorch apart.

    .venv/bin/python tools/bounds.py lowest newest

installs the wheel with either into fresh environments, makes a design with it, and runs the tests below. PyTorch has
the version of constraints.txt in both, for another one brings gigabytes.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from distributions import PINS, PROJECT, ROOT, CheckError, build, environment, install, run

EXTRAS = ("design", "language", "ray", "video")
TESTED_BY = ("hypothesis", "packaging", "pytest")
"""What the tests need themselves, in the versions of constraints.txt."""
TESTS = (
    "bundle",
    "codec",
    "core",
    "export/test_export.py",
    "deploy/test_datagrams.py",
    "partition",
    "qos",
    "records",
    "scenario",
)
SCENARIO = "examples/digits/local.yaml"
TORCH = "torch"


def lowest() -> Iterator[str]:
    """The lowest versions of all that the project asks for itself, as pins, PyTorch apart."""
    groups = [
        PROJECT["dependencies"],
        *(PROJECT["optional-dependencies"][name] for name in (*EXTRAS, "ans", "fec", "text")),
    ]
    for text in (text for group in groups for text in group if not text.startswith(PROJECT["name"])):
        name, version = re.fullmatch(r"([\w-]+)>=([\d.]+)", text).groups()
        if name != TORCH:
            yield f"{name}=={version}"


def pinned(*names: str) -> Iterator[str]:
    """Lines of constraints.txt."""
    yield from re.findall(rf"^(?:{'|'.join(names)})==\S+$", PINS.read_text(), re.MULTILINE)


def tried(which: str, wheel: Path, folder: Path) -> str:
    """Install one end of what is allowed, make a design with it and run the tests; returns how they went.

    Args:
        which: "lowest" or "newest".
        folder: An empty folder.

    Raises:
        CheckError: something fails, with the end of what it said.
    """
    begun = time.perf_counter()
    pins, tools = folder / "pins.txt", folder / "tools.txt"
    pins.write_text("\n".join([*(lowest() if which == "lowest" else ()), *pinned(TORCH)]) + "\n")
    tools.write_text("\n".join(pinned(*TESTED_BY)) + "\n")
    programs = environment(folder / "env", wheel, EXTRAS, pins=pins)
    install(programs, "--requirement", tools, pins=pins)
    quiet = {"OMP_NUM_THREADS": "1"}
    installed_s = time.perf_counter() - begun
    run(
        programs / "splitimpera",
        "design",
        ROOT / SCENARIO,
        "--no-explore",
        "--out",
        folder / "run",
        cwd=folder,
        more=quiet,
    )
    command = [programs / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    told = run(*command, *(ROOT / "tests" / name for name in TESTS), cwd=ROOT, more=quiet).stdout
    took_s = time.perf_counter() - begun
    return f"{told.strip().splitlines()[-1].strip('= ')}; {installed_s:.0f} s to install, {took_s:.0f} s in all"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="+", choices=["lowest", "newest"])
    failed = 0
    with TemporaryDirectory() as folder:
        built = build(Path(folder) / "dist")
        for which in parser.parse_args().which:
            place = Path(folder) / which
            place.mkdir()
            try:
                print(f"{which}: {tried(which, built.wheel, place)}", flush=True)
            except CheckError as error:
                failed += 1
                print(f"{which}: {error}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
