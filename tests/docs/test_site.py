"""The site builds without a warning, its links lead somewhere, and it loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("sphinx")

ROOT = Path(__file__).parents[2]
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}
MOST_BYTES = 30e6
MADE = "thumbnails/"
"""By executed pages alone."""

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """The anchors of a page, where its links lead, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors, self.links, self.loaded = {""}, set(), set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.add(found["href"])
        if found.get(LOADED.get(tag, "")) and found.get("rel") not in ("next", "prev", "index", "search"):
            self.loaded.add(found[LOADED[tag]])


def leads_elsewhere(address):
    return bool(urlsplit(address).scheme or address.startswith("//")) and not address.startswith("data:")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    options = ["-q", "-W", "--keep-going", "-D", "nb_execution_mode=off", "--doctree-dir", target / "doctrees"]
    command = [sys.executable, "-m", "sphinx", *options, ROOT / "docs", target / "html"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return target / "html"


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def test_links_lead_to_pages_and_anchors_that_are_there(site, pages):
    assert len(pages) > 40
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages[target].anchors if target in pages else {"", parts.fragment}
            if not target.is_file() or unquote(parts.fragment) not in known:
                dead.append(f"{path.relative_to(site)}: {link}")
    assert dead == []


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for path, page in pages.items():
        assert [each for each in page.loaded if leads_elsewhere(each)] == [], path
        beside = [urlsplit(each).path for each in page.loaded if not each.startswith(("data:", MADE))]
        assert [each for each in beside if not (path.parent / each).is_file()] == [], path
    for path in site.rglob("*.css"):
        style = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        found = re.findall(r"""(?:url\(|@import)\s*["']?([^"')\s]+)""", style)
        assert [each for each in found if leads_elsewhere(each)] == [], path


def test_search_is_beside_the_pages(site, pages):
    assert (site / "searchindex.js").stat().st_size > 1e5
    assert any("searchindex.js" in each for each in pages[site / "search.html"].loaded)


def test_the_site_is_small_enough_to_copy(site):
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < MOST_BYTES
