"""Executed pages: how the gallery's examples run at a build, and where their pictures go.

Output is kept in build/gallery under a checksum of all that it follows from, so that no figure outlives the code that
made it. Each kernel begins with docs/page_start.py, in an empty folder of its own.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

ROOT = Path(__file__).parent.parent
START = Path(__file__).with_name("page_start.py")
PICTURE = re.compile(r'<img\b[^>]*\bsrc="(?:\.\./)*(_images/[^"]+\.png)"')
DRAWING = re.compile(r'<svg\b[^>]*\brole="img".*?</svg>', re.DOTALL)

FIT = "addEventListener('load', () => dispatchEvent(new Event('resize')))"
"""Figures are drawn while the page is read; they are to have the width that is there in the end."""


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", prepare)
    app.connect("html-page-context", add_plotly)
    app.connect("build-finished", make_thumbnails)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def prepare(app: Sphinx, config: Config) -> None:
    """Say where output is kept and how kernels begin; what older code left is removed."""
    kept = ROOT / "build" / "gallery"
    now = kept / sources()
    for old in kept.glob("*"):
        if old != now and old.is_dir():
            shutil.rmtree(old)
    config.nb_execution_cache_path = str(now)
    os.environ["PYTHONSTARTUP"] = str(START)
    os.environ["GALLERY_ROOT"] = str(ROOT)
    config.html_static_path.append(str(files("plotly") / "package_data" / "plotly.min.js"))


def sources() -> str:
    """A checksum of the package, the examples, how pages begin, and the versions of everything else."""
    found = [START, ROOT / "constraints.txt", *inside(ROOT / "src"), *inside(ROOT / "examples")]
    total = sha256()
    for path in sorted(found):
        total.update(f"{path.relative_to(ROOT)}\n".encode() + sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def inside(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def add_plotly(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Pages with figures of Plotly load it, from beside them."""
    if "plotly-graph-div" in context.get("body", ""):
        app.add_js_file("plotly.min.js", priority=100)
        app.add_js_file(None, body=FIT)


def make_thumbnails(app: Sphinx, failure: Exception | None) -> None:
    """The first picture of each page of the gallery, by the page's name, for the index; else its first drawing."""
    folder = Path(app.outdir) / "gallery"
    unexecuted = app.config.nb_execution_mode == "off"
    if failure is not None or unexecuted or app.builder.format != "html" or not folder.is_dir():
        return
    (folder / "thumbnails").mkdir(exist_ok=True)
    for page in folder.glob("*.html"):
        html, thumbnail = page.read_text(), folder / "thumbnails" / page.stem
        if picture := PICTURE.search(html):
            shutil.copyfile(Path(app.outdir) / picture[1], thumbnail.with_suffix(".png"))
        elif drawing := DRAWING.search(html, max(html.find("cell_output"), 0)):  # not an icon of the theme
            on_white = drawing[0].replace("@media screen and (prefers-color-scheme:dark)", "@media not all")
            thumbnail.with_suffix(".svg").write_text(on_white)
    shown = re.findall(r'src="(thumbnails/[^"]+)"', (folder / "index.html").read_text())
    if missing := [name for name in shown if not (folder / name).is_file()]:
        raise ExtensionError(f"gallery/index.md shows what no page has: {', '.join(missing)}")
