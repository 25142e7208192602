"""Make the pictures of a report that README and site show: `python docs/report_pictures.py` (needs Chromium).

They are parts of the report of `examples/digits/scenario.yaml` as a browser shows it, light and dark. Make them anew
after a change of the report. With a folder as argument, they are taken from the `report.html` in it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

import numpy as np
from PIL import Image

import splitimpera as sei

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from browser import Page, chromium  # noqa: E402

PICTURES = ROOT / "docs" / "images" / "report"
PARTS = {  # from below one heading (the page's top, where there is none) to the next one named, and no higher than so
    "decision": ("", "what-if", 580),
    "what-if": ("what-if", "splits", 525),
    "splits": ("splits", "layers", 430),
    "breakdown": ("breakdown", "losses", 700),
    "losses": ("losses", "sensitivity", 700),
    "sensitivity": ("sensitivity", "all-plans", 310),
}
WIDTH, WHOLE = 1200, 12000  # pixels of the page; it is that high, so that it is drawn in one piece
COLOURS = 56  # of a picture, so that files stay small
STILL_S = 3.0  # the page is done when its layout has not changed for so long


def take(report: Path) -> None:
    """Show a report in both colour schemes, and cut its parts out."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder, chromium(Path(folder) / "profile") as browser:
        page = browser.open(report.as_uri(), WIDTH)
        page.resize(WIDTH, WHOLE)
        for scheme in ("light", "dark"):
            page.emulate(prefers_color_scheme=scheme)
            _wait_until_still(page)
            with Image.open(page.screenshot(Path(folder) / "page.png")) as whole:
                for name, (first, last, tallest) in PARTS.items():
                    top, bottom = _below(page, first), _top(page, last)
                    part = whole.convert("RGB").crop((0, top, WIDTH, min(bottom, top + tallest)))
                    _few_colours(part).save(PICTURES / f"{name}-{scheme}.png", optimize=True)


def _few_colours(picture: Image.Image) -> Image.Image:
    """Each pixel as the nearest of a few colours: one after the other the one that the picture would miss most."""
    pixels = np.asarray(picture, dtype=np.int64)
    colours, places, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    kept, away = [], np.full(len(colours), 1.0)
    for _ in range(COLOURS):
        kept.append(int(np.argmax(counts * away)))
        far = ((colours - colours[kept[-1]]) ** 2).sum(1) ** 1.5  # a few pixels of a colour of its own count, too
        away = far if len(kept) == 1 else np.minimum(away, far)
    nearest = ((colours[:, None] - colours[kept]) ** 2).sum(2).argmin(1)
    found = Image.fromarray(nearest[places].reshape(pixels.shape[:2]).astype(np.uint8), "P")
    found.putpalette(colours[kept].astype(np.uint8).tobytes())
    return found


def _wait_until_still(page: Page) -> None:
    """The figures are drawn anew for each colour scheme, one after the other; meanwhile they have no height."""
    before, since = None, monotonic()
    while before is None or monotonic() - since < STILL_S:
        now = page.run("[...document.querySelectorAll('main *')].map(it => it.getBoundingClientRect().top).join()")
        if now != before:
            before, since = now, monotonic()
        sleep(0.5)


def _top(page: Page, name: str) -> int:
    return round(page.run(f"document.getElementById('{name}').getBoundingClientRect().top + scrollY"))


def _below(page: Page, name: str) -> int:
    heading = f"document.getElementById('{name}')"
    return round(page.run(f"{heading}.nextElementSibling.getBoundingClientRect().top + scrollY - 4")) if name else 0


def main() -> None:
    """Design, unless a folder with a report is given, and take the pictures."""
    if len(sys.argv) > 1:
        take(Path(sys.argv[1]).resolve() / "report.html")
        return
    with TemporaryDirectory() as folder:
        sei.save(sei.design(ROOT / "examples" / "digits" / "scenario.yaml"), folder)
        take(Path(folder).resolve() / "report.html")


if __name__ == "__main__":
    main()
