"""The check list of a release: every line has to pass before anything is handed out. Nothing is uploaded.

    make release

It takes half an hour and some gigabytes of downloads. The distributions that passed lie in dist/.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import bounds
import environments
from distributions import (
    ROOT,
    CheckError,
    Distributions,
    build,
    contents_of,
    metadata_of,
    run,
    same_wheel,
    versions_agree,
)

SCHEMAS = {
    "docs/scenario.schema.json": ("splitimpera.scenario.file_schema", "scenario"),
    "docs/study.schema.json": ("splitimpera.scenario.file_schema", "study"),
    "docs/results.schema.json": ("splitimpera.report.schema",),
    "docs/verification.schema.json": ("splitimpera.report.verified",),
}
DIST = ROOT / "dist"
TOLERANCE = 0.1
"""By so much installations may have grown or shrunk since they were measured."""
Row = tuple[str, str, float, str]


def clean_tree() -> str:
    """What is built is what is committed."""
    said = run("git", "status", "--porcelain", cwd=ROOT).stdout.strip()
    if said:
        raise CheckError(f"not committed: {', '.join(line[3:] for line in said.splitlines()[:5])}")
    return run("git", "rev-parse", "--short", "HEAD", cwd=ROOT).stdout.strip()


def schemas() -> str:
    """The schemas among the documents are what the models say."""
    for name, command in SCHEMAS.items():
        if run(sys.executable, "-m", *command, cwd=ROOT).stdout != (ROOT / name).read_text():
            raise CheckError(f"{name} is not up to date; run 'make schema'")
    return f"{len(SCHEMAS)} are up to date"


def make(target: str) -> Callable[[], str]:
    """What the Makefile does."""

    def made() -> str:
        run("make", target, cwd=ROOT, timeout_s=7200)
        return f"make {target}"

    return made


def as_measured(built: Distributions, folder: Path) -> str:
    """Fresh environments are as large as the document says."""
    place = folder / "environments"
    place.mkdir()
    now = environments.measured(built.wheel, place)["environments"]
    for row, noted in zip(now, json.loads(environments.MEASURED.read_text())["environments"], strict=True):
        if abs(row["mb"] - noted["mb"]) > TOLERANCE * noted["mb"]:
            what = f"{row['installation']} takes {row['mb']} MB, the document says {noted['mb']} MB"
            raise CheckError(f"{what}; run tools/environments.py and commit what it writes")
    return ", ".join(f"{row['installation']} {row['mb']} MB, --help {row['help_s']} s" for row in now)


def checks(built: Distributions, folder: Path) -> dict[str, Callable[[], object]]:
    """What there is to check of what was built, quick things first."""

    def end(which: str) -> Callable[[], str]:
        def tried() -> str:
            (folder / which).mkdir()
            return bounds.tried(which, built.wheel, folder / which)

        return tried

    return {
        "metadata": lambda: metadata_of(built),
        "contents": lambda: contents_of(built),
        "same wheel from the checkout": lambda: same_wheel(built, folder / "again"),
        "fresh environments": lambda: as_measured(built, folder),
        "base installation, types": make("package"),
        "lowest versions": end("lowest"),
        "newest versions": end("newest"),
        "checks": make("check"),
        "documents": make("docs"),
    }


def passed(name: str, check: Callable[[], object], rows: list[Row]) -> bool:
    """Do a check and note what came of it."""
    begun = time.perf_counter()
    try:
        outcome, said = "passed", str(check() or "")
    except CheckError as error:
        outcome, said = "FAILED", str(error)
    except subprocess.TimeoutExpired as error:
        outcome, said = "FAILED", f"took longer than {error.timeout:.0f} s"
    rows.append((name, outcome, time.perf_counter() - begun, said))
    print(f"{name}: {outcome} {said}", flush=True)
    return outcome == "passed"


def main() -> int:
    rows: list[Row] = []
    # what is not committed, and what has no version, is not worth half an hour
    first = {
        "clean tree": clean_tree,
        "version and changelog": lambda: versions_agree(released=True),
        "schemas": schemas,
    }
    begun = [passed(name, check, rows) for name, check in first.items()]
    if all(begun):
        with TemporaryDirectory() as folder:
            made: list[Distributions] = []
            if passed("build", lambda: made.append(build(Path(folder) / "dist")), rows):
                for name, check in checks(made[0], Path(folder)).items():
                    passed(name, check, rows)
            if all(outcome == "passed" for _, outcome, _, _ in rows):
                shutil.rmtree(DIST, ignore_errors=True)
                shutil.copytree(made[0].wheel.parent, DIST)
    print(f"\n{'check':30} {'':8} {'s':>6}")
    for name, outcome, took_s, _ in rows:
        print(f"{name:30} {outcome:8} {took_s:6.0f}")
    failed = [name for name, outcome, _, _ in rows if outcome != "passed"]
    print(
        f"\nnot to be released: {', '.join(failed)}" if failed else f"\nall passed: {DIST.name}/ holds what to hand out"
    )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
