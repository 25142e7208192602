"""What pages load or link to is beside them: MathJax, and the repository's folders."""

from __future__ import annotations

import importlib.util
import shutil
import zipfile
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform

LEFT_OUT = {"__pycache__", "runs"}
"""Folders that running an example leaves."""


def folder_of(package: str) -> Path:
    """Where a package is installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ExtensionError(f"the site needs {package}: install split-et-impera[docs]")
    return Path(spec.origin).parent


def copy_mathjax(app: Sphinx) -> None:
    """What formulas of TeX need: 2 MB of 24; the rest are other inputs, other outputs and speech in many languages."""
    source = folder_of("sphinx-mathjax-offline") / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in ("output/chtml", "input/tex/extensions"):
        shutil.copytree(source / part, target / part, dirs_exist_ok=True)
    shutil.copyfile(source / "tex-chtml.js", target / "tex-chtml.js")


class LinkedFolders(SphinxPostTransform):
    """A link to a folder of the repository, such as `../examples/digits`, fetches it as an archive."""

    default_priority = 8  # before MyST looks for a page of that name
    formats = ("html",)

    def run(self, **options: Any) -> None:
        root, source = Path(self.env.srcdir).parent, Path(self.env.srcdir)
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node["reftype"] != "myst" or node["refdomain"]:
                continue
            folder = (source / Path(node["refdoc"]).parent / node["reftarget"]).resolve()
            if folder.is_dir() and root in folder.parents and source not in (folder, *folder.parents):
                name = archived(folder, root, Path(self.app.outdir) / "_downloads")
                up = "../" * node["refdoc"].count("/")
                uri = f"{up}_downloads/{name}"
                node.replace_self(nodes.reference("", "", *node.children, internal=True, refuri=uri))


def archived(folder: Path, root: Path, target: Path) -> str:
    """The name of the folder's archive in `target`, without what running leaves."""
    name = f"{'-'.join(folder.relative_to(root).parts)}.zip"
    target.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and not any(part in LEFT_OUT or part.startswith(".") for part in inside.parts):
                archive.write(path, Path(folder.name) / inside)
    return name


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(LinkedFolders)
    app.connect("build-finished", lambda app, failure: None if failure else copy_mathjax(app))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
