"""What the tests of pages share: one browser for each module, and pages that are looked after."""

from __future__ import annotations

import pytest
from browser import chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a page's text; afterwards no page may have had an error or asked for anything from elsewhere."""
    pages = []

    def open_page(content, width):
        path = tmp_path / f"page{len(pages)}.html"
        path.write_text(content)
        pages.append(browser.open(path.as_uri(), width))
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()
        assert page.errors == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []
