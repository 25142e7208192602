"""How large installations are and how soon they answer, measured in fresh environments.

    .venv/bin/python tools/environments.py

builds the wheel, installs it with each extra in turn, writes docs/environments.json, and from that the table in
docs/install.md. It downloads some gigabytes where PyTorch is not a build for CPUs alone.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from importlib.metadata import distributions as installed_in
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distributions import ROOT, build, environment, run

MEASURED = ROOT / "docs" / "environments.json"
DOCUMENT = ROOT / "docs" / "install.md"
INSTALLATIONS = {"base": (), "`[design]`": ("design",), "`[ray]`": ("ray",)}
STARTS = 10
BEGIN, END = "<!-- environments: written by tools/environments.py -->", "<!-- end of environments -->"


def measured(wheel: Path, folder: Path) -> dict[str, Any]:
    """Size and times of every installation."""
    rows = []
    for name, extras in INSTALLATIONS.items():
        place = folder / f"env-{len(rows)}"
        begun = time.perf_counter()
        programs = environment(place, wheel, extras)
        took_s = time.perf_counter() - begun
        packages = sorted(place.glob("lib/python*/site-packages"))
        bare = {"pip", "setuptools"}
        found = [one for one in installed_in(path=[str(path) for path in packages]) if one.name not in bare]
        files = [
            path for one in found for path in (one.locate_file(file) for file in one.files or ()) if path.is_file()
        ]
        rows.append(
            {
                "installation": name,
                "packages": len(found),
                "mb": round(sum(path.stat().st_size for path in files) / 1e6),
                "install_s": round(took_s),
                "import_s": _fastest_s(programs / "python", "-c", "import splitimpera", cwd=folder),
                "help_s": _fastest_s(programs / "splitimpera", "--help", cwd=folder),
                "torch": next((one.version for one in found if one.name == "torch"), None),
            }
        )
    version = platform.python_version()
    return {"python": version, "machine": platform.machine(), "starts": STARTS, "environments": rows}


def _fastest_s(*command: str | Path, cwd: Path) -> float:
    """How long a program takes, the fastest of several starts: other programs make the others slower."""

    def once() -> float:
        begun = time.perf_counter()
        run(*command, cwd=cwd)
        return time.perf_counter() - begun

    return round(min(once() for _ in range(STARTS)), 2)


def table(found: dict[str, Any]) -> str:
    """The table of the document, with what it was measured with."""
    torch = next(row["torch"] for row in found["environments"] if row["torch"])
    lines = [
        "| installation | packages | on disk | `import splitimpera` | `splitimpera --help` |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {row['installation']} | {row['packages']} | {row['mb']} MB | {row['import_s']:.2f} s "
            f"| {row['help_s']:.2f} s |"
            for row in found["environments"]
        ),
        "",
        f"Python {found['python']}, {found['machine']}, the versions of `constraints.txt`, PyTorch {torch}; "
        f"the fastest of {found['starts']} starts.",
    ]
    return "\n".join(lines)


def write(found: dict[str, Any]) -> None:
    """Write what was measured, and the table of the document anew."""
    MEASURED.write_text(json.dumps(found, indent=2) + "\n")
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{after}")


def main() -> None:
    with TemporaryDirectory() as folder:
        out = Path(folder) / "dist"
        found = measured(build(out).wheel, Path(folder))
    write(found)
    print(table(found))


if __name__ == "__main__":
    sys.exit(main())
