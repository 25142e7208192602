"""Whether all that the base installation needs has wheels for x86-64 and aarch64, and how large they are.

Nothing is compiled on a device: pip takes the pinned versions as wheels alone, once for each kind of processor, and the
check fails where one has none. It downloads some 130 MB from the package index.

    .venv/bin/python benchmarks/wheels.py
    .venv/bin/python benchmarks/wheels.py --extra ans    # an extra besides
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
PROCESSORS = ("x86_64", "aarch64")
PYTHON = "3.11"
GLIBC_MINORS = range(17, 29)  # 2.28 is that of Debian 10; pip wants each older one named


def requirements(extras: Sequence[str] = ()) -> list[str]:
    """What the base installation asks for, and some extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *(text for name in extras for text in project["optional-dependencies"][name])]


def wheels(processor: str, wanted: Sequence[str]) -> dict[str, int]:
    """The wheels of some requirements and of all that they bring, in bytes.

    Raises:
        SystemExit: one of them has no wheel for this processor.
    """
    tags = [f"manylinux_2_{minor}_{processor}" for minor in GLIBC_MINORS] + [f"manylinux2014_{processor}"]
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--only-binary=:all:", f"--python-version={PYTHON}", "--dest", folder]
        command += ["--constraint", str(ROOT / "constraints.txt"), *(f"--platform={tag}" for tag in tags), *wanted]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            raise SystemExit(f"{processor}: {run.stderr.strip()}")
        return {path.name: path.stat().st_size for path in sorted(Path(folder).iterdir())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extra", action="append", default=[], help="check an extra too")
    wanted = requirements(parser.parse_args().extra)
    sizes = {processor: wheels(processor, wanted) for processor in PROCESSORS}
    by_name = {
        processor: {wheel.partition("-")[0]: size for wheel, size in of_one.items()}
        for processor, of_one in sizes.items()
    }
    print("| package | " + " | ".join(f"{processor}, MB" for processor in PROCESSORS) + " |")
    print("|---|" + "---:|" * len(PROCESSORS))
    for name in sorted(
        set().union(*by_name.values()), key=lambda name: -max(of.get(name, 0) for of in by_name.values())
    ):
        print(
            f"| {name} | "
            + " | ".join(f"{by_name[processor].get(name, 0) / 1e6:.2f}" for processor in PROCESSORS)
            + " |"
        )
    totals = " | ".join(f"{sum(by_name[processor].values()) / 1e6:.1f}" for processor in PROCESSORS)
    print(f"| all {len(by_name[PROCESSORS[0]])} | {totals} |")


if __name__ == "__main__":
    main()
