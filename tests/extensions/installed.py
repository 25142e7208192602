"""The package of examples/extensions, installed as pip would: its modules beside their entry points."""

from __future__ import annotations

import shutil
import tomllib

from conftest import ROOT

from splitimpera.core.extensions import GROUP

SOURCE = ROOT / "examples" / "extensions"


def install(folder, entries=None):
    """Into a folder that is then put on the path; `entries` in place of its own."""
    given = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    shutil.copytree(SOURCE / "splitimpera_examples", folder / "splitimpera_examples")
    about = folder / "splitimpera_examples-0.1.dist-info"
    about.mkdir()
    about.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {given['name']}\nVersion: {given['version']}\n"
    )
    entries = given["entry-points"][GROUP] if entries is None else entries
    lines = [f"{name} = {module}" for name, module in entries.items()]
    about.joinpath("entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))
    return folder
