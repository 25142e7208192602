"""Make the pictures of a report that README and site show: `python docs/report_pictures.py` (needs Chromium).

They are parts of the report of `examples/digits/scenario.yaml` as a browser shows it, light and dark. Make them anew
after a change of the report. With a folder as argument, they are taken from the `report.html` in it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from PIL import Image

import splitimpera as sei

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from browser import Page, chromium  # noqa: E402

PICTURES = ROOT / "docs" / "images" / "report"
PARTS = {  # from the top of one element (the page's own, where it has no name) to that of another, and no higher than so
    "decision": ("", "what-if", 700),
    "what-if": ("what-if", "splits", 600),
    "splits": ("splits", "layers", 540),
    "breakdown": ("breakdown", "losses", 700),
    "losses": ("losses", "sensitivity", 700),
    "sensitivity": ("sensitivity", "all-plans", 390),
}
WIDTH, WHOLE = 960, 12000  # pixels of the page; it is that high, so that it is drawn in one piece
COLOURS = 48  # of a picture: its most frequent ones; what is drawn has few, and files stay small
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
                    top, bottom = _top(page, first), _top(page, last)
                    part = whole.convert("RGB").crop((0, top, WIDTH, min(bottom, top + tallest)))
                    _few_colours(part).save(PICTURES / f"{name}-{scheme}.png", optimize=True)


def _few_colours(picture: Image.Image) -> Image.Image:
    counted = picture.getcolors(picture.width * picture.height) or []
    frequent = [colour for _, colour in sorted(counted, reverse=True)[:COLOURS]]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in frequent for value in colour])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def _wait_until_still(page: Page) -> None:
    """The figures are drawn anew for each colour scheme, one after the other; meanwhile they have no height."""
    before, since = None, monotonic()
    while before is None or monotonic() - since < STILL_S:
        now = page.run("[...document.querySelectorAll('main *')].map(it => it.getBoundingClientRect().top).join()")
        if now != before:
            before, since = now, monotonic()
        sleep(0.5)


def _top(page: Page, name: str) -> int:
    return round(page.run(f"document.getElementById('{name}').getBoundingClientRect().top + scrollY")) if name else 0


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
